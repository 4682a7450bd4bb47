//! Net changes of one table become files that nobody sees yet.
//!
//! ```text
//!  deltas ──► deletions: index → dead positions ──┬─► little is dead: one delete file for the whole table
//!        │                                        └─► much is dead, or the table is small: write its file anew
//!        └──► insertions ─────────────────────────────► new data files, with the rows of files written anew
//! ```
//!
//! What keeps readers fast: a small table has no delete file, a larger one has one, and of small data files
//! there are never more than [`SMALL_FILES_MAX`]. Nothing of the table in memory changes here: [`Next`] says
//! what will, once it is published.

use super::files;
use super::index::Place;
use super::metadata::{self, Draft, Entry, Written};
use super::store::Store;
use super::table::{self, LiveFile, Table};
use crate::commit::{Published, StagedTable};
use crate::error::{Error, Result};
use crate::row::{Clock, Cut, Delta, Fingerprint, Moment, Row};
use iceberg::spec::DataFile;
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet};

/// Up to so many live rows, a file that loses a row is written anew instead of getting a delete file. With
/// 10,000 rows that costs about half as much again as a delete file does, with 50,000 five times as much.
const SMALL_TABLE_ROWS: u64 = 10_000;
const SMALL_FILE_BYTES: u64 = 8 << 20;
const SMALL_FILES_MAX: usize = 16;

/// One try to bring one Moment out; its files carry its name.
pub struct Attempt<'a> {
    pub pipeline: &'a str,
    pub moment: Moment,
    pub clock: Clock,
    pub cut: &'a Cut,
    pub name: &'a str,
}

/// What becomes of a table once its staged commit is published.
pub struct Next {
    written: Written,
    published: Published,
    /// Files that are new, under the numbers they will have.
    files: BTreeMap<u32, DataFile>,
    rewritten: BTreeSet<u32>,
    dead: BTreeMap<u32, RoaringBitmap>,
    deletes: Option<DataFile>,
    /// All that was live before is gone.
    replaces: bool,
    left: Vec<(u128, Place)>,
    came: Vec<(u128, Place)>,
}

/// Writes the files of a commit; `None` where there is nothing to publish.
pub fn stage(
    store: &Store,
    table: &mut Table,
    attempt: &Attempt,
    deltas: &[Delta],
) -> Result<Option<(StagedTable, Next)>> {
    let unchanged = table.published.as_ref().is_some_and(|p| p.definition == table.target.definition);
    if deltas.is_empty() && unchanged && !table.outdated {
        return Ok(None);
    }
    let (inserts, deletions) = net(deltas);
    let (rows, mut fingerprint) = if table.outdated { Default::default() } else { (table.rows, table.fingerprint) };
    let mut left = find(store, table, &deletions)?;
    let mut dead: BTreeMap<u32, RoaringBitmap> = BTreeMap::new();
    for (_, place) in &left {
        let file = &table.files[&place.file];
        dead.entry(place.file).or_insert_with(|| file.dead.clone()).insert(place.position);
    }

    let rewritten = if table.outdated { BTreeSet::new() } else { choose(table, &dead, !inserts.is_empty()) };
    let mut born = inserts;
    left.retain(|(_, place)| !rewritten.contains(&place.file));
    for number in &rewritten {
        let gone = dead.remove(number);
        table.scan_file(store, *number, |place, row| {
            left.push((Fingerprint::of(&row), place));
            if !gone.as_ref().is_some_and(|g| g.contains(place.position)) {
                born.push(row);
            }
        })?;
    }
    born.sort_unstable();
    deltas.iter().for_each(|(row, diff)| fingerprint.add(row, *diff));
    let change = deltas.iter().map(|(_, diff)| diff).sum();
    let rows = rows.checked_add_signed(change).expect("no more rows are deleted than were found");

    let (files, came) = write_data(store, table, attempt, &born)?;
    let (deletes, kept, dropped) = write_deletes(store, table, attempt, &rewritten, &dead)?;
    let published = Published {
        moment: attempt.moment,
        cut: attempt.cut.clone(),
        snapshot_id: 0,
        rows,
        fingerprint,
        definition: table.target.definition.clone(),
    };
    let draft = Draft {
        schema: table.schema.clone(),
        comment: &table.target.description,
        attempt: attempt.name,
        kept,
        added: files.values().chain(&deletes).cloned().collect(),
        dropped,
        summary: table::saying(attempt.pipeline, &table.target.model, attempt.clock, &published),
    };
    let written = metadata::commit(store, &table.metadata, &table.location, draft)?;
    let staged = StagedTable {
        namespace: table.target.namespace.clone(),
        table: table.target.table.clone(),
        old_location: table.location.clone(),
        new_location: written.location.clone(),
        snapshot_id: written.snapshot_id,
        superseded: written.superseded.clone(),
        retained: written.retained.clone(),
    };
    let published = Published { snapshot_id: written.snapshot_id, ..published };
    let replaces = table.outdated;
    Ok(Some((staged, Next { written, published, files, rewritten, dead, deletes, replaces, left, came })))
}

