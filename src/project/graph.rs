//! Who reads whom, and an order in which parents come before children.
//!
//! The order depends on names only: the smallest free name goes first, so that two loads of the same
//! project walk it alike.

use crate::error::{Error, Place, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// A node as the graph sees it.
pub struct Node {
    pub id: String,
    pub file: PathBuf,
    pub parents: Vec<String>,
}

/// Positions in `nodes`, parents first. Parents that are not among the nodes count as given.
pub fn order(nodes: &[Node]) -> Result<Vec<usize>> {
    let position: BTreeMap<&str, usize> = nodes.iter().enumerate().map(|(at, node)| (node.id.as_str(), at)).collect();
    let mut children: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let mut waiting: Vec<usize> = vec![0; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for parent in node.parents.iter().filter_map(|id| position.get(id.as_str())) {
            if children.entry(*parent).or_default().insert(at) {
                waiting[at] += 1;
            }
        }
    }
    let mut free: BTreeSet<(&str, usize)> =
        (0..nodes.len()).filter(|at| waiting[*at] == 0).map(|at| (nodes[at].id.as_str(), at)).collect();
    let mut ordered = Vec::with_capacity(nodes.len());
    while let Some((_, at)) = free.pop_first() {
        ordered.push(at);
        for child in children.get(&at).into_iter().flatten() {
            waiting[*child] -= 1;
            if waiting[*child] == 0 {
                free.insert((nodes[*child].id.as_str(), *child));
            }
        }
    }
    if ordered.len() < nodes.len() {
        return Err(cycle(nodes, &position, &waiting));
    }
    Ok(ordered)
}

/// Walks parents among the nodes that never became free until one comes again: that loop is the cycle.
fn cycle(nodes: &[Node], position: &BTreeMap<&str, usize>, waiting: &[usize]) -> Error {
    let stuck = |at: &usize| waiting[*at] > 0;
    let start = (0..nodes.len()).filter(stuck).min_by_key(|at| &nodes[*at].id).expect("a node is stuck");
    let mut walk = vec![start];
    let looped = loop {
        let last = *walk.last().expect("the walk starts with a node");
        let parents = nodes[last].parents.iter().filter_map(|id| position.get(id.as_str()).copied());
        let next = parents.filter(stuck).min_by_key(|at| &nodes[*at].id).expect("a stuck node has a stuck parent");
        if let Some(seen) = walk.iter().position(|at| *at == next) {
            break &mut walk[seen..];
        }
        walk.push(next);
    };
    looped.reverse();
    let first = (0..looped.len()).min_by_key(|at| &nodes[looped[*at]].id).expect("a cycle has nodes");
    looped.rotate_left(first);
    let files: Vec<String> =
        looped.iter().chain([&looped[0]]).map(|at| format!("`{}`", nodes[*at].file.display())).collect();
    Error::operator(format!("models depend on each other in a circle: {}", files.join(" -> ")))
        .at(Place::file(&nodes[looped[0]].file))
        .hint("let one of them read what the other reads instead of the other itself")
}
