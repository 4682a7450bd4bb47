//! `driftless plan`: how each model is kept up to date, or why it is refused, before anything runs; and what that keeps.

use super::{Outcome, Shared, report};
use crate::daemon::{Arrangement, Assembly, Layout, Size, state, status};
use crate::error::Result;
use crate::plan::Explained;
use serde_json::{Value, json};
use std::collections::HashMap;

pub fn run(shared: &Shared) -> Result<Outcome> {
    let project = shared.project()?;
    let config = shared.config(&project)?;
    let selected = shared.selected(&project)?;
    let (assembly, planned, _sources) = super::runtime()?.block_on(Assembly::live(&project, &config, &selected))?;
    // What it takes to compute a model as a whole is known to the daemon that does it, if one is running.
    let measured = status::read(&config, &selected).map_or(Vec::new(), |status| status.models);
    let took = |name: &str| measured.iter().find(|model| model.name == name)?.recompute_ms;
    // Rows are known where there is state of a run.
    let kept = state(&config).map_or(Vec::new(), |report| report.arrangements);
    let kept = kept.into_iter().map(|size| (size.name.clone(), size)).collect();
    let told = Told { layout: assembly.layout(), assembly: &assembly, kept };
    let (mut refused, mut recomputed) = (0, 0);
    for planned in planned.iter().filter(|planned| planned.selected || planned.outcome.is_err()) {
        let name = &planned.name;
        let number = match &planned.outcome {
            Ok(number) => *number,
            Err(error) => {
                refused += 1;
                match shared.json {
                    false => println!("model {name}: refused\n{}", report::as_text(error)),
                    true => {
                        println!("{}", json!({"model": name, "mode": "refused", "refusal": report::as_json(error)}))
                    }
                }
                continue;
            }
        };
        let why = assembly.compiled[number].recomputed();
        recomputed += why.is_some() as usize;
        if shared.json {
            let (tree, state) = (told.tree_json(number), told.state_json(number));
            let mut line = json!({"model": name, "mode": "incremental", "plan": tree, "state": state});
            if let Some(why) = why {
                (line["mode"], line["why"]) = ("recompute".into(), why.into());
                line["recompute_ms"] = took(name).into();
            }
            println!("{line}");
        } else {
            let took = took(name).map_or(String::new(), |ms| format!(", {ms} ms the last time"));
            match why {
                None => println!("model {name}: incremental"),
                Some(_) => println!("model {name}: recompute{took}"),
            }
            println!("{}{}", told.tree(number), told.state(number));
        }
    }
    if !shared.json {
        let incremental = planned.len() - refused - recomputed;
        println!("{} models: {incremental} incremental, {recomputed} recompute, {refused} refused", planned.len());
    }
    Ok(if refused == 0 { Outcome::Good } else { Outcome::Failed })
}

/// Plans with what they arrange.
struct Told<'a> {
    assembly: &'a Assembly,
    layout: Layout,
    kept: HashMap<String, Size>,
}

impl Told<'_> {
    fn explained(&self, model: usize) -> Explained {
        let table = |number: usize| {
            let table = &self.assembly.tables[number];
            format!("{}.{}", table.source, table.table.name.name)
        };
        let named = |number: usize| self.assembly.models[number].name.clone();
        Explained::of(&self.assembly.compiled[model].node, &table, &named)
    }

    /// A line for each node, with the arrangements that it reads.
    fn tree(&self, model: usize) -> String {
        let mut lines = String::new();
        let mut reads = self.layout.nodes[model].iter();
        let explained = self.explained(model);
        let mut open = vec![(&explained, 1)];
        while let Some((node, depth)) = open.pop() {
            let read = reads.next().map_or(&[][..], |read| read);
            let read: Vec<String> = read.iter().map(|number| self.short(*number, model)).collect();
            let read = if read.is_empty() { String::new() } else { format!(" [{}]", read.join(", ")) };
            lines += &format!("{:indent$}{}{read}\n", "", node.line(), indent = depth * 2);
            open.extend(node.inputs.iter().rev().map(|input| (input, depth + 1)));
        }
        lines
    }

    fn tree_json(&self, model: usize) -> Value {
        self.node_json(&self.explained(model), &mut self.layout.nodes[model].iter())
    }

    fn node_json<'b>(&self, node: &Explained, reads: &mut impl Iterator<Item = &'b Vec<usize>>) -> Value {
        let read = reads.next().map_or(&[][..], |read| read);
        let read: Vec<&str> = read.iter().map(|number| self.layout.arrangements[*number].name.as_str()).collect();
        let inputs: Vec<Value> = node.inputs.iter().map(|input| self.node_json(input, reads)).collect();
        json!({"does": node.does, "upkeep": node.upkeep, "arrangements": read, "inputs": inputs})
    }

    /// A line for each arrangement that a model reads.
    fn state(&self, model: usize) -> String {
        let line = |number: &usize| {
            let arrangement = &self.layout.arrangements[*number];
            let guessed = if arrangement.guessed { "about " } else { "" };
            let row = format!("{guessed}{} B a row", arrangement.row_bytes);
            let now = self
                .kept
                .get(&arrangement.name)
                .map_or(String::new(), |size| format!("; now {} rows, {}", size.rows, report::bytes(size.bytes)));
            let others = match self.others(*number, model).join(", ") {
                none if none.is_empty() => none,
                others => format!("; shared with {others}"),
            };
            format!("  state {} {}: {row}{now}{others}\n", self.short(*number, model), arrangement.by)
        };
        self.layout.of_model(model).iter().map(line).collect()
    }

    fn state_json(&self, model: usize) -> Value {
        let one = |number: &usize| {
            let Arrangement { name, by, row_bytes, guessed, .. } = &self.layout.arrangements[*number];
            let others = self.others(*number, model);
            let now = self.kept.get(name).map(|size| json!({"rows": size.rows, "bytes": size.bytes}));
            json!({"name": name, "by": by, "row_bytes": row_bytes, "guessed": guessed, "now": now, "shared_with": others})
        };
        self.layout.of_model(model).iter().map(one).collect()
    }

    /// An arrangement's number, with its model if that is another.
    fn short(&self, number: usize, within: usize) -> String {
        let Arrangement { model, number, .. } = self.layout.arrangements[number];
        match model == within {
            true => format!("#{number}"),
            false => format!("{} #{number}", self.assembly.models[model].name),
        }
    }

    /// The other models that read an arrangement.
    fn others(&self, arrangement: usize, model: usize) -> Vec<&str> {
        let readers = self.layout.readers(arrangement).into_iter().filter(|reader| *reader != model);
        readers.map(|reader| self.assembly.models[reader].name.as_str()).collect()
    }
}
