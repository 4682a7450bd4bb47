//! `driftless verify`: prove that what is published equals a full recompute, row by row.
//!
//! It only shows; `daemon/audit` compares.

use super::{Outcome, Shared, report};
use crate::daemon::{Difference, Verdict, verify};
use crate::error::{Error, Result};

pub fn run(shared: &Shared) -> Result<Outcome> {
    let project = shared.project()?;
    let config = shared.config(&project)?;
    let selected = shared.selected(&project)?;
    if selected.is_empty() {
        return Ok(Outcome::Good);
    }
    let everything = shared.select.is_empty() && shared.exclude.is_empty();
    let names = if everything { Vec::new() } else { selected.iter().map(|m| m.name.clone()).collect() };
    let verdict = verify(&project, &config, &selected, names)?;
    show(&verdict, shared.json)?;
    Ok(if verdict.holds() { Outcome::Good } else { Outcome::Failed })
}

pub fn show(verdict: &Verdict, json: bool) -> Result<()> {
    if json {
        let line = serde_json::to_string(verdict).map_err(|e| Error::bug("a verdict is plain data").because(e))?;
        println!("{line}");
        return Ok(());
    }
    let mut rows = Vec::new();
    for model in &verdict.models {
        let result = match &model.result {
            Difference::Equal if model.stamps.is_empty() => "equal".into(),
            Difference::Equal => format!("equal (but for when rows came: {})", model.stamps.join(", ")),
            Difference::Differs { missing, unexpected, .. } => {
                format!("DIFFERS: {missing} rows missing, {unexpected} rows too many")
            }
            Difference::Fingerprint { written, found } => format!("FINGERPRINT: {written} written, {found} found"),
            Difference::Withheld { why } => format!("WITHHELD: {why}"),
        };
        rows.push(vec![model.model.clone(), model.rows.to_string(), result]);
    }
    print!("{}", report::table(&["model", "rows", "published against recompute"], &rows));
    for model in &verdict.models {
        if let Difference::Differs { missing, unexpected, rows } = &model.result {
            println!("\n{}:", model.model);
            rows.iter().for_each(|(row, diff)| println!("  {diff:+} {row}"));
            let more = missing + unexpected - rows.iter().map(|(_, d)| d.unsigned_abs()).sum::<u64>();
            if more > 0 {
                println!("  … and {more} more");
            }
        }
    }
    let equal = verdict.models.iter().filter(|m| matches!(m.result, Difference::Equal)).count();
    println!("\n{equal} of {} models equal at Moment {} ({})", verdict.models.len(), verdict.moment, verdict.cut);
    Ok(())
}
