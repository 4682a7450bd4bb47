//! One table as its committer knows it: live files, dead positions, and where each row lies.
//!
//! All of it is derived from the table itself, which is the truth; nothing here is stored anywhere else.
//!
//! Invariant: a live row is a position of a live data file that is not dead in it; `rows` counts them and
//! `fingerprint` adds them up, and both equal what the head snapshot says.

use super::files;
use super::index::{Index, Place};
use super::metadata::{self, Entry};
use super::schema::{self, Shape};
use super::store::{Store, unreadable};
use crate::commit::{Published, Target};
use crate::error::{Doing, Error, Result};
use crate::row::{Clock, Delta, Fingerprint, Moment, Row};
use ::arrow::datatypes::SchemaRef;
use iceberg::spec::{Schema, Snapshot, TableMetadata};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, HashMap};

pub struct Table {
    pub target: Target,
    pub metadata: TableMetadata,
    /// Where the current metadata lies.
    pub location: String,
    /// The columns that the target asks for.
    pub schema: Schema,
    /// How the target's rows lie in data files; after a schema change, in those of the next commit.
    pub shape: Shape,
    /// The live files have another layout than the target, so the next commit replaces them all.
    pub outdated: bool,
    pub files: BTreeMap<u32, LiveFile>,
    pub next_file: u32,
    /// The delete files that make positions dead: ours is one, or none.
    pub deletes: Vec<Entry>,
    /// Made when first something is deleted.
    pub index: Option<Index>,
    pub rows: u64,
    pub fingerprint: Fingerprint,
    pub published: Option<Published>,
}

pub struct LiveFile {
    pub entry: Entry,
    pub dead: RoaringBitmap,
}

impl LiveFile {
    pub fn rows_live(&self) -> u64 {
        self.entry.file.record_count() - self.dead.len()
    }
}

impl Table {
    pub fn open(store: &Store, target: &Target, pipeline: &str, location: String) -> Result<Table> {
        let metadata = metadata::read(store, &location)?;
        let owner = metadata.properties().get("driftless.pipeline");
        if owner.map(String::as_str) != Some(pipeline) {
            let owner = owner.map_or("nobody of ours".to_string(), |o| format!("pipeline `{o}`"));
            return Err(Error::operator(format!("the table was made by {owner}, not by pipeline `{pipeline}`"))
                .hint("give the model another schema or alias, or drop the table from the catalog"));
        }
        let published = metadata.current_snapshot().map(|s| said(s, &location)).transpose()?;
        let schema = schema::wanted(target, Some(&metadata))?;
        let outdated = !schema::same_layout(&schema, metadata.current_schema());
        let shape = Shape::of(&schema, &target.schema)?;
        let (files, deletes) = live(store, &metadata)?;
        let table = Table {
            target: target.clone(),
            next_file: files.len() as u32,
            files: (0..).zip(files).collect(),
            index: None,
            rows: published.as_ref().map_or(0, |p| p.rows),
            fingerprint: published.as_ref().map_or(Fingerprint::default(), |p| p.fingerprint),
            metadata,
            location,
            schema,
            shape,
            outdated,
            deletes,
            published,
        };
        let rows: u64 = table.files.values().map(LiveFile::rows_live).sum();
        if rows != table.rows {
            return Err(unreadable(&table.location, format!("{rows} rows are live and {} were published", table.rows)));
        }
        Ok(table)
    }

    /// Hands out every live row with its place.
    pub fn scan(&self, store: &Store, mut each: impl FnMut(Place, Row)) -> Result<()> {
        for number in self.files.keys() {
            self.scan_file(store, *number, &mut each)?;
        }
        Ok(())
    }

    pub fn scan_file(&self, store: &Store, file: u32, mut each: impl FnMut(Place, Row)) -> Result<()> {
        let live = &self.files[&file];
        scan_file(store, live, &self.shape, |position, row| each(Place { file, position }, row))
    }

    /// Makes the index where there is none yet, and proves on the way that the table holds what was published.
    pub fn make_index(&mut self, store: &Store) -> Result<()> {
        if self.index.is_some() {
            return Ok(());
        }
        let mut index = Index::default();
        let mut sum = Fingerprint::default();
        self.scan(store, |place, row| {
            index.insert(Fingerprint::of(&row), place);
            sum.add(&row, 1);
        })?;
        check(&self.location, sum, self.fingerprint)?;
        self.index = Some(index);
        Ok(())
    }

    pub fn content(&self, store: &Store) -> Result<Vec<Delta>> {
        if self.outdated {
            return Ok(Vec::new());
        }
        let (rows, sum) = gather(|each| self.scan(store, |_, row| each(row)))?;
        check(&self.location, sum, self.fingerprint)?;
        Ok(rows)
    }
}

