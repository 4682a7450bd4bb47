//! What must hold of every Moment on its way out, decided without touching disk or catalog.
//!
//! ```text
//!  minted ──► staged ──► published ──► acknowledged
//!    │           │
//!    │           └─ crash: the checkpoint holds a Staged; `recover` compares it with the catalog
//!    └─ crash: nobody knows of it; its files are orphans, and the Moment may be minted again
//! ```
//!
//! The contract:
//! 1. Moments only grow, and at most one is between minted and published.
//! 2. A Moment is staged only after all its files are durable, and published only after it is staged.
//! 3. A Moment is acknowledged to the sources only after it is published.
//! 4. The tables of a Moment are published all at once: a catalog that shows a part of them is damaged.
//! 5. A table shows the location that we left there. Anything else is a foreign commit: we stop and say so,
//!    also where the foreign commit was made on top of ours, since our index of its rows is then wrong.
//!
//! Breaking 1 to 3 is a bug of ours. This file does not know what a location is.

use super::{Staged, StagedTable};
use crate::error::{Error, Result};
use crate::row::Moment;

/// The Moments of one pipeline on their way out.
#[derive(Debug, Default)]
pub struct Ledger {
    under_way: Option<UnderWay>,
    published: Option<Moment>,
    acknowledged: Option<Moment>,
}

#[derive(Debug)]
enum UnderWay {
    Minted(Moment),
    Staged(Moment),
}

impl Ledger {
    /// The ledger of a pipeline whose newest Moment in the catalog is `published`.
    pub fn resume(published: Option<Moment>) -> Ledger {
        Ledger { under_way: None, published, acknowledged: None }
    }

    /// The newest Moment that the catalog shows.
    pub fn newest(&self) -> Option<Moment> {
        self.published
    }

    /// Begins `moment`. One that was minted and never staged is forgotten: its staging failed.
    pub fn mint(&mut self, moment: Moment) -> Result<()> {
        if let Some(UnderWay::Staged(staged)) = self.under_way {
            return Err(Error::bug(format!("Moment {moment} is minted while Moment {staged} is staged")));
        }
        if self.published.is_some_and(|published| moment <= published) {
            let published = self.published.unwrap_or_default();
            return Err(Error::bug(format!("Moment {moment} is minted after Moment {published} is published")));
        }
        self.under_way = Some(UnderWay::Minted(moment));
        Ok(())
    }

    pub fn staged(&mut self, moment: Moment) -> Result<()> {
        match self.under_way {
            Some(UnderWay::Minted(minted)) if minted == moment => {
                self.under_way = Some(UnderWay::Staged(moment));
                Ok(())
            }
            _ => Err(Error::bug(format!("Moment {moment} is staged and was not minted"))),
        }
    }

    /// Says again what was said before without harm: publishing may be repeated.
    pub fn published(&mut self, moment: Moment) -> Result<()> {
        match self.under_way {
            Some(UnderWay::Staged(staged)) if staged == moment => {
                self.under_way = None;
                self.published = Some(moment);
                Ok(())
            }
            _ if self.published == Some(moment) => Ok(()),
            _ => Err(Error::bug(format!("Moment {moment} is published and was not staged"))),
        }
    }

    pub fn acknowledged(&mut self, moment: Moment) -> Result<()> {
        if self.published.is_none_or(|published| moment > published) {
            return Err(Error::bug(format!("Moment {moment} is acknowledged and was not published")));
        }
        self.acknowledged = self.acknowledged.max(Some(moment));
        Ok(())
    }
}

/// What the catalog says of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It does not know the table.
    Absent,
    At(String),
    /// It shows this location, whose history holds the snapshot that was staged.
    Beyond(String),
}

/// What to do about a [`Staged`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The catalog shows none of it yet.
    Publish,
    /// The catalog shows all of it.
    Done,
}

/// Decides from what was staged and what the catalog says of each of its tables, in the same order.
pub fn recover(staged: &Staged, seen: &[Seen]) -> Result<Verdict> {
    assert_eq!(staged.tables.len(), seen.len(), "the catalog was asked for every staged table");
    let (mut old, mut new) = (None, None);
    for (table, seen) in staged.tables.iter().zip(seen) {
        match seen {
            Seen::At(location) if *location == table.new_location => new = Some(table),
            Seen::At(location) if *location == table.old_location => old = Some(table),
            other => return Err(foreign(staged.moment, table, other)),
        }
    }
    match (old, new) {
        (_, None) => Ok(Verdict::Publish),
        (None, Some(_)) => Ok(Verdict::Done),
        (Some(old), Some(new)) => Err(Error::corrupt(format!(
            "the catalog shows Moment {} in table `{}` and not in table `{}`",
            staged.moment, new, old
        ))
        .hint("restore the catalog: a Moment is published to all its tables at once, so it was changed by hand")),
    }
}

fn foreign(moment: Moment, table: &StagedTable, seen: &Seen) -> Error {
    let what = match seen {
        Seen::Absent => format!("table `{table}` is gone from the catalog; Moment {moment} was to replace"),
        Seen::At(location) => format!(
            "somebody else committed to table `{table}`: the catalog shows {location}; Moment {moment} was to replace"
        ),
        Seen::Beyond(location) => format!(
            "somebody else committed to table `{table}` after Moment {moment}: the catalog shows {location} in place of \
             {}, which replaced",
            table.new_location
        ),
    };
    Error::operator(format!("{what} {}", table.old_location)).hint(format!(
        "let nobody but driftless write to `{table}`, and set it back to {} in the catalog",
        if matches!(seen, Seen::Beyond(_)) { &table.new_location } else { &table.old_location }
    ))
}
