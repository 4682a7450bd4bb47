//! What is maintained and not yet published: net changes and faults of every model.
//!
//! Rows of several Moments add up here between two publications, so that a row that came and went in between
//! is never written. A model with faults, and every model that reads it, keeps its changes until they are gone.
//! Both are arrangements like those of the dataflow: they may be larger than memory, and a checkpoint keeps them.

use super::assembly::AssembledModel;
use crate::flow::{Fault, Output};
use crate::plan::Compiled;
use crate::row::{Codec, Datum, Delta, Row, Rows, append};
use crate::state::{Arrangements, Batch, Batches, Bodies, KeptModel, Spine, Walk};
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many faults of a model are shown.
const FAULTS_SHOWN: usize = 10;

pub struct Pending {
    models: Vec<Model>,
    bodies: Arc<Bodies>,
    /// Of faults as rows: message, sample.
    fault_codec: Codec,
}

struct Model {
    name: String,
    parents: Vec<usize>,
    /// Numbers of the source tables that it reads.
    tables: BTreeSet<usize>,
    published: bool,
    net: Spine,
    faults: Spine,
    faults_there: i64,
    /// Until they change.
    some_faults: Option<Vec<Fault>>,
    rows: i64,
    /// Changes since the start.
    changes: u64,
}

impl Pending {
    /// As `from` has it; with the number of rows of each model, where they are known.
    pub fn new(
        models: &[AssembledModel],
        compiled: &[Compiled],
        bodies: &Arc<Bodies>,
        from: &mut Arrangements,
        kept: Option<&[KeptModel]>,
    ) -> Pending {
        let mut spine = |name: String| {
            let batches = from.by_name.remove(&name).and_then(|workers| workers.into_iter().next());
            Spine::restore(batches.map_or(Vec::new(), |batches| batches.to_vec()), bodies.clone())
        };
        let model = |(number, model): (usize, &AssembledModel)| {
            let faults = spine(faults_name(&model.name));
            Model {
                name: model.name.clone(),
                parents: model.parents.clone(),
                tables: compiled[number].tables(),
                published: model.published,
                net: spine(net_name(&model.name)),
                faults_there: count(&faults),
                faults,
                some_faults: None,
                rows: kept.map_or(0, |kept| kept[number].rows),
                changes: 0,
            }
        };
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let schema = Schema::new(vec![text("message"), text("sample")]);
        Pending {
            models: models.iter().enumerate().map(model).collect(),
            bodies: bodies.clone(),
            fault_codec: Codec::new(Arc::new(schema)),
        }
    }

    /// A Moment's effect.
    pub fn absorb(&mut self, output: Output) {
        for (model, rows) in self.models.iter_mut().zip(output.models) {
            model.changes += rows.len() as u64;
            model.rows += rows.iter().map(|(_, diff)| diff).sum::<i64>();
            if model.published && !rows.is_empty() {
                model.net.insert(Arc::new(Batch::of(&rows, &self.bodies)));
            }
        }
        for (model, faults) in self.models.iter_mut().zip(output.faults).filter(|(_, faults)| !faults.is_empty()) {
            let mut rows = Rows::default();
            model.some_faults = None;
            for (fault, diff) in faults {
                [fault.message, fault.sample].into_iter().for_each(|text| append(rows.open(), &Datum::Text(text)));
                rows.end(diff);
                model.faults_there += diff;
            }
            model.faults.insert(Arc::new(Batch::of(&rows, &self.bodies)));
        }
    }

    /// What the model's table shows already need not be published; what it shows too much must go.
    pub fn level(&mut self, model: usize, shown: Vec<Delta>) {
        let mut rows: Rows = shown.into_iter().collect();
        rows.negate();
        self.models[model].net.insert(Arc::new(Batch::of(&rows, &self.bodies)));
    }

    /// What is to be published of all models but these, by number of the model; it may come to nothing.
    pub fn take(&mut self, kept_back: &[bool]) -> Vec<(usize, Batches)> {
        let mut changes = Vec::new();
        for (number, model) in self.models.iter_mut().enumerate().filter(|(m, _)| !kept_back[*m]) {
            if !model.net.is_empty() {
                let net = std::mem::replace(&mut model.net, Spine::new(self.bodies.clone()));
                changes.push((number, net.batches()));
            }
        }
        changes
    }

    /// What a checkpoint must name.
    pub fn pin(&self, to: &mut Arrangements) {
        for model in &self.models {
            to.by_name.insert(net_name(&model.name), vec![model.net.pin()]);
            to.by_name.insert(faults_name(&model.name), vec![model.faults.pin()]);
        }
    }

    /// For each model whether it, or one that it reads, has faults.
    pub fn withheld(&self) -> Vec<bool> {
        self.below(|_, model| model.faults_there != 0)
    }

    /// For each model whether it, or one that it reads, is one of these, or reads a table of which not all was fed.
    pub fn behind(&self, unsettled: &[usize], unfed: impl Fn(usize) -> bool) -> Vec<bool> {
        self.below(|number, model| unsettled.contains(&number) || model.tables.iter().any(|table| unfed(*table)))
    }

    /// The models that `are`, and all that read them; parents come before those that read them.
    fn below(&self, are: impl Fn(usize, &Model) -> bool) -> Vec<bool> {
        let mut below: Vec<bool> = Vec::with_capacity(self.models.len());
        for (number, model) in self.models.iter().enumerate() {
            below.push(are(number, model) || model.parents.iter().any(|parent| below[*parent]));
        }
        below
    }

    /// Some of the model's faults.
    pub fn faults(&mut self, model: usize) -> &[Fault] {
        let model = &mut self.models[model];
        model.some_faults.get_or_insert_with(|| {
            let batches = model.faults.batches();
            let (mut rows, mut faults) = (Walk::over(&batches), Vec::new());
            while faults.len() < FAULTS_SHOWN
                && let Some((row, _)) = rows.advance()
            {
                faults.push(match <[Datum; 2]>::try_from(self.fault_codec.datums(&Row::from(row))) {
                    Ok([Datum::Text(message), Datum::Text(sample)]) => Fault { message, sample },
                    _ => unreachable!("faults are written above"),
                });
            }
            faults
        })
    }

    pub fn rows(&self, model: usize) -> i64 {
        self.models[model].rows
    }

    pub fn changes(&self, model: usize) -> u64 {
        self.models[model].changes
    }
}

fn net_name(model: &str) -> String {
    format!("unpublished {model}")
}

fn faults_name(model: &str) -> String {
    format!("faults {model}")
}

fn count(faults: &Spine) -> i64 {
    let batches = faults.batches();
    let (mut rows, mut count) = (Walk::over(&batches), 0);
    while let Some((_, diff)) = rows.advance() {
        count += diff;
    }
    count
}
