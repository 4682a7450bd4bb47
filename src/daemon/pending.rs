//! What is maintained and not yet published: net changes and faults of every model.
//!
//! Rows of several Moments add up here between two publications, so that a row that came and went in between
//! is never written. A model with faults, and every model that reads it, keeps its changes until they are gone.

use super::assembly::AssembledModel;
use crate::flow::{Fault, Output};
use crate::row::{Delta, Diff, Row};
use std::collections::{BTreeMap, HashMap};

#[derive(Default)]
pub struct Pending {
    models: Vec<Model>,
}

#[derive(Default)]
struct Model {
    parents: Vec<usize>,
    published: bool,
    net: HashMap<Row, Diff>,
    faults: BTreeMap<Fault, Diff>,
    rows: i64,
    /// Changes since the start.
    changes: u64,
}

impl Pending {
    pub fn new(models: &[AssembledModel]) -> Pending {
        let model =
            |m: &AssembledModel| Model { parents: m.parents.clone(), published: m.published, ..Model::default() };
        Pending { models: models.iter().map(model).collect() }
    }

    /// A Moment's effect.
    pub fn absorb(&mut self, output: Output) {
        for (model, rows) in self.models.iter_mut().zip(output.models) {
            model.changes += rows.len() as u64;
            for (row, diff) in rows.iter() {
                model.rows += diff;
                if model.published {
                    add(&mut model.net, Row::from(row), diff);
                }
            }
        }
        for (model, faults) in self.models.iter_mut().zip(output.faults) {
            for (fault, diff) in faults {
                let count = model.faults.entry(fault).or_default();
                *count += diff;
            }
            model.faults.retain(|_, diff| *diff != 0);
        }
    }

    /// What the model's table shows already need not be published; what it shows too much must go.
    pub fn level(&mut self, model: usize, shown: Vec<Delta>) {
        let net = &mut self.models[model].net;
        shown.into_iter().for_each(|(row, diff)| add(net, row, -diff));
    }

    /// The net changes of every model that may be published now.
    pub fn take(&mut self) -> Vec<(usize, Vec<Delta>)> {
        let due = |m: &usize| !self.withheld(*m) && !self.models[*m].net.is_empty();
        let due: Vec<usize> = (0..self.models.len()).filter(due).collect();
        let mut changes = Vec::new();
        for model in due {
            let mut deltas: Vec<Delta> = std::mem::take(&mut self.models[model].net).into_iter().collect();
            deltas.sort_unstable();
            changes.push((model, deltas));
        }
        changes
    }

    /// Whether the model, or one that it reads, has faults.
    pub fn withheld(&self, model: usize) -> bool {
        let model = &self.models[model];
        !model.faults.is_empty() || model.parents.iter().any(|parent| self.withheld(*parent))
    }

    pub fn faults(&self, model: usize) -> impl Iterator<Item = &Fault> {
        self.models[model].faults.keys()
    }

    pub fn rows(&self, model: usize) -> i64 {
        self.models[model].rows
    }

    pub fn changes(&self, model: usize) -> u64 {
        self.models[model].changes
    }
}

fn add(net: &mut HashMap<Row, Diff>, row: Row, diff: Diff) {
    use std::collections::hash_map::Entry;
    match net.entry(row) {
        Entry::Vacant(entry) => {
            entry.insert(diff);
        }
        Entry::Occupied(mut entry) => {
            *entry.get_mut() += diff;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}
