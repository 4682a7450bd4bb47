//! Tables as CSV files, for engines that are not Rust: the rows that a run of `--batches` ends with.

use crate::measure::Plan;
use crate::workload::Table;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

pub fn write(plan: &Plan, folder: &Path) -> Result<()> {
    let mut workload = plan.workload();
    let mut changes = Vec::new();
    for &size in &plan.batch_sizes {
        for _ in 0..plan.batches.unwrap_or(0) {
            workload.changes(size, &mut changes);
        }
    }
    let mut files: BTreeMap<Table, BufWriter<File>> = BTreeMap::new();
    for table in plan.query.tables() {
        let file = File::create(folder.join(format!("{}.csv", table.name())))?;
        files.insert(*table, BufWriter::with_capacity(1 << 20, file));
    }
    for row in workload.live() {
        let file = files.get_mut(&row.table()).expect("a query's rows are of its tables");
        let (values, columns) = row.values();
        let (last, before) = values[..columns].split_last().expect("a table has columns");
        before.iter().try_for_each(|value| write!(file, "{value},"))?;
        writeln!(file, "{last}")?;
    }
    files.values_mut().try_for_each(BufWriter::flush)?;
    // Without keys: an index is of no use to a recompute, and costs memory.
    let create = |table: &Table| format!("create table {} ({});\n", table.name(), table.columns_sql());
    let create: String = plan.query.tables().iter().map(create).collect();
    std::fs::write(folder.join("create.sql"), create)?;
    std::fs::write(folder.join("query.sql"), plan.query.sql())
}
