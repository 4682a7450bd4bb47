//! A start: what the last checkpoint, the published tables and the models as they are now make of the state.
//!
//! ```text
//!  the models, their tables, and what is published are those of the checkpoint  ──► it goes on, nothing is computed
//!  else, for the sources that resume                                            ──► every model anew from their rows,
//!                                                                                   levelled against what is published
//!  else                                                                         ──► the sources are copied
//! ```

use super::assembly::Assembly;
use super::audit::{Oracle, iceberg_sink, staged};
use super::config::Config;
use super::engine::numbers;
use super::intake::{Intake, PIECE_ROWS};
use super::pending::Pending;
use super::publisher::{Keeping, Last};
use crate::commit::{Sink, Staged};
use crate::error::{Error, Result};
use crate::flow::{Flow, Settle, outlives};
use crate::row::{Clock, Cut, Delta, Moment, Rows, Table};
use crate::state::{Base, Bodies, Checkpoint, FORMAT, Kept, KeptModel, Store};
use crate::world;
use std::sync::Arc;

/// A state that work can go on with.
pub struct Begun {
    /// The next to close.
    pub moment: Moment,
    /// What was read last.
    pub clock: Clock,
    /// Of the sources that resume; the others copy.
    pub cut: Cut,
    /// That of the last checkpoint.
    pub last: Moment,
    /// In the order of the assembly's tables.
    pub kept: Vec<Kept>,
    pub intake: Intake,
    pub flow: Flow,
    pub pending: Pending,
    pub sink: Box<dyn Sink>,
    pub oracle: Arc<Oracle>,
    pub keeping: Keeping,
    pub standing: Option<Last>,
}

/// `sources` by name, in their order.
pub async fn begin(assembly: &Assembly, sources: &[String], config: &Config, store: Arc<Store>) -> Result<Begun> {
    let last = store.checkpoint()?;
    let bodies = Bodies::new(Some(store.clone()), config.memory_bytes);
    let mut from = store.arrangements(&bodies)?;
    let Start { kept, cut, moment, resumed } = Start::decide(assembly, sources, last.as_ref());
    // Set back while nobody ran it stands still until it has come as far again.
    let mut clock = last.as_ref().map_or(Clock::default(), |last| last.clock);
    let oracle = Arc::new(Oracle::new(assembly, config));
    let left = last.as_ref().map(staged).transpose()?.flatten();
    let dataflow = assembly.dataflow();
    let maintained = last.as_ref().and_then(|last| last.maintained.clone());
    let maintained = maintained
        .filter(|maintained| maintained.dataflow == dataflow && sources.iter().all(|name| cut.0.contains_key(name)));
    let models_kept = maintained.as_ref().map(|maintained| maintained.models.clone());
    let served = models_kept.is_some();
    let (sink, shown) = open_sink(iceberg_sink(config)?, oracle.clone(), left, models_kept).await?;
    let maintained = maintained.filter(|_| matches!(shown, Shown::AsKept));
    match (&last, &maintained) {
        (None, _) => {}
        (Some(last), Some(_)) => tracing::info!(moment = last.moment.0, "goes on from its checkpoint"),
        (Some(_), None) => {
            let why = match (cut.0.is_empty(), served) {
                (true, _) => "the sources are copied anew",
                (false, false) => "the models or their tables have changed",
                (false, true) => "the published tables show something else",
            };
            tracing::info!(why, "computes every model anew from the rows it has");
        }
    }
    if maintained.is_none() {
        // Only the rows of the sources serve, and when others came; what else was made of them goes with the next checkpoint.
        from.by_name.retain(|name, _| resumed.contains(name) || outlives(name));
    }
    if last.as_ref().is_none_or(|last| last.staged.is_some() || maintained.is_none()) {
        let tables = kept.iter().filter(|k| cut.0.contains_key(&k.source)).cloned().collect();
        let (format, maintained) = (FORMAT, maintained.clone());
        let checkpoint = Checkpoint { format, moment, clock, cut: cut.clone(), tables, maintained, staged: None };
        store.write(&checkpoint, &from, &bodies)?;
    }

    let tables: Vec<Table> = assembly.tables.iter().map(|t| t.table.clone()).collect();
    let ids = kept.iter().map(|k| k.id);
    let shapes: Vec<(u32, Table)> = ids.zip(tables.iter().cloned()).collect();
    let base = Base::new(&shapes, &bodies, &mut from);
    let models_kept = maintained.as_ref().map(|maintained| &maintained.models[..]);
    let mut pending = Pending::new(&assembly.models, &assembly.compiled, &bodies, &mut from, models_kept);
    let tables_of = sources.iter().map(|name| (0..kept.len()).filter(|t| kept[*t].source == *name).collect());
    let intake = Intake::new(base, &bodies, tables_of.collect(), &mut from);
    let flow = match maintained.is_some() {
        true => Flow::start(&assembly.compiled, &tables, config.workers, &bodies, Some((from, clock))),
        false => Flow::after(&assembly.compiled, &tables, config.workers, &bodies, from),
    }?;
    // A state directory that was lost must not count anew: tables know only later Moments.
    let mut moment = moment.max(sink.newest().unwrap_or_default()).next();
    let contents = (0..kept.len()).map(|table| intake.base().content(table)).collect::<Vec<_>>();
    if maintained.is_none() {
        clock = clock.max(Clock(world::now_us()));
        for (number, content) in contents.iter().enumerate() {
            let (mut walk, mut more) = (content.walk(), true);
            while more {
                let mut piece = Rows::default();
                while piece.len() < PIECE_ROWS
                    && let Some(row) = walk.advance()
                {
                    piece.push(row, 1);
                }
                more = piece.len() == PIECE_ROWS;
                if !piece.is_empty() {
                    flow.feed(moment, number, piece);
                    pending.absorb(flow.pass(moment, clock, Settle::Not)?);
                    moment = moment.next();
                }
            }
        }
    }
    if let Shown::Rows(shown) = shown {
        shown.into_iter().for_each(|(number, rows)| pending.level(number, rows));
    }

    let standing = last.as_ref().filter(|_| sources.iter().all(|name| cut.0.contains_key(name)));
    let standing = standing.map(|last| Last {
        moment: last.moment,
        clock: last.clock,
        cut: last.cut.clone(),
        tables: contents,
        withheld: numbers(&pending.withheld()),
    });
    let last = last.map_or(Moment(0), |last| last.moment);
    let keeping = Keeping { store, bodies, tables: kept.clone(), dataflow };
    Ok(Begun { moment, clock, cut, last, kept, intake, flow, pending, sink, oracle, keeping, standing })
}

