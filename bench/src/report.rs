//! What the user sees: a table, or one JSON object a line.

use crate::cases::Case;

/// Median, quartiles and range of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) quartiles: [f64; 2],
    pub(crate) range: [f64; 2],
    pub(crate) count: usize,
}

impl Spread {
    /// Of no value: not a number, everywhere.
    pub(crate) fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        // Linear between neighbours, as most programs have it.
        let at = |share: f64| {
            let place = share * sorted.len().saturating_sub(1) as f64;
            let (low, high) = (
                sorted.get(place.floor() as usize),
                sorted.get(place.ceil() as usize),
            );
            low.zip(high)
                .map_or(f64::NAN, |(low, high)| low + (high - low) * place.fract())
        };
        Spread {
            median: at(0.5),
            quartiles: [at(0.25), at(0.75)],
            range: [at(0.0), at(1.0)],
            count: values.len(),
        }
    }
}

/// One figure.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    case: &'a Case,
    peer: &'a str,
    metric: String,
    value: f64,
    /// For a ratio: to whom, and how it spreads over the pairs.
    ratio: Option<(&'a str, Spread)>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(case: &'a Case, peer: &'a str, metric: &str, value: f64) -> Row<'a> {
        Row {
            case,
            peer,
            metric: metric.to_owned(),
            value,
            ratio: None,
        }
    }

    /// `peer` over `to`, pair by pair.
    pub(crate) fn ratio(
        case: &'a Case,
        peer: &'a str,
        metric: &str,
        to: &'a str,
        spread: Spread,
    ) -> Row<'a> {
        Row {
            case,
            peer,
            metric: format!("{metric}_ratio"),
            value: spread.median,
            ratio: Some((to, spread)),
        }
    }

    fn json(&self) -> String {
        let Row {
            case,
            peer,
            metric,
            value,
            ratio,
        } = self;
        let head = format!(
            r#"{{"workload":"{}","case":"{}","peer":"{peer}","metric":"{metric}","value":{}"#,
            case.workload,
            case.name,
            number(*value)
        );
        match ratio {
            None => head + "}",
            Some((
                to,
                Spread {
                    quartiles,
                    range,
                    count,
                    ..
                },
            )) => {
                let [low, high] = quartiles.map(number);
                let [min, max] = range.map(number);
                format!(
                    r#"{head},"to":"{to}","spread":[{low},{high}],"range":[{min},{max}],"pairs":{count}}}"#
                )
            }
        }
    }

    fn text(&self) -> String {
        let Row {
            peer,
            metric,
            value,
            ratio,
            ..
        } = self;
        match ratio {
            None => format!("  {peer:<10} {metric:<20} {:>14}", figure(*value)),
            Some((
                to,
                Spread {
                    quartiles: [low, high],
                    range: [min, max],
                    count,
                    ..
                },
            )) => format!(
                "  {peer:<10} {metric:<20} {:>14}   to {to}; quartiles {} to {}, range {} to {}, {count} pairs",
                figure(*value),
                figure(*low),
                figure(*high),
                figure(*min),
                figure(*max)
            ),
        }
    }
}

/// Prints rows as they come.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
}

impl Report {
    pub(crate) fn new(json: bool) -> Report {
        Report { json }
    }

    /// Begins a case.
    pub(crate) fn heading(&mut self, case: &Case) {
        if !self.json {
            println!("{} {}: {}", case.workload, case.name, case.about);
        }
    }

    pub(crate) fn row(&mut self, row: &Row<'_>) {
        println!("{}", if self.json { row.json() } else { row.text() });
    }
}

/// A number that JSON can hold, with as many digits as a measurement is worth.
fn number(value: f64) -> String {
    if value.is_finite() {
        figure(value)
    } else {
        "null".to_owned()
    }
}

/// Four digits at least, and no noise behind them.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::CASES;

    #[test]
    fn quartiles_lie_between_neighbours() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(
            spread,
            Spread {
                median: 2.5,
                quartiles: [1.75, 3.25],
                range: [1.0, 4.0],
                count: 4
            }
        );
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn a_row_is_one_json_object() {
        let row = Row::new(&CASES[1], "limit", "calls_per_s", 632_000.4);
        let expected =
            r#"{"workload":"W2","case":"64","peer":"limit","metric":"calls_per_s","value":632000}"#;
        assert_eq!(row.json(), expected);
        let row = Row::ratio(
            &CASES[1],
            "helve",
            "cpu_us",
            "limit",
            Spread::of(&[0.5, 1.0]),
        );
        assert!(row.json().ends_with(r#""value":0.7500,"to":"limit","spread":[0.6250,0.8750],"range":[0.5000,1.0000],"pairs":2}"#));
        assert!(
            Row::new(&CASES[1], "limit", "cpu_us", f64::NAN)
                .json()
                .ends_with(r#""value":null}"#)
        );
    }
}