/// What a table says of itself and the rows it has, from its files alone.
pub fn read(store: &Store, location: &str, schema: &SchemaRef) -> Result<Option<(Published, Vec<Delta>)>> {
    let metadata = metadata::read(store, location)?;
    let Some(snapshot) = metadata.current_snapshot() else { return Ok(None) };
    let published = said(snapshot, location)?;
    let shape = Shape::of(metadata.current_schema(), schema)?;
    let (files, _) = live(store, &metadata)?;
    let (rows, _) =
        gather(|each| files.iter().try_for_each(|file| scan_file(store, file, &shape, |_, row| each(row))))?;
    Ok(Some((published, rows)))
}

/// What the table at `location` says of its current snapshot.
pub fn head(store: &Store, location: &str) -> Result<Option<Published>> {
    let metadata = metadata::read(store, location)?;
    metadata.current_snapshot().map(|snapshot| said(snapshot, location)).transpose()
}

/// The properties by which a snapshot says what it publishes.
pub fn saying(pipeline: &str, model: &str, clock: Clock, published: &Published) -> HashMap<String, String> {
    let cut = serde_json::to_string(&published.cut).expect("a Cut is a map of names to positions");
    HashMap::from([
        ("driftless.pipeline".into(), pipeline.into()),
        ("driftless.model".into(), model.into()),
        ("driftless.definition".into(), published.definition.clone()),
        ("driftless.moment".into(), published.moment.to_string()),
        ("driftless.clock".into(), clock.to_string()),
        ("driftless.cut".into(), cut),
        ("driftless.rows".into(), published.rows.to_string()),
        ("driftless.fingerprint".into(), published.fingerprint.to_string()),
    ])
}

/// Reads what [`saying`] wrote.
fn said(snapshot: &Snapshot, location: &str) -> Result<Published> {
    let properties = &snapshot.summary().additional_properties;
    if !properties.contains_key("driftless.moment") {
        return Err(Error::operator(format!("somebody else committed to the table: the catalog shows {location}"))
            .hint("let nobody but driftless write to it, and drop it from the catalog so that it is built anew"));
    }
    let text = |name: &str| properties.get(&format!("driftless.{name}")).map(String::as_str).unwrap_or_default();
    let parse = || {
        Some(Published {
            moment: Moment(text("moment").parse().ok()?),
            cut: serde_json::from_str(text("cut")).ok()?,
            snapshot_id: snapshot.snapshot_id(),
            rows: text("rows").parse().ok()?,
            fingerprint: Fingerprint(u128::from_str_radix(text("fingerprint"), 16).ok()?),
            definition: text("definition").into(),
        })
    };
    parse().ok_or_else(|| unreadable(location, "the snapshot's `driftless.` properties are not ours"))
}

/// The live data files with their dead positions, and the delete files that say so.
fn live(store: &Store, metadata: &TableMetadata) -> Result<(Vec<LiveFile>, Vec<Entry>)> {
    let Some(snapshot) = metadata.current_snapshot() else { return Ok((Vec::new(), Vec::new())) };
    let named = metadata::named(store, snapshot)?;
    let live = |entry| LiveFile { entry, dead: RoaringBitmap::new() };
    let mut files: Vec<LiveFile> = named.data.into_iter().map(live).collect();
    let place: HashMap<String, usize> =
        files.iter().enumerate().map(|(i, f)| (f.entry.location().to_string(), i)).collect();
    for delete in &named.deletes {
        files::read_deletes(store, delete.location(), |data, position| {
            // A delete reaches only what is older: a file of the same name cannot be, but the rule is cheap.
            if let Some(file) = place.get(data).map(|i| &mut files[*i])
                && file.entry.sequence <= delete.sequence
            {
                file.dead.insert(position);
            }
        })?;
    }
    Ok((files, named.deletes))
}

fn scan_file(store: &Store, file: &LiveFile, shape: &Shape, mut each: impl FnMut(u32, Row)) -> Result<()> {
    let location = file.entry.location();
    let rows = files::read_rows(store, location, shape, |position, row| {
        if !file.dead.contains(position) {
            each(position, row);
        }
    })?;
    if rows != file.entry.file.record_count() {
        let wanted = file.entry.file.record_count();
        return Err(unreadable(location, format!("it has {rows} rows and its manifest says {wanted}")));
    }
    Ok(())
}

/// Counts equal rows.
fn gather(scan: impl FnOnce(&mut dyn FnMut(Row)) -> Result<()>) -> Result<(Vec<Delta>, Fingerprint)> {
    let mut rows = Vec::new();
    let mut sum = Fingerprint::default();
    scan(&mut |row| {
        sum.add(&row, 1);
        rows.push((row, 1));
    })
    .doing("read the rows that the table shows")?;
    rows.sort_unstable();
    rows.dedup_by(|next: &mut Delta, one| {
        let same = next.0 == one.0;
        one.1 += if same { next.1 } else { 0 };
        same
    });
    Ok((rows, sum))
}

fn check(location: &str, found: Fingerprint, published: Fingerprint) -> Result<()> {
    if found == published {
        return Ok(());
    }
    Err(unreadable(location, format!("its rows have fingerprint {found} and {published} was published")))
}