impl Next {
    /// Makes the table in memory what the catalog shows now.
    pub fn take_effect(self, table: &mut Table) {
        let Written { metadata, location, snapshot_id, sequence, .. } = self.written;
        let entry = |file| Entry { file, snapshot_id, sequence, file_sequence: sequence };
        if self.replaces {
            table.files.clear();
            table.deletes.clear();
            table.index = None;
        }
        if let Some(index) = &mut table.index {
            self.left.iter().for_each(|(identity, place)| index.remove(*identity, *place));
            self.came.iter().for_each(|(identity, place)| index.insert(*identity, *place));
        }
        for (number, dead) in self.dead {
            table.files.get_mut(&number).expect("only live files have dead positions").dead = dead;
        }
        let names_dead = |file: &LiveFile| !file.dead.is_empty();
        if !table.files.iter().any(|(number, file)| !self.rewritten.contains(number) && names_dead(file)) {
            table.deletes.clear();
        }
        table.files.retain(|number, _| !self.rewritten.contains(number));
        if let Some(deletes) = self.deletes {
            table.deletes = vec![entry(deletes)];
        }
        for (number, file) in self.files {
            table.next_file = table.next_file.max(number + 1);
            table.files.insert(number, LiveFile { entry: entry(file), dead: RoaringBitmap::new() });
        }
        table.metadata = metadata;
        table.location = location;
        table.outdated = false;
        table.rows = self.published.rows;
        table.fingerprint = self.published.fingerprint;
        table.published = Some(self.published);
    }
}

/// Rows to add, each as often as it comes, and rows to take away, with how often.
fn net(deltas: &[Delta]) -> (Vec<Row>, Vec<(&Row, usize)>) {
    let mut sorted: Vec<(&Row, i64)> = deltas.iter().map(|(row, diff)| (row, *diff)).collect();
    sorted.sort_unstable();
    sorted.dedup_by(|next, one| {
        let same = next.0 == one.0;
        one.1 += if same { next.1 } else { 0 };
        same
    });
    let mut inserts = Vec::new();
    let mut deletions = Vec::new();
    for (row, diff) in sorted {
        if diff > 0 {
            inserts.extend(std::iter::repeat_n(row, diff as usize).cloned());
        } else if diff < 0 {
            deletions.push((row, diff.unsigned_abs() as usize));
        }
    }
    (inserts, deletions)
}

/// The places of rows to take away.
fn find(store: &Store, table: &mut Table, deletions: &[(&Row, usize)]) -> Result<Vec<(u128, Place)>> {
    let mut places = Vec::new();
    if deletions.is_empty() {
        return Ok(places);
    }
    if !table.outdated {
        table.make_index(store)?;
    }
    for (row, count) in deletions {
        let identity = Fingerprint::of(row);
        let found = places.len();
        let index = table.index.as_ref().filter(|_| !table.outdated);
        places.extend(index.into_iter().flat_map(|i| i.places(identity)).take(*count).map(|place| (identity, place)));
        if places.len() - found < *count {
            return Err(Error::corrupt(format!(
                "model `{}` takes away a row that its table does not have",
                table.target.model
            ))
            .hint("start again, which levels the table against the state, and report this: the two have come apart"));
        }
    }
    Ok(places)
}

