//! A suite of tables, queries, changes and answers, as DuckDB has them: `tests/support/tpc.py`, and rows in Parquet
//! files.

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Int32Type;
use driftless::row::{Codec, Rows, Table, TableName};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;

use super::python::Python;

pub struct DuckDb {
    python: Python,
    folder: tempfile::TempDir,
    pub tables: Vec<Table>,
    /// As its extension has them.
    pub queries: Vec<String>,
}

impl DuckDb {
    /// The suite's rows, of which [`DuckDb::rows`] gives those it begins with.
    pub fn start(suite: &str, scale: f64) -> DuckDb {
        let python = Python::start("tpc.py");
        let folder = tempfile::tempdir().expect("a temporary directory");
        let (tables, queries) = (Vec::new(), Vec::new());
        let mut duckdb = DuckDb { python, folder, tables, queries };
        let folder = duckdb.folder.path().to_path_buf();
        let mut answer =
            duckdb.python.ask(&json!({ "do": "generate", "suite": suite, "scale": scale, "folder": folder }));
        duckdb.python.ask(&json!({ "do": "begin" }));
        duckdb.queries = serde_json::from_value(answer["queries"].take()).expect("texts");
        let tables: Vec<(String, Vec<usize>)> = serde_json::from_value(answer["tables"].take()).expect("keys");
        for (name, key) in tables {
            let mut columns = duckdb.read(&name);
            columns.remove_column(columns.num_columns() - 1);
            let name = TableName::new("public", &name);
            duckdb.tables.push(Table { name, schema: columns.schema(), key });
        }
        duckdb
    }

    /// Inserts, updates and deletes of about this share of all tables' rows.
    pub fn change(&mut self, seed: u64, share: f64) {
        self.python.ask(&json!({ "do": "change", "seed": seed, "share": share }));
    }

    /// What the last change did to these columns of a table.
    pub fn rows(&self, table: &Table) -> Rows {
        let changed = self.read(&table.name.name);
        let diffs = changed.column(changed.num_columns() - 1).as_primitive::<Int32Type>().clone();
        let columns = table.schema.fields().iter().map(|field| changed.schema().index_of(field.name()));
        let columns = columns.collect::<Result<Vec<_>, _>>().expect("columns of the table");
        let rows = Codec::new(table.schema.clone()).encode(&changed.project(&columns).expect("columns of the table"));
        rows.into_iter().zip(diffs.values()).map(|(row, diff)| (row, i64::from(*diff))).collect()
    }

    /// Its answers to all queries over the rows as they are now; none to one with a subquery that stands for one
    /// value and gives many rows.
    pub fn answers(&mut self) -> Vec<Option<RecordBatch>> {
        let mut answer = self.python.ask(&json!({ "do": "answer" }));
        let answered: Vec<bool> = serde_json::from_value(answer["answered"].take()).expect("one for each query");
        let read = |(query, answered): (usize, bool)| answered.then(|| self.read(&query.to_string()));
        answered.into_iter().enumerate().map(read).collect()
    }

    fn read(&self, name: &str) -> RecordBatch {
        let file = std::fs::File::open(self.folder.path().join(format!("{name}.parquet"))).expect("it is written");
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("it is Parquet");
        let schema = reader.schema().clone();
        let batches = reader.build().expect("it is readable").collect::<Result<Vec<_>, _>>();
        concat_batches(&schema, &batches.expect("it is readable")).expect("of one schema")
    }
}
