//! Is what is published what a full recompute gives? The proof, on demand.
//!
//! It reads the source rows as the last checkpoint has them and the tables as any reader would find them, recomputes
//! every model with DataFusion's executor, and compares multisets of rows. It shares no state with the
//! dataflow or the committer's index. Stamps, which say when a row came, are not compared: what reads them is
//! recomputed from those that are published.

use super::assembly::{AssembledModel, AssembledTable, Assembly};
use super::config::Config;
use super::control::{Answer, Request, ask};
use crate::commit::{Published, Sink, Staged, Target, iceberg};
use crate::error::{Error, Result};
use crate::plan::Relation;
use crate::plan::recompute::Recompute;
use crate::project::{Model, Project};
use crate::row::{Clock, Codec, Cut, Delta, Diff, Fingerprint, Moment, Row, Rows, Table};
use crate::state::{Base, Bodies, Content, Kept, Store};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// How many differing rows of a model are shown.
const ROWS_SHOWN_MAX: usize = 20;
/// Rows become columns in pieces of so many bytes.
const DECODED_AT_ONCE: usize = 64 << 20;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    pub moment: Moment,
    pub cut: Cut,
    pub models: Vec<ModelVerdict>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelVerdict {
    pub model: String,
    /// Of the recompute.
    pub rows: u64,
    /// Columns that say when their row came, and are not compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stamps: Vec<String>,
    pub result: Difference,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum Difference {
    Equal,
    /// Rows that the recompute has and the table has not (+), and the other way round (-); some of them.
    Differs {
        missing: u64,
        unexpected: u64,
        rows: Vec<(String, Diff)>,
    },
    /// The snapshot's own fingerprint is not that of its rows.
    Fingerprint {
        written: String,
        found: String,
    },
    /// The model cannot be computed, or reads one that cannot: its last good snapshot stays.
    Withheld {
        why: String,
    },
}

impl Verdict {
    /// Whether every model is proved equal.
    pub fn holds(&self) -> bool {
        self.models.iter().all(|m| matches!(m.result, Difference::Equal))
    }
}

/// What must be known to recompute a project.
pub struct Oracle {
    home: (String, String),
    catalog: PathBuf,
    tables: Vec<(Relation, SchemaRef, Table)>,
    models: Vec<Recomputed>,
}

struct Recomputed {
    relation: Relation,
    sql: String,
    stamps: Vec<usize>,
    target: Target,
    /// Its number among those that are published, if it is.
    published: Option<usize>,
}

impl Oracle {
    pub fn new(assembly: &Assembly, config: &Config) -> Oracle {
        let tables = assembly.tables.iter();
        let tables = tables.map(|t| (t.relation.clone(), t.described.clone(), t.table.clone()));
        let mut targets = 0..;
        let mut model = |(compiled, model): (&crate::plan::Compiled, &AssembledModel)| {
            let published = if model.published { targets.next() } else { None };
            let (relation, sql, stamps) = (compiled.relation.clone(), compiled.sql.clone(), compiled.stamps());
            Recomputed { relation, sql, stamps, target: model.target.clone(), published }
        };
        Oracle {
            home: assembly.home.clone(),
            catalog: config.catalog(),
            tables: tables.collect(),
            models: assembly.compiled.iter().zip(&assembly.models).map(&mut model).collect(),
        }
    }

    pub fn models(&self) -> usize {
        self.models.len()
    }

    /// The number of a model among those that are published.
    pub fn target_of(&self, model: usize) -> Option<usize> {
        self.models[model].published
    }

    pub fn target(&self, model: usize) -> &Target {
        &self.models[model].target
    }

    /// The tables of all that are published, in their order.
    pub fn targets(&self) -> Vec<Target> {
        self.models.iter().filter(|m| m.published.is_some()).map(|m| m.target.clone()).collect()
    }
}

/// Everything that a comparison needs, as of one Moment.
pub struct Loaded {
    moment: Moment,
    clock: Clock,
    cut: Cut,
    tables: Vec<RecordBatch>,
    shown: Vec<Option<(Published, Vec<Delta>)>>,
    withheld: Vec<usize>,
    only: Vec<String>,
}

impl Loaded {
    /// `tables` as they are at the Moment, clock and Cut that the tables show.
    pub fn load(
        oracle: &Oracle,
        (moment, clock, cut): (Moment, Clock, Cut),
        tables: &[Content],
        withheld: &[usize],
        only: Vec<String>,
    ) -> Result<Loaded> {
        let batch = |((_, _, table), content): (&(_, _, Table), &Content)| {
            let codec = Codec::new(table.schema.clone());
            let (mut batches, mut rows) = (Vec::new(), Rows::default());
            let mut decode = |rows: &Rows| batches.push(codec.decode((0..rows.len()).map(|at| rows.row(at))));
            let mut walk = content.walk();
            while let Some(row) = walk.advance() {
                rows.push(row, 1);
                if rows.size() >= DECODED_AT_ONCE {
                    decode(&rows);
                    rows.clear();
                }
            }
            decode(&rows);
            concat_batches(&table.schema, &batches)
                .map_err(|e| Error::operator(format!("`{}` is too large to recompute", table.name)).because(e))
        };
        let tables = oracle.tables.iter().zip(tables).map(batch).collect::<Result<_>>()?;
        let mut shown = Vec::new();
        for Recomputed { target, stamps, published, .. } in &oracle.models {
            let wanted = only.is_empty() || only.contains(&target.model) || !stamps.is_empty();
            let wanted = published.is_some() && wanted;
            shown.push(match wanted {
                false => None,
                true => iceberg::read_published(&oracle.catalog, &target.namespace, &target.table, &target.schema)?
                    .map(|(published, rows, _)| (published, rows)),
            });
        }
        let withheld = withheld.to_vec();
        Ok(Loaded { moment, clock, cut, tables, shown, withheld, only })
    }

    pub fn compare(self, oracle: &Oracle) -> Result<Verdict> {
        let mut recompute = Recompute::new(&oracle.home.0, &oracle.home.1, self.clock);
        for ((relation, described, _), batch) in oracle.tables.iter().zip(&self.tables) {
            recompute.table(relation, described, batch)?;
        }
        let mut models = Vec::new();
        for (number, (model, shown)) in oracle.models.iter().zip(self.shown).enumerate() {
            let Recomputed { relation, sql, stamps, target, published } = model;
            let computed = recompute.model(relation, sql);
            let schema = &target.schema;
            if let (Ok(_), Some((_, rows)), false) = (&computed, &shown, stamps.is_empty()) {
                recompute.table(relation, schema, &as_shown(schema, rows))?;
            }
            if published.is_none() || !(self.only.is_empty() || self.only.contains(&target.model)) {
                continue;
            }
            let (rows, result) = match computed {
                Err(error) => (0, Difference::Withheld { why: error.to_string() }),
                Ok(batch) if self.withheld.contains(&number) => (
                    batch.num_rows() as u64,
                    Difference::Withheld { why: "it has rows that cannot be computed".into() },
                ),
                Ok(batch) => (batch.num_rows() as u64, difference(&batch, shown, stamps)),
            };
            let stamps = stamps.iter().map(|column| schema.field(*column).name().clone()).collect();
            models.push(ModelVerdict { model: target.model.clone(), rows, stamps, result });
        }
        Ok(Verdict { moment: self.moment, cut: self.cut, models })
    }
}

fn as_shown(schema: &SchemaRef, rows: &[Delta]) -> RecordBatch {
    let copies = rows.iter().flat_map(|(row, diff)| std::iter::repeat_n(row, usize::try_from(*diff).unwrap_or(0)));
    Codec::new(schema.clone()).decode(copies)
}

fn difference(computed: &RecordBatch, shown: Option<(Published, Vec<Delta>)>, stamps: &[usize]) -> Difference {
    let whole = Codec::new(computed.schema());
    let compared: Vec<usize> = (0..computed.num_columns()).filter(|column| !stamps.contains(column)).collect();
    let codec = Codec::new(Arc::new(computed.schema().project(&compared).expect("columns of its own")));
    let compared = |row: Row| if stamps.is_empty() { row } else { whole.project(&row, &compared) };
    let mut net: HashMap<Row, Diff> = HashMap::new();
    whole.encode(computed).into_iter().for_each(|row| *net.entry(compared(row)).or_default() += 1);
    let mut found = Fingerprint::default();
    let (published, rows) = shown.map_or((None, Vec::new()), |(published, rows)| (Some(published), rows));
    for (row, diff) in rows {
        found.add(&row, diff);
        *net.entry(compared(row)).or_default() -= diff;
    }
    net.retain(|_, diff| *diff != 0);
    if !net.is_empty() {
        let mut rows: Vec<Delta> = net.into_iter().collect();
        rows.sort_unstable();
        let missing = rows.iter().filter(|(_, d)| *d > 0).map(|(_, d)| d.unsigned_abs()).sum();
        let unexpected = rows.iter().filter(|(_, d)| *d < 0).map(|(_, d)| d.unsigned_abs()).sum();
        let rows = rows.iter().take(ROWS_SHOWN_MAX).map(|(row, diff)| (codec.show(row), *diff)).collect();
        return Difference::Differs { missing, unexpected, rows };
    }
    match published {
        Some(published) if published.fingerprint != found => {
            Difference::Fingerprint { written: published.fingerprint.to_string(), found: found.to_string() }
        }
        _ => Difference::Equal,
    }
}

/// Asks the running daemon, which goes on meanwhile; where none runs, reads what the last one left. `only`
/// names models; none means all of the selected.
pub fn verify(project: &Project, config: &Config, selected: &[&Model], only: Vec<String>) -> Result<Verdict> {
    match ask(&config.state, &Request::Verify(only))? {
        Some(Answer::Verdict(verdict)) => return Ok(verdict),
        Some(Answer::Failed(why)) => return Err(Error::operator(why).doing("verify in the running daemon")),
        Some(_) => return Err(Error::bug("the daemon answered another question")),
        None => {}
    }
    verify_left(project, config, selected, Arc::new(Store::open_left(&config.state)?))
}

/// Verifies a state directory that no daemon holds, connected to nothing: finishes what a crash left
/// staged, then compares.
fn verify_left(project: &Project, config: &Config, selected: &[&Model], store: Arc<Store>) -> Result<Verdict> {
    let Some(checkpoint) = store.checkpoint()? else {
        return Err(Error::operator(format!("`{}` holds no checkpoint to verify", config.state.display()))
            .hint("start `driftless run` first"));
    };
    let (assembly, planned) = Assembly::kept(project, selected, &checkpoint)?;
    if let Some(error) = planned.into_iter().find_map(|planned| planned.outcome.err()) {
        return Err(error);
    }
    let kept = assembly.tables.iter().map(|t| stored(&checkpoint.tables, t)).collect::<Result<Vec<_>>>()?;
    let mut oracle = Oracle::new(&assembly, config);
    for (table, (_, stored)) in oracle.tables.iter_mut().zip(&kept) {
        table.2 = stored.clone();
    }
    let mut sink = iceberg_sink(config)?;
    sink.open(&oracle.targets(), staged(&checkpoint)?.as_ref())?;
    drop(sink);
    let bodies = Bodies::new(Some(store.clone()), config.memory_bytes);
    let base = Base::new(&kept, &bodies, &mut store.arrangements(&bodies)?);
    let tables: Vec<Content> = (0..kept.len()).map(|table| base.content(table)).collect();
    let at = (checkpoint.moment, checkpoint.clock, checkpoint.cut);
    Loaded::load(&oracle, at, &tables, &[], Vec::new())?.compare(&oracle)
}

/// The id and the columns under which the store has a table, which must hold all that the models use.
fn stored(kept: &[Kept], table: &AssembledTable) -> Result<(u32, Table)> {
    let holds = |kept: &Kept| table.table.schema.fields().iter().all(|f| kept.columns.contains(f.name()));
    let same = kept.iter().find(|k| k.source == table.source && k.name == table.table.name && holds(k));
    let same = same.ok_or_else(|| {
        Error::operator(format!(
            "the models use other columns of `{}` than the state directory holds",
            table.table.name
        ))
        .hint("start `driftless run` once with the present models")
    })?;
    Ok((same.id, same.table()?))
}

/// What the checkpoint says was staged, in the committer's words.
pub fn staged(checkpoint: &crate::state::Checkpoint) -> Result<Option<Staged>> {
    let read = |value: &serde_json::Value| {
        serde_json::from_value(value.clone()).map_err(|e| Error::corrupt("the checkpoint's staged part").because(e))
    };
    checkpoint.staged.as_ref().map(read).transpose()
}

pub fn iceberg_sink(config: &Config) -> Result<Box<dyn Sink>> {
    Ok(Box::new(iceberg::Iceberg::new(iceberg::Settings {
        warehouse: config.warehouse.clone(),
        catalog: config.catalog(),
        pipeline: config.pipeline.clone(),
    })?))
}
