//! `rollup` and `cube` of several columns at once, `rollup ((a, b), c)`, as the grouping sets that they stand for.

use datafusion::sql::sqlparser::ast::{Expr, Statement, VisitMut, VisitorMut};
use std::ops::ControlFlow;

/// As many as Postgres takes.
const CUBE_MAX: usize = 12;

/// Writes them so.
pub fn listed(statement: &mut Statement) {
    let _ = VisitMut::visit(statement, &mut Listed);
}

struct Listed;

impl VisitorMut for Listed {
    type Break = ();

    fn post_visit_expr(&mut self, e: &mut Expr) -> ControlFlow<()> {
        match e {
            Expr::Rollup(sets) if are_several(sets) => {
                let first = |count: usize| sets[..count].concat();
                *e = Expr::GroupingSets((0..=sets.len()).rev().map(first).collect());
            }
            Expr::Cube(sets) if are_several(sets) && sets.len() <= CUBE_MAX => {
                let some = |chosen: usize| {
                    let each = sets.iter().enumerate().filter(|(place, _)| chosen >> place & 1 == 1);
                    each.flat_map(|(_, set)| set.clone()).collect()
                };
                *e = Expr::GroupingSets((0..1 << sets.len()).map(some).collect());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn are_several(sets: &[Vec<Expr>]) -> bool {
    sets.iter().any(|set| set.len() != 1)
}