/// The files whose live rows are written anew, together with the insertions.
fn choose(table: &Table, dead: &BTreeMap<u32, RoaringBitmap>, inserts: bool) -> BTreeSet<u32> {
    let small_table = table.rows <= SMALL_TABLE_ROWS;
    let mut chosen = BTreeSet::new();
    for (number, dead) in dead {
        let rows = table.files[number].entry.file.record_count();
        if small_table || dead.len() * 2 > rows {
            chosen.insert(*number);
        }
    }
    let bytes = |file: &LiveFile| file.entry.file.file_size_in_bytes();
    let small = table.files.iter().filter(|(number, file)| !chosen.contains(number) && bytes(file) < SMALL_FILE_BYTES);
    let mut small: Vec<(u64, u32)> = small.map(|(number, file)| (bytes(file), *number)).collect();
    let new = usize::from(inserts || !chosen.is_empty());
    if small.len() + new > SMALL_FILES_MAX {
        // Only what is no larger than all before it together: so a row is written anew as often as its
        // file can double, and not each time.
        small.sort_unstable();
        let fewest = small.len() + new + 1 - SMALL_FILES_MAX;
        let mut merged = 0;
        for (i, (bytes, number)) in small.into_iter().enumerate() {
            if i >= fewest && bytes > merged {
                break;
            }
            merged += bytes;
            chosen.insert(number);
        }
    }
    chosen
}

type Came = Vec<(u128, Place)>;

fn write_data(
    store: &Store,
    table: &Table,
    attempt: &Attempt,
    mut rows: &[Row],
) -> Result<(BTreeMap<u32, DataFile>, Came)> {
    let mut files = BTreeMap::new();
    let mut came = Vec::new();
    while !rows.is_empty() {
        let (chunk, rest) = rows.split_at(files::file_rows(rows));
        let file = table.next_file + files.len() as u32;
        let location = format!("{}/data/{}-{:05}.parquet", table.metadata.location(), attempt.name, files.len());
        files.insert(file, files::write_rows(store, &location, &table.shape, chunk)?);
        if table.index.is_some() {
            let place = |(position, row)| (Fingerprint::of(row), Place { file, position });
            came.extend((0..).zip(chunk).map(place));
        }
        rows = rest;
    }
    if !files.is_empty() {
        store.settle(&format!("{}/data", table.metadata.location()))?;
    }
    Ok((files, came))
}

type Turnover = (Option<DataFile>, Vec<Entry>, Vec<Entry>);

/// The new delete file, if one is needed, and which live files stay and which go.
fn write_deletes(
    store: &Store,
    table: &Table,
    attempt: &Attempt,
    rewritten: &BTreeSet<u32>,
    dead: &BTreeMap<u32, RoaringBitmap>,
) -> Result<Turnover> {
    let gone = |number: &u32| table.outdated || rewritten.contains(number);
    let (dropped, kept): (Vec<_>, Vec<_>) = table.files.iter().partition(|(number, _)| gone(number));
    let entries = |files: &[(&u32, &LiveFile)]| files.iter().map(|(_, file)| file.entry.clone()).collect::<Vec<_>>();
    let still_dead = |(number, file): &(&u32, &'_ LiveFile)| {
        let dead = dead.get(number).unwrap_or(&file.dead);
        (!dead.is_empty()).then(|| (file.entry.location().to_string(), dead.clone()))
    };
    let mut still: Vec<(String, RoaringBitmap)> = kept.iter().filter_map(still_dead).collect();
    still.sort_by(|a, b| a.0.cmp(&b.0));
    let (mut dropped, mut kept) = (entries(&dropped), entries(&kept));
    let file = if still.is_empty() {
        dropped.extend(table.deletes.iter().cloned());
        None
    } else if dead.is_empty() {
        kept.extend(table.deletes.iter().cloned());
        None
    } else {
        dropped.extend(table.deletes.iter().cloned());
        let location = format!("{}/data/{}-deletes.parquet", table.metadata.location(), attempt.name);
        let still: Vec<(&str, &RoaringBitmap)> = still.iter().map(|(l, d)| (l.as_str(), d)).collect();
        let file = files::write_deletes(store, &location, &still)?;
        store.settle(&format!("{}/data", table.metadata.location()))?;
        Some(file)
    };
    Ok((file, kept, dropped))
}
