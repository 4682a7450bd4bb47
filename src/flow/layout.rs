//! What a dataflow keeps, before it runs: each arrangement, and which nodes of which models read it.
//!
//! It is asked of the code that builds the dataflow, which notes here whatever it arranges: what is told cannot be
//! anything else than what is built.

use super::Output;
use super::build::{Identity, Inputs, build, identity, joined};
use super::spines::{Kept, Spines};
use crate::plan::{Compiled, Node, Op};
use crate::row::Table;
use crate::state::Bodies;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// Rows, or groups with their sums, by a key.
#[derive(Clone, Debug)]
pub struct Arrangement {
    /// As it is called where it is kept.
    pub name: String,
    /// The model that came first to need it, and its number in it.
    pub model: usize,
    pub number: usize,
    /// `by (a, b)`, `by instant`, `by whole row`.
    pub by: String,
    /// About so long is a row, by its types.
    pub row_bytes: usize,
    /// Whether that is a guess: texts are taken to have 16 bytes, lists 4 items, sums to be below two million.
    pub guessed: bool,
}

#[derive(Debug)]
pub struct Layout {
    pub arrangements: Vec<Arrangement>,
    /// For each model and each of its nodes, a node before its inputs: the numbers of the arrangements that it reads.
    pub nodes: Vec<Vec<Vec<usize>>>,
}

impl Layout {
    /// Of the dataflow that would maintain these models, compiled in this order over these tables.
    pub fn of(models: &[Compiled], tables: &[Table]) -> Layout {
        let (models, tables) = (models.to_vec(), tables.to_vec());
        timely::execute_directly(move |worker| {
            let share = Rc::new(RefCell::new(Output::of(models.len())));
            let kept = Kept { bodies: Bodies::resident_only(), from: None, before: Arc::default() };
            let spines = Spines::new(kept, worker.index(), worker.peers());
            let Inputs { read, .. } = worker.dataflow(|scope| build(scope, &models, &tables, spines, share));
            // Nothing of it ever runs, constants included.
            worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
            let nodes = models.iter().enumerate().map(|(model, compiled)| {
                let mut nodes = Vec::new();
                read.walk(&compiled.node, None, model, None, &mut nodes);
                nodes
            });
            Layout { nodes: nodes.collect(), arrangements: read.arrangements }
        })
    }

    /// The models that read an arrangement.
    pub fn readers(&self, arrangement: usize) -> Vec<usize> {
        let reads = |model: &Vec<Vec<usize>>| model.iter().flatten().any(|read| *read == arrangement);
        self.nodes.iter().enumerate().filter(|(_, model)| reads(model)).map(|(number, _)| number).collect()
    }

    /// The arrangements that a model reads.
    pub fn of_model(&self, model: usize) -> BTreeSet<usize> {
        self.nodes[model].iter().flatten().copied().collect()
    }
}

/// What is noted while a dataflow is built.
#[derive(Default)]
pub(super) struct Read {
    pub arrangements: Vec<Arrangement>,
    /// Whose operator is being built.
    pub reader: Option<Identity>,
    by: HashMap<Identity, Vec<usize>>,
}

impl Read {
    /// From now on this node's operator is being built; returns whose was.
    pub fn begin(&mut self, reader: Identity) -> Option<Identity> {
        self.reader.replace(reader)
    }

    pub fn first(&mut self, arrangement: Arrangement) {
        self.arrangements.push(arrangement);
        self.again(self.arrangements.len() - 1);
    }

    pub fn again(&mut self, arrangement: usize) {
        let reader = self.reader.expect("what is arranged is arranged for an operator");
        let read = self.by.entry(reader).or_default();
        if !read.contains(&arrangement) {
            read.push(arrangement);
        }
    }

    /// Notes what each node reads, a node before its inputs; `one` is that of the operator which the node shares with
    /// the one above.
    fn walk(&self, node: &Node, given: Option<u128>, model: usize, one: Option<Identity>, nodes: &mut Vec<Vec<usize>>) {
        let own = identity(node, given, model);
        let shared = joined(node).map(|_| own);
        let read = self.by.get(&one.unwrap_or(own)).filter(|_| shared.is_none());
        nodes.push(read.cloned().unwrap_or_default());
        for (at, input) in node.inputs().into_iter().enumerate() {
            let given = match &node.op {
                Op::Beside { input, parts, .. } if at < parts.len() => Some(identity(input, given, model).0),
                Op::Recursion { .. } => Some(own.0),
                _ => given,
            };
            self.walk(input, given, model, shared, nodes);
        }
    }
}
