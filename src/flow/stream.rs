//! What flows: containers of rows, and arrangements as they change, one step for each Moment.
//!
//! A [`Step`] carries an arrangement as it was before a Moment, and what the Moment changed. Batches never
//! change, so a reader holds a state that stays as it is for as long as it works on it, and nobody asks anybody
//! how far along they are. Each arrangement gives a step at every Moment that closes, if only an empty one:
//! so readers let go of batches that have been merged since.

use crate::row::{Codec, Rows};
use crate::state::{Batch, Batches};
use std::collections::VecDeque;
use std::sync::Arc;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::dataflow::operators::Capability;
use timely::progress::Antichain;
use timely::progress::frontier::MutableAntichain;

pub(super) type Time = u64;
pub(super) type RowStream<'scope> = Stream<'scope, Time, Rows>;
pub(super) type StepStream<'scope> = Stream<'scope, Time, Vec<Step>>;
/// Operators fill whole containers themselves.
pub(super) type WholeRows = NoopBuilder<Rows>;
pub(super) type WholeSteps = CapacityContainerBuilder<Vec<Step>>;

/// A container is passed on when it is as large as this: enough to pay for its way, little enough for the cache.
pub(super) const CONTAINER_BYTES: usize = 256 << 10;

#[derive(Clone)]
pub(super) struct Step {
    pub before: Batches,
    pub delta: Arc<Batch>,
}

/// Steps of two arrangements, paired by their Moment.
#[derive(Default)]
pub(super) struct Pairing {
    left: VecDeque<(Capability<Time>, Step)>,
    right: VecDeque<(Capability<Time>, Step)>,
}

impl Pairing {
    pub fn left(&mut self, capability: Capability<Time>, step: Step) {
        self.left.push_back((capability, step));
    }

    pub fn right(&mut self, capability: Capability<Time>, step: Step) {
        self.right.push_back((capability, step));
    }

    /// The next Moment that is complete on both sides.
    pub fn next(
        &mut self,
        left: &MutableAntichain<Time>,
        right: &MutableAntichain<Time>,
    ) -> Option<(Capability<Time>, Step, Step)> {
        let front =
            |queue: &VecDeque<(Capability<Time>, Step)>| queue.front().map(|(capability, _)| *capability.time());
        let time = front(&self.left).into_iter().chain(front(&self.right)).min()?;
        if left.less_equal(&time) || right.less_equal(&time) {
            return None;
        }
        let (left, left_step) = take(&mut self.left, time);
        let (right, right_step) = take(&mut self.right, time);
        Some((left.or(right)?, left_step, right_step))
    }
}

/// The step at `time`; where there is none, nothing changed since what the next one stood on.
fn take(queue: &mut VecDeque<(Capability<Time>, Step)>, time: Time) -> (Option<Capability<Time>>, Step) {
    match queue.front() {
        Some((capability, _)) if *capability.time() == time => {
            let (capability, step) = queue.pop_front().expect("it was seen");
            (Some(capability), step)
        }
        Some((_, later)) => (None, Step { before: later.before.clone(), delta: Arc::default() }),
        // Its input has ended: what comes to the other side is for nobody.
        None => (None, Step { before: Arc::new([]), delta: Arc::default() }),
    }
}

/// Rows go to the worker that has their key, the first `columns` columns.
pub(super) fn by_key(codec: Codec, columns: usize) -> DistributorPact<impl FnOnce(usize) -> ByKey> {
    DistributorPact(move |peers| ByKey { codec, columns, outgoing: vec![Rows::default(); peers] })
}

/// Which of `peers` workers has a key.
pub(super) fn owner(key: &[u8], peers: usize) -> usize {
    (xxhash_rust::xxh3::xxh3_64(key) % peers as u64) as usize
}

pub(super) struct ByKey {
    codec: Codec,
    columns: usize,
    outgoing: Vec<Rows>,
}

impl Distributor<Rows> for ByKey {
    /// Nothing is kept back for `flush`: timely asks a table's input for it only as long as no worker has taken a step
    /// since the rows came in, and would wait for them for ever.
    fn partition<T: Clone, P: Push<Message<T, Rows>>>(&mut self, rows: &mut Rows, time: &T, pushers: &mut [P]) {
        for (row, diff) in rows.iter() {
            let to = owner(&row[..self.codec.prefix(row, self.columns)], pushers.len());
            self.outgoing[to].push(row, diff);
            if self.outgoing[to].size() >= CONTAINER_BYTES {
                Message::push_at(&mut self.outgoing[to], time.clone(), &mut pushers[to]);
                self.outgoing[to].clear();
            }
        }
        rows.clear();
        for (rows, pusher) in self.outgoing.iter_mut().zip(pushers) {
            if !rows.is_empty() {
                Message::push_at(rows, time.clone(), pusher);
                rows.clear();
            }
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Rows>>>(&mut self, _: &T, _: &mut [P]) {}
}

impl Accountable for Rows {
    fn record_count(&self) -> i64 {
        self.len() as i64
    }
}

/// Workers are threads of one process: rows move, they are never written.
impl ContainerBytes for Rows {
    fn from_bytes(_: Bytes) -> Self {
        unreachable!("workers are threads of one process")
    }
    fn length_in_bytes(&self) -> usize {
        unreachable!("workers are threads of one process")
    }
    fn into_bytes<W: std::io::Write>(&self, _: &mut W) {
        unreachable!("workers are threads of one process")
    }
}

/// All times before this one are complete; none is to come where it is `None`.
pub(super) fn upper(frontier: &MutableAntichain<Time>) -> Option<Time> {
    let frontier: Antichain<Time> = frontier.frontier().to_owned();
    frontier.into_option()
}
