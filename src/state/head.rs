//! Heads: where batches are in the store.
//!
//! A [`Head`] names the bodies of one batch, in their order; it is stored under a number as bodies are. A batch
//! merged of batches that have heads needs none of its own as long as these are few: on disk it stays what it was
//! made of. So checkpoints write rows when they are young, and from then on once for several merges.

use super::bodies::{Bodies, Extent, Slot, Stored};
use crate::error::{Error, Result};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use xxhash_rust::xxh3::xxh3_64;

/// A batch that would be found in more pieces than this is written as one.
const PIECES_MAX: usize = 16;
/// And one that so many checkpoints found in pieces: it will stay, and what merged it need not be done again at a
/// restart.
const CHECKPOINTS_MAX: usize = 8;

/// What the store has of a batch, for as long as this lives.
pub struct Head {
    stored: Stored,
    /// Held, so that the store keeps them.
    _bodies: Vec<Arc<Stored>>,
    /// What the bodies take in memory.
    bytes: usize,
}

impl Head {
    pub fn id(&self) -> u64 {
        self.stored.id()
    }

    /// Puts the bodies into the store that it does not have yet, and the head.
    fn write(slots: &[Arc<Slot>], bodies: &Arc<Bodies>) -> Result<Head> {
        let mut to = Vec::new();
        let mut held = Vec::with_capacity(slots.len());
        for slot in slots {
            let body = slot.stored()?;
            to.extend_from_slice(&body.id().to_le_bytes());
            let Extent { rows, negative, size } = slot.extent();
            for number in [rows, negative, size, slot.first().len() as u32] {
                to.extend_from_slice(&number.to_le_bytes());
            }
            to.extend_from_slice(slot.first());
            held.push(body);
        }
        to.extend_from_slice(&xxh3_64(&to).to_le_bytes());
        let bytes = slots.iter().map(|slot| slot.size()).sum();
        Ok(Head { stored: bodies.put(to)?, _bodies: held, bytes })
    }

    /// The slots under a stored head; no body is read.
    pub fn restore(id: u64, bodies: &Arc<Bodies>) -> Result<(Head, Vec<Arc<Slot>>)> {
        let written = bodies.get(id)?;
        let (mut held, mut slots, mut bytes) = (Vec::new(), Vec::new(), 0);
        for Written { id, extent, first } in Written::all(&written)? {
            let body = Arc::new(bodies.claim(id));
            slots.push(bodies.restore(first, extent, body.clone()));
            held.push(body);
            bytes += extent.size as usize;
        }
        Ok((Head { stored: bodies.claim(id), _bodies: held, bytes }, slots))
    }

    /// The numbers of the bodies that a stored head names.
    pub fn names(head: &[u8]) -> Result<Vec<u64>> {
        Ok(Written::all(head)?.into_iter().map(|written| written.id).collect())
    }
}

/// A slot as a head has it.
struct Written<'a> {
    id: u64,
    extent: Extent,
    first: &'a [u8],
}

impl Written<'_> {
    fn all(head: &[u8]) -> Result<Vec<Written<'_>>> {
        let damaged = || Error::corrupt("a batch of the state does not match its checksum");
        let (mut rest, checksum) = head.split_last_chunk::<8>().ok_or_else(damaged)?;
        if xxh3_64(rest) != u64::from_le_bytes(*checksum) {
            return Err(damaged());
        }
        let mut slots = Vec::new();
        while let Some((id, after)) = rest.split_first_chunk::<8>() {
            let (numbers, after) = after.split_first_chunk::<16>().ok_or_else(damaged)?;
            let number = |at: usize| u32::from_le_bytes(numbers[at..at + 4].try_into().expect("4 of 16 bytes"));
            let (first, after) = after.split_at_checked(number(12) as usize).ok_or_else(damaged)?;
            let extent = Extent { rows: number(0), negative: number(4), size: number(8) };
            slots.push(Written { id: u64::from_le_bytes(*id), extent, first });
            rest = after;
        }
        Ok(slots)
    }
}

/// Where one batch is, or will be: shared by the batch and those that were made of it.
#[derive(Default)]
pub struct Home {
    /// A checkpoint that is being made has the batch in it.
    promised: AtomicBool,
    head: OnceLock<Head>,
}

/// The homes of a batch: its own, and those of what it was made of.
#[derive(Default)]
pub struct Homes {
    own: Arc<Home>,
    /// The oldest first; empty where something it was made of was in no checkpoint.
    pieces: Mutex<Vec<Arc<Home>>>,
    /// So many checkpoints have it in pieces.
    in_pieces: AtomicUsize,
}

impl Homes {
    pub fn stored(head: Head) -> Homes {
        Homes { own: Arc::new(Home { promised: true.into(), head: head.into() }), ..Homes::default() }
    }

    /// Of a batch that was made of these.
    pub fn of<'a>(parts: impl Iterator<Item = &'a Homes> + Clone) -> Homes {
        if !parts.clone().all(Homes::promised) {
            return Homes::default();
        }
        let mut pieces = Vec::new();
        for part in parts {
            let of = part.pieces();
            match of.is_empty() || part.own.head.get().is_some() {
                true => pieces.push(part.own.clone()),
                false => pieces.extend(of.iter().cloned()),
            }
        }
        let own = Arc::new(Home { promised: true.into(), head: OnceLock::new() });
        Homes { own, pieces: pieces.into(), ..Homes::default() }
    }

    /// Whether a checkpoint has it, or will have it once it is written.
    pub fn promised(&self) -> bool {
        self.own.promised.load(Relaxed)
    }

    pub fn promise(&self) {
        self.own.promised.store(true, Relaxed);
    }

    /// The numbers of the heads that together are this batch of these slots. What the store needs for it and does not have
    /// is put there.
    pub fn heads(&self, slots: &[Arc<Slot>], bodies: &Arc<Bodies>) -> Result<Vec<u64>> {
        if let Some(head) = self.own.head.get() {
            return Ok(vec![head.id()]);
        }
        let mut pieces = self.pieces();
        let there: Vec<u64> = pieces.iter().filter_map(|piece| piece.head.get()).map(Head::id).collect();
        // A promise was not kept where a checkpoint was given up.
        let whole = !there.is_empty() && there.len() == pieces.len();
        if whole && there.len() <= PIECES_MAX && self.in_pieces.fetch_add(1, Relaxed) < CHECKPOINTS_MAX {
            return Ok(there);
        }
        let head = Head::write(slots, bodies)?;
        pieces.clear();
        Ok(vec![self.own.head.get_or_init(|| head).id()])
    }

    /// What the store has of it, as bodies take it in memory.
    pub fn bytes(&self) -> usize {
        let bytes = |home: &Arc<Home>| home.head.get().map_or(0, |head| head.bytes);
        bytes(&self.own) + self.pieces().iter().map(bytes).sum::<usize>()
    }

    fn pieces(&self) -> MutexGuard<'_, Vec<Arc<Home>>> {
        self.pieces.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