/// What the tables show, as a start finds it.
enum Shown {
    /// What the checkpoint says of each model: the state goes on from it.
    AsKept,
    /// Other content, by number of the model: the models are levelled against it.
    Rows(Vec<(usize, Vec<Delta>)>),
}

/// Opens the tables and finds out whether they show what the checkpoint says; on a thread that may wait for files.
async fn open_sink(
    mut sink: Box<dyn Sink>,
    oracle: Arc<Oracle>,
    left: Option<Staged>,
    kept: Option<Vec<KeptModel>>,
) -> Result<(Box<dyn Sink>, Shown)> {
    let open = move || {
        sink.open(&oracle.targets(), left.as_ref())?;
        let published = (0..oracle.models()).filter_map(|m| oracle.target_of(m).map(|target| (m, target)));
        let published: Vec<_> = published.collect();
        let as_kept = |kept: Vec<KeptModel>| {
            published.iter().all(|(m, target)| sink.published(*target).map(|p| p.moment) == kept[*m].shown)
        };
        if kept.is_some_and(as_kept) {
            return Ok((sink, Shown::AsKept));
        }
        let rows = published.iter().map(|(m, target)| sink.content(*target).map(|rows| (*m, rows)));
        let rows = rows.collect::<Result<_>>()?;
        Ok((sink, Shown::Rows(rows)))
    };
    tokio::task::spawn_blocking(open).await.map_err(|e| Error::bug("opening the tables has failed").because(e))?
}

/// What a start finds in the last checkpoint, and what it must do anew.
struct Start {
    /// In the order of the assembly's tables.
    kept: Vec<Kept>,
    /// Of the sources that resume; the others copy.
    cut: Cut,
    moment: Moment,
    /// The base arrangements that serve, by name.
    resumed: Vec<String>,
}

impl Start {
    /// A source resumes if the store serves for every table that is needed of it; else it copies all of them.
    fn decide(assembly: &Assembly, sources: &[String], last: Option<&Checkpoint>) -> Start {
        let stored = last.map_or(&[][..], |last| &last.tables);
        let mut cut = Cut::default();
        for name in sources {
            let position = last.and_then(|last| last.cut.0.get(name));
            let mut of = assembly.tables.iter().filter(|t| t.source == *name);
            let served = of.all(|t| stored.iter().any(|kept| kept.serves(name, &t.table)));
            if let (Some(position), true) = (position, served) {
                cut.0.insert(name.clone(), position.clone());
            }
        }
        let mut next = stored.iter().map(|kept| kept.id + 1).max().unwrap_or(1);
        let kept = assembly.tables.iter().map(|t| {
            let same = stored.iter().find(|kept| kept.serves(&t.source, &t.table));
            match same.filter(|_| cut.0.contains_key(&t.source)) {
                Some(kept) => Kept::new(kept.id, &t.source, &t.described, &t.table),
                None => {
                    next += 1;
                    Kept::new(next - 1, &t.source, &t.described, &t.table)
                }
            }
        });
        let kept: Vec<Kept> = kept.collect();
        let resumed = kept.iter().filter(|k| cut.0.contains_key(&k.source));
        let resumed = resumed.map(|k| Base::name(k.id, &k.name)).collect();
        Start { kept, cut, moment: last.map_or(Moment(0), |last| last.moment), resumed }
    }
}
