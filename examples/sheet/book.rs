//! The server's object, and the file that it comes from.

use std::error::Error;
use std::path::Path;

use helve::Shared;
use helve::track::{Counter, List};

use crate::api::*;

/// One sheet that all clients share.
pub struct OneBook(pub Shared<Sheet>);

impl Book for OneBook {
    async fn sheet(&self) -> Shared<Sheet> {
        self.0.clone()
    }

    async fn write(&self, row: u32, column: u32, text: String) -> Result<(), SheetError> {
        // Plain Rust on a real `&mut Sheet`. With an error nothing has happened, and nobody hears of it.
        let write = self.0.update(|sheet| {
            let cells = sheet
                .rows
                .get_mut(row as usize)
                .ok_or(SheetError::NoRow(row))?;
            *cells
                .get_mut(column as usize)
                .ok_or(SheetError::NoColumn(column))? = text;
            sheet.writes.add(1);
            Ok(())
        });
        Ok(write.await?)
    }

    async fn insert_row(&self, row: u32) -> Result<(), SheetError> {
        let insert = self.0.update(|sheet| {
            if row as usize > sheet.rows.len() {
                return Err(SheetError::NoRow(row));
            }
            let empty = vec![String::new(); sheet.columns.len()];
            sheet.rows.insert(row as usize, List::from(empty));
            Ok(())
        });
        Ok(insert.await?)
    }

    async fn sort(&self, column: u32) -> Result<(), SheetError> {
        let sort = self.0.update(|sheet| {
            let at = column as usize;
            if at >= sheet.columns.len() {
                return Err(SheetError::NoColumn(column));
            }
            let number = |row: &List<String>| row[at].parse::<f64>();
            if sheet.rows.iter().all(|row| number(row).is_ok()) {
                let key = |row: &List<String>| number(row).unwrap_or_default();
                sheet.rows.sort_by(|a, b| key(a).total_cmp(&key(b)));
            } else {
                sheet.rows.sort_by(|a, b| a[at].cmp(&b[at]));
            }
            Ok(())
        });
        Ok(sort.await?)
    }
}

/// Reads a CSV file; its first line names the columns.
pub fn load(path: &Path) -> Result<Sheet, Box<dyn Error>> {
    let mut file = csv::Reader::from_path(path)?;
    let columns = file.headers()?.iter().map(str::to_owned).collect();
    let mut rows = List::new();
    for row in file.records() {
        rows.push(row?.iter().map(str::to_owned).collect());
    }
    Ok(Sheet {
        columns,
        rows,
        writes: Counter::new(0),
    })
}

/// Writes the sheet as a CSV file: first beside it, so that a failure leaves the old one.
pub fn save(sheet: &Sheet, path: &Path) -> Result<(), Box<dyn Error>> {
    let beside = path.with_extension("csv.part");
    let mut file = csv::Writer::from_path(&beside)?;
    file.write_record(&sheet.columns)?;
    for row in &sheet.rows {
        file.write_record(row.iter())?;
    }
    file.flush()?;
    Ok(std::fs::rename(beside, path)?)
}
