//! What the cases have covered, so that a sample which tests little does not pass for one that tests much.

use driftless::plan::{JoinKind, Node, Op};
use std::collections::BTreeMap;
use std::fmt;

#[derive(Default)]
pub struct Seen {
    pub cases: usize,
    pub models: usize,
    /// By reason.
    pub refused: BTreeMap<String, usize>,
    pub operators: BTreeMap<&'static str, usize>,
    /// Models that had rows at some Moment, and models that lost some.
    pub filled: usize,
    pub retracted: usize,
    pub moments: usize,
    /// At which something was due.
    pub due: usize,
    /// Moments at which a model could not be computed, and at which it could again.
    pub faults: usize,
    pub mended: usize,
    pub checkpoints: usize,
    pub restarts: usize,
    /// Of these, with another number of workers, and from before some Moments that had closed.
    pub resized: usize,
    pub replayed: usize,
}

/// Each must be seen in a sample.
const OPERATORS: [&str; 15] = [
    "table",
    "model",
    "constant",
    "map",
    "join",
    "cross join",
    "distinct",
    "reduce",
    "reduce of all",
    "top",
    "beside",
    "temporal",
    "ticks",
    "union",
    "recursion",
];

impl Seen {
    pub fn note(&mut self, node: &Node) {
        let name = match &node.op {
            Op::Table { .. } => "table",
            Op::Model { .. } => "model",
            Op::Constant { .. } => "constant",
            Op::Map { .. } => "map",
            Op::Join(join) => match join.kind {
                JoinKind::Inner if join.left_key.is_empty() => "cross join",
                JoinKind::Inner => "join",
                JoinKind::Left => "left join",
                JoinKind::Full => "full join",
                JoinKind::Semi => "semi join",
                JoinKind::Anti => "anti join",
                JoinKind::Mark => "mark join",
                JoinKind::NotIn => "not in",
            },
            Op::Regroup { .. } => "regroup",
            Op::Reduce { aggregates, .. } if aggregates.is_empty() => "distinct",
            Op::Reduce { key: 0, .. } => "reduce of all",
            Op::Reduce { .. } => "reduce",
            Op::Top { numbered: true, .. } => "numbered top",
            Op::Top { .. } => "top",
            Op::Beside { .. } => "beside",
            Op::Temporal { .. } => "temporal",
            Op::Ticks { .. } => "ticks",
            Op::Stamp { .. } => "stamp",
            Op::Given => "given",
            Op::Recursion { .. } => "recursion",
            Op::Recurring { .. } => "recurring",
            Op::Union { .. } => "union",
            Op::Rerun { .. } => "rerun",
            Op::Unnest { .. } => "unnest",
        };
        *self.operators.entry(name).or_default() += 1;
        node.inputs().into_iter().for_each(|input| self.note(input));
    }

    /// Fails where the cases have tested too little.
    pub fn assert_enough(&self) {
        let refused: usize = self.refused.values().sum();
        assert!(refused * 20 < self.models, "too many queries are refused\n{self}");
        assert!(self.filled * 10 > self.models * 6, "too many models never had a row\n{self}");
        assert!(self.retracted * 10 > self.models * 4, "too many models never lost a row\n{self}");
        let unseen: Vec<&str> = OPERATORS.into_iter().filter(|name| !self.operators.contains_key(name)).collect();
        assert!(unseen.is_empty(), "no {}\n{self}", unseen.join(", no "));
        for (what, count, at_least) in [
            ("checkpoints", self.checkpoints, self.cases),
            ("restarts", self.restarts, self.cases / 2),
            ("restarts with another number of workers", self.resized, self.cases / 4),
            ("Moments that closed twice", self.replayed, self.cases / 4),
            ("Moments at which something was due", self.due, self.cases / 10),
            ("faults", self.faults, self.cases / 10),
            ("faults that went", self.mended, self.cases / 50),
        ] {
            assert!(count >= at_least, "only {count} {what}\n{self}");
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} cases: {} models, {} filled, {} retracted",
            self.cases, self.models, self.filled, self.retracted
        )?;
        writeln!(
            f,
            "{} moments, {} with something due, {} with faults, {} mended",
            self.moments, self.due, self.faults, self.mended
        )?;
        writeln!(
            f,
            "{} checkpoints, {} restarts, {} resized, {} moments replayed",
            self.checkpoints, self.restarts, self.resized, self.replayed
        )?;
        let count = |(name, count): (&&str, &usize)| format!("{count} {name}");
        writeln!(f, "operators: {}", self.operators.iter().map(count).collect::<Vec<_>>().join(", "))?;
        self.refused.iter().try_for_each(|(reason, count)| writeln!(f, "refused {count} times: {reason}"))
    }
}
