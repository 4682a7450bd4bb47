//! What the cases have covered, so that a sample which tests little does not pass for one that tests much.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Default)]
pub struct Seen {
    pub cases: usize,
    /// By reason; each with its first query.
    pub refused: BTreeMap<String, (usize, String)>,
    /// Where all fail together.
    pub failed: usize,
    /// Equal in recompute, dataflow and Postgres.
    pub compared: usize,
    /// Of these, without a row.
    pub empty: usize,
    /// Of these, equal in DuckDB too.
    pub by_duckdb: usize,
}

impl Seen {
    pub fn assert_enough(&self) {
        let refused: usize = self.refused.values().map(|(count, _)| count).sum();
        assert!(refused * 10 < self.cases, "too many queries are refused\n{self}");
        assert!(self.empty * 5 < self.compared * 2, "too many answers are empty\n{self}");
        assert!(self.by_duckdb * 10 > self.compared * 7, "DuckDB is asked too little\n{self}");
        assert!(self.failed * 400 > self.cases, "too few queries fail\n{self}");
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { cases, failed, compared, empty, by_duckdb, .. } = self;
        writeln!(
            f,
            "{cases} queries: {compared} equal, {empty} of them empty, {by_duckdb} in DuckDB too; {failed} fail"
        )?;
        self.refused.iter().try_for_each(|(reason, (count, sql))| writeln!(f, "refused {count} times: {reason}: {sql}"))
    }
}
