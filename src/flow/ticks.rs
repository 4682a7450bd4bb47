//! Rows with the day or hour of the clock behind their columns: all are kept, and as the next begins, each goes and comes
//! back with that.
//!
//! What the clock said when the Moment before closed is known after a restart too, so nothing is kept but the rows.

use super::arrange::turns;
use super::build::Share;
use super::stream::RowStream;
use super::temporal::Readings;
use crate::plan::Tick;
use crate::row::{Clock, Codec, Datum, Diff, append};
use crate::state::{Spine, Walk};
use std::cell::RefCell;
use std::rc::Rc;

pub(super) fn ticks<'scope>(
    rows: RowStream<'scope>,
    codec: Codec,
    tick: Tick,
    kept: Rc<RefCell<Spine>>,
    readings: Rc<Readings>,
    share: Share,
) -> RowStream<'scope> {
    let mut said = tick.begin(readings.now());
    let bodies = kept.borrow().bodies().clone();
    turns(rows, codec, "Ticks", bodies, move |news, out| {
        let (now, mut kept) = (tick.begin(readings.now()), kept.borrow_mut());
        let mut put = |row: &[u8], clock: Clock, diff: Diff| {
            out.rows().extend(row);
            append(out.rows().open(), &Datum::Timestamp(clock.0));
            out.end(diff);
        };
        // Once in a Moment, however many turns it has.
        if said != now {
            let batches = kept.batches();
            let mut rows = Walk::over(&batches);
            while let Some((row, diff)) = rows.advance() {
                put(row, said, -diff);
                put(row, now, diff);
            }
            said = now;
        }
        for batch in news {
            let mut rows = batch.cursor();
            while let Some((row, diff)) = rows.row() {
                put(row, now, diff);
                rows.step();
            }
            kept.insert(batch.clone());
        }
        if !kept.is_empty() {
            share.borrow_mut().note_due(tick.next(now));
        }
    })
}
