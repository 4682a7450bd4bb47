//! `driftless state`: what each arrangement takes, in memory and on disk.

use super::{Outcome, Shared, report};
use crate::daemon::{StateReport, state};
use crate::error::{Error, Result};

pub fn run(shared: &Shared) -> Result<Outcome> {
    let project = shared.project()?;
    let report = state(&shared.config(&project)?)?;
    if shared.json {
        let line = serde_json::to_string(&report).map_err(|e| Error::bug("a report is plain data").because(e))?;
        println!("{line}");
    } else {
        print!("{}", show(&report));
    }
    Ok(Outcome::Good)
}

fn show(state: &StateReport) -> String {
    let (mut rows, mut in_memory, mut on_disk) = (Vec::new(), 0, 0);
    for size in state.arrangements.iter().filter(|size| size.batches > 0) {
        in_memory += size.bytes_in_memory;
        on_disk += size.bytes_on_disk;
        rows.push(vec![
            size.name.clone(),
            size.rows.to_string(),
            size.batches.to_string(),
            report::bytes(size.bytes_in_memory),
            report::bytes(size.bytes_on_disk),
        ]);
    }
    let table = report::table(&["arrangement", "rows", "batches", "in memory", "on disk"], &rows);
    format!(
        "{table}\n{} arrangements, {} in memory, {} on disk; the store's files take {}\n",
        rows.len(),
        report::bytes(in_memory),
        report::bytes(on_disk),
        report::bytes(state.files_bytes as usize),
    )
}
