//! A shop passes its ledger to its bank by `&mut`, day after day. The ledger goes over the wire whole once; from then on
//! what the shop changed goes there, and what the bank changed comes back.
//!
//! `api.rs` has the ledger and the interface.
#![allow(unreachable_pub)] // `pub` as it would be in a library of your own

mod api;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::process::ExitCode;

use api::*;
use helve::prelude::*;
use helve::track::Tracked;

const USAGE: &str = "usage: reconcile [INVOICES [DAYS]]          a bank and a shop, all by itself; 10,000 invoices, 7 days";

type Done<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Result<Vec<u32>, _> = args.iter().map(|arg| arg.parse()).collect();
    let done = match numbers.as_deref() {
        Ok([]) => show(10_000, 7).await,
        Ok([invoices]) => show(*invoices, 7).await,
        Ok([invoices, days]) => show(*invoices, *days).await,
        _ => Err(USAGE.into()),
    };
    done.map_or_else(
        |error| {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

/// A bank that knows which invoices were paid on which day: some of each customer's.
struct OneBank {
    days: u32,
}

impl Bank for OneBank {
    async fn reconcile(&self, ledger: &mut Ledger, day: u32) -> Result<u32, BankError> {
        let mut matched = 0;
        for number in statement(day, ledger.invoices.len()) {
            // Only what is touched is looked at afterwards.
            let Some(invoice) = ledger.invoices.get_mut(number) else {
                continue;
            };
            match invoice.paid_on {
                Some(before) => {
                    let puzzle =
                        format!("invoice {number} was paid on day {before} and on day {day}");
                    ledger.puzzles.push(puzzle);
                }
                None => {
                    invoice.paid_on = Some(day);
                    ledger.paid.add(i64::from(invoice.cents));
                    matched += 1;
                }
            }
        }
        // Too late to fail? No: with an error all of it is as if it had not been.
        if day >= self.days {
            return Err(BankError::NoStatement(day));
        }
        Ok(matched)
    }
}

/// The numbers of the invoices that were paid on a day.
fn statement(day: u32, invoices: usize) -> impl Iterator<Item = usize> {
    let first = day as usize * 7 + 3;
    (first..invoices).step_by(invoices / 40 + 1)
}

fn ledger(invoices: u32) -> Ledger {
    let invoice = |number: u32| Invoice {
        customer: format!("customer {:04}", number % 977),
        cents: 500 + number % 10_000,
        paid_on: None,
    };
    Ledger {
        invoices: (0..invoices).map(invoice).collect(),
        ..Ledger::default()
    }
}

/// The bytes of one call.
#[derive(Debug)]
struct Cost {
    up: u64,
    down: u64,
}

/// One day of the shop: it writes an invoice, and has the ledger reconciled.
async fn day(bank: &BankHandle, ledger: &mut Tracked<Ledger>, day: u32) -> Done<(u32, Cost)> {
    let connection = bank.connection().ok_or("the bank is in this process")?;
    let before = connection.stats();
    ledger.change(|ledger| {
        ledger.invoices.push(Invoice {
            customer: "walk-in".into(),
            cents: 1999,
            paid_on: None,
        });
    })?;
    let matched = bank.reconcile(ledger, day).await?;
    let after = connection.stats();
    let cost = Cost {
        up: after.bytes_out - before.bytes_out,
        down: after.bytes_in - before.bytes_in,
    };
    Ok((matched, cost))
}

async fn served(days: u32) -> Done<String> {
    let bank = BankHandle::new(OneBank { days });
    let server = helve::Server::builder().root(move |_peer| std::future::ready(Ok(bank.clone())));
    let server = server.bind("ws://127.0.0.1:0").await?;
    let url = server.url().to_owned();
    tokio::spawn(server.run());
    Ok(url)
}

async fn show(invoices: u32, days: u32) -> Done {
    let bank: BankHandle = helve::connect(served(days).await?).await?;
    let mut ledger = Tracked::new(ledger(invoices));
    for today in 0..days {
        let (matched, Cost { up, down }) = day(&bank, &mut ledger, today).await?;
        println!("day {today}: {matched} invoices paid; {up} bytes up, {down} bytes down");
    }
    println!(
        "{} of {} cents came in; {} puzzles",
        ledger.paid,
        ledger
            .invoices
            .iter()
            .map(|invoice| u64::from(invoice.cents))
            .sum::<u64>(),
        ledger.puzzles.len()
    );
    // What fails changes nothing, here or there.
    let before = (*ledger).clone();
    match bank.reconcile(&mut ledger, days).await {
        Err(CallError::App(error)) => println!("day {days}: {error}"),
        other => println!("day {days}: {other:?}"),
    }
    println!("the ledger is as it was: {}", *ledger == before);
    Ok(())
}
