//! One batch of many: rows are compared by their leads, runs of rows and whole blocks are passed on as they are.

use super::batch::{Batch, BatchBuilder};
use super::block::Block;
use super::bodies::Bodies;
use crate::row::{Diff, compare, lead};
use std::sync::Arc;

/// Runs of rows longer than this are sought out and copied whole.
const RUN_ROWS: usize = 3;

/// One batch of many: equal rows meet, and what comes to nothing is gone.
pub fn merge(parts: &[Arc<Batch>], bodies: &Arc<Bodies>) -> Batch {
    let batches: Vec<&Batch> = parts.iter().map(|batch| &**batch).filter(|batch| !batch.is_empty()).collect();
    let shared = shared(&batches);
    let mut inputs: Vec<Input> = batches.iter().map(|batch| Input::new(batch, shared)).collect();
    let mut builder = BatchBuilder::new(bodies.clone());
    let mut row = Vec::new();
    while inputs.len() > 1 {
        let (least, next) = two_least(&inputs);
        match inputs[least].compare(&inputs[next]) {
            std::cmp::Ordering::Equal => {
                let mut diff = inputs[least].diff();
                for other in (0..inputs.len()).filter(|other| *other != least) {
                    if inputs[other].compare(&inputs[least]).is_eq() {
                        diff += inputs[other].diff();
                    }
                }
                row.clear();
                row.extend_from_slice(inputs[least].row());
                if diff != 0 {
                    builder.push(&row, diff);
                }
                let row_lead = lead(&row[shared..]);
                inputs.retain_mut(|input| (input.lead != row_lead || input.row() != row) || input.step());
            }
            _ => {
                let [input, bound] = inputs.get_disjoint_mut([least, next]).expect("two different inputs");
                if !input.run(Some(bound), &mut builder) {
                    inputs.swap_remove(least);
                }
            }
        }
    }
    if let Some(input) = inputs.first_mut() {
        input.run(None, &mut builder);
    }
    builder.finish().made_of(parts)
}

/// Of many large batches: so much of them as comes first, made one, and what is left of each. So what was merged
/// can be let go before all is.
pub fn merge_first(parts: &[Arc<Batch>], bytes: usize, bodies: &Arc<Bodies>) -> (Batch, Vec<Arc<Batch>>) {
    let size = |batch: &Batch| batch.slots().iter().map(|slot| slot.size()).sum::<usize>();
    let all = parts.iter().map(|part| size(part)).sum::<usize>();
    let largest = parts.iter().max_by_key(|part| part.slots().len());
    let Some(largest) = largest.filter(|largest| all > 2 * bytes && largest.slots().len() > 1) else {
        return (merge(parts, bodies), Vec::new());
    };
    // Its share of what comes first; one block at least comes first, and one is left.
    let slots = largest.slots().len();
    let key = largest.slots()[(slots * bytes / all).clamp(1, slots - 1)].first();
    let (first, rest): (Vec<_>, Vec<_>) = parts.iter().map(|part| part.split(key, bodies).map(Arc::new).into()).unzip();
    let rest = rest.into_iter().filter(|rest| !rest.is_empty()).collect();
    (merge(&first, bodies), rest)
}

/// How many bytes the rows of all batches begin with: those of the least and of the greatest row.
fn shared(batches: &[&Batch]) -> usize {
    let Some(least) = batches.iter().map(|batch| batch.slots()[0].first()).min() else { return 0 };
    let same = |batch: &&Batch| {
        let block = batch.slots()[batch.slots().len() - 1].glance();
        least.iter().zip(block.row(block.rows() - 1)).take_while(|(a, b)| a == b).count()
    };
    batches.iter().map(same).min().unwrap_or(0)
}

/// The input with the least row, and the one with the least of the others.
fn two_least(inputs: &[Input]) -> (usize, usize) {
    let (mut least, mut next) = if inputs[1].compare(&inputs[0]).is_lt() { (1, 0) } else { (0, 1) };
    for other in 2..inputs.len() {
        if inputs[other].compare(&inputs[least]).is_lt() {
            (least, next) = (other, least);
        } else if inputs[other].compare(&inputs[next]).is_lt() {
            next = other;
        }
    }
    (least, next)
}

/// A batch that is being merged, at its next row.
struct Input<'a> {
    batch: &'a Batch,
    slot: usize,
    block: Arc<Block>,
    at: usize,
    /// So many bytes are the same in all rows of all inputs.
    shared: usize,
    /// The lead of what follows them.
    lead: u128,
}

impl Input<'_> {
    fn new(batch: &Batch, shared: usize) -> Input<'_> {
        let block = batch.slots()[0].glance();
        let lead = lead(&block.row(0)[shared..]);
        Input { batch, slot: 0, block, at: 0, shared, lead }
    }

    fn row(&self) -> &[u8] {
        self.block.row(self.at)
    }

    fn diff(&self) -> Diff {
        self.block.diff(self.at)
    }

    #[inline]
    fn compare(&self, other: &Input) -> std::cmp::Ordering {
        self.lead.cmp(&other.lead).then_with(|| compare(&self.row()[self.shared..], &other.row()[self.shared..]))
    }

    /// Whether there is a next row.
    #[inline]
    fn step(&mut self) -> bool {
        self.move_to(self.at + 1)
    }

    #[inline]
    fn move_to(&mut self, at: usize) -> bool {
        self.at = at;
        if at == self.block.rows() {
            return self.enter(self.slot + 1);
        }
        self.lead = lead(&self.row()[self.shared..]);
        true
    }

    fn enter(&mut self, slot: usize) -> bool {
        self.slot = slot;
        self.at = 0;
        let Some(slot) = self.batch.slots().get(slot) else { return false };
        self.block = slot.glance();
        self.lead = lead(&self.row()[self.shared..]);
        true
    }

    /// Passes on the rows before `bound`'s, or all of them; the first is one. Whether there is a row left.
    fn run(&mut self, bound: Option<&Input>, builder: &mut BatchBuilder) -> bool {
        let mut passed = 0;
        loop {
            let whole = self.at == 0 && self.ends_before(bound) && builder.takes(&self.batch.slots()[self.slot]);
            let more = if whole {
                self.pass(bound, builder)
            } else if passed < RUN_ROWS && bound.is_some() {
                builder.push(self.row(), self.diff());
                self.step()
            } else {
                let to = bound.map_or(self.block.rows(), |bound| self.block.seek(self.at, bound.row()));
                builder.extend(&self.block, self.at..to);
                self.move_to(to)
            };
            passed += 1;
            if !more || bound.is_some_and(|bound| self.compare(bound).is_ge()) {
                return more;
            }
        }
    }

    fn ends_before(&self, bound: Option<&Input>) -> bool {
        bound.is_none_or(|bound| self.block.row(self.block.rows() - 1) < bound.row())
    }

    /// Passes on this block as it is, and those behind it that end before the bound, unread.
    fn pass(&mut self, bound: Option<&Input>, builder: &mut BatchBuilder) -> bool {
        let slots = self.batch.slots();
        let mut slot = self.slot;
        loop {
            builder.push_slot(slots[slot].clone());
            slot += 1;
            let ends_before = |bound: &Input| slots.get(slot + 1).is_some_and(|next| next.first() <= bound.row());
            if slot == slots.len() || !builder.takes(&slots[slot]) || !bound.is_none_or(ends_before) {
                return self.enter(slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Walk;
    use super::super::bodies::tests::Counting;
    use super::*;
    use crate::error::Result;
    use crate::row::Rows;

    fn all(batches: &[Arc<Batch>]) -> Vec<(Vec<u8>, Diff)> {
        let (mut walk, mut rows) = (Walk::over(batches), Vec::new());
        while let Some((row, diff)) = walk.advance() {
            rows.push((row.to_vec(), diff));
        }
        rows
    }

    #[test]
    fn pieces_are_the_whole_whenever_one_looks_and_after_a_restart() {
        let bodies = Bodies::new(Some(Arc::new(Counting::default())), 1 << 20);
        let batch = |count: u64, step: u64, diff: Diff| {
            let mut rows = Rows::default();
            (0..count).for_each(|number| rows.push(&[&[3; 20][..], &(number * step).to_be_bytes()].concat(), diff));
            Arc::new(Batch::of(&rows, &bodies))
        };
        // Some rows twice, some gone, and one batch that ends early.
        let parts = [batch(60_000, 2, 1), batch(30_000, 3, 1), batch(10_000, 6, -1), batch(500, 7, 2)];
        let whole = all(&parts);
        let (mut done, mut rest, mut pieces) = (Batch::default(), parts.to_vec(), 0);
        while !rest.is_empty() {
            let (first, left) = merge_first(&rest, 200 << 10, &bodies);
            (done, rest, pieces) = (done.followed_by(&first), left, pieces + 1);
            let now: Vec<Arc<Batch>> =
                [Arc::new(Batch::of_slots(done.slots().to_vec()))].into_iter().chain(rest.clone()).collect();
            assert_eq!(all(&now), whole, "after {pieces} pieces");
            let heads: Vec<u64> = now.iter().flat_map(|batch| batch.stored(&bodies).expect("it takes all")).collect();
            let restored = heads.iter().map(|id| Batch::restore(*id, &bodies).map(Arc::new));
            assert_eq!(
                all(&restored.collect::<Result<Vec<_>>>().expect("it is there")),
                whole,
                "stored after {pieces} pieces"
            );
        }
        assert!(pieces > 5, "{pieces} pieces");
        assert_eq!(done.rows(), whole.len());
    }
}
