//! Iceberg tables that every engine reads: the [`Sink`] on local files and a SQLite catalog.
//!
//! ```text
//!  stage()    stage ──► files (Parquet) ──► metadata (manifests, list, metadata.json)    all synced, unseen
//!  publish()  catalog: one transaction moves every table of the Moment
//!  open()     catalog ──► metadata ──► table: live files and dead positions, read from the table itself
//! ```
//!
//! Tables are format version 2, unpartitioned, with position deletes and never equality deletes. iceberg's
//! `Transaction` is not used: it can neither delete nor refuse a stale base. All calls block and must come
//! from a thread that drives no async runtime.

mod catalog;
mod files;
mod index;
mod metadata;
mod schema;
mod stage;
mod store;
mod sweep;
mod table;

use super::ledger::Ledger;
use super::{Publication, Published, Sink, Staged, Target};
use crate::error::{Doing, Error, Result};
use crate::row::{Delta, Moment};
use crate::world;
use ::arrow::datatypes::SchemaRef;
use catalog::Catalog;
use stage::{Attempt, Next};
use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use store::Store;
use table::Table;

/// So many tables are staged at a time: most of it is waiting for the disk.
const STAGERS: usize = 8;
/// Expired files are looked for this often.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

pub struct Settings {
    /// The absolute path of the folder that holds the tables' files.
    pub warehouse: PathBuf,
    /// The SQLite file.
    pub catalog: PathBuf,
    pub pipeline: String,
}

pub struct Iceberg {
    settings: Settings,
    store: Store,
    catalog: Catalog,
    ledger: Ledger,
    tables: Vec<Table>,
    /// What becomes of the tables once the staged Moment is published.
    next: Option<(Moment, Vec<(usize, Next)>)>,
    swept: Instant,
    /// Held as long as we live: a second daemon would take our unpublished files for orphans.
    _lock: File,
}

impl Iceberg {
    pub fn new(settings: Settings) -> Result<Iceberg> {
        if !settings.warehouse.is_absolute() {
            return Err(Error::operator(format!("warehouse `{}` is no absolute path", settings.warehouse.display()))
                .hint("give the warehouse as an absolute path: readers find its files by it"));
        }
        let catalog = Catalog::open(&settings.catalog)?;
        let lock = lock(&settings)?;
        let ledger = Ledger::resume(catalog.last_moment(&settings.pipeline)?);
        let store = Store::new()?;
        let (tables, next, swept) = (Vec::new(), None, world::instant());
        Ok(Iceberg { settings, store, catalog, ledger, tables, next, swept, _lock: lock })
    }

    /// Where a new table goes. A folder that is in use may be that of a table in another catalog: its
    /// files are not ours to sweep.
    fn table_location(&self, target: &Target) -> Result<String> {
        let location = store::location(&self.settings.warehouse.join(&target.namespace).join(&target.table));
        let empty = self.store.list(&location)?.is_empty();
        Ok(if empty { location } else { format!("{location}-{}", world::unique_name()) })
    }

    /// Enters the tables that the catalog does not know, all at once.
    fn create_missing(&mut self, targets: &[Target]) -> Result<()> {
        let mut missing = Vec::new();
        for target in targets {
            if self.catalog.location(&target.namespace, &target.table)?.is_none() {
                let pipeline = HashMap::from([("driftless.pipeline".to_string(), self.settings.pipeline.clone())]);
                let schema = schema::wanted(target, None)?;
                let folder = self.table_location(target)?;
                let at = metadata::create(&self.store, &folder, schema, &target.description, pipeline)
                    .doing(format!("create the table of model `{}`", target.model))?;
                missing.push((target.namespace.as_str(), target.table.as_str(), at));
            }
        }
        if missing.is_empty() { Ok(()) } else { self.catalog.create(&missing) }
    }

    fn show(&mut self, staged: &Staged) -> Result<()> {
        let store = &self.store;
        let history = |location: &str, table: &super::StagedTable| {
            metadata::read(store, location).is_ok_and(|m| m.snapshot_by_id(table.snapshot_id).is_some())
        };
        self.catalog
            .publish(&self.settings.pipeline, staged, world::now_us() / 1000, history)
            .doing(format!("publish Moment {}", staged.moment))
    }

    fn write(&mut self, publication: &Publication, name: &str) -> Result<(Staged, Vec<(usize, Next)>)> {
        let attempt = Attempt {
            pipeline: &self.settings.pipeline,
            moment: publication.moment,
            clock: publication.clock,
            cut: publication.cut,
            name,
        };
        let mut tables: Vec<Option<&mut Table>> = self.tables.iter_mut().map(Some).collect();
        let work = publication
            .changes
            .iter()
            .map(|(t, deltas)| (*t, tables[*t].take().expect("a publication names each target at most once"), deltas));
        let work = Mutex::new(work.collect::<Vec<_>>().into_iter());
        let store = &self.store;
        let done = Mutex::new(Vec::new());
        let take = || work.lock().expect("no stager panics").next();
        let stage = || {
            while let Some((t, table, deltas)) = take() {
                let staged = stage::stage(store, table, &attempt, deltas)
                    .doing(format!("stage Moment {} of model `{}`", attempt.moment, table.target.model));
                world::crash_point("stage.files");
                done.lock().expect("no stager panics").push((t, staged));
            }
        };
        thread::scope(|scope| {
            let stagers = publication.changes.len().min(STAGERS);
            (1..stagers).for_each(|_| drop(scope.spawn(stage)));
            stage();
        });
        let mut done = done.into_inner().expect("no stager panics");
        done.sort_by_key(|(t, _)| *t);
        let mut staged = Staged { moment: publication.moment, cut: publication.cut.clone(), tables: Vec::new() };
        let mut next = Vec::new();
        for (t, table) in done {
            if let Some((staged_table, next_table)) = table? {
                staged.tables.push(staged_table);
                next.push((t, next_table));
            }
        }
        Ok((staged, next))
    }
}

impl Sink for Iceberg {
    fn open(&mut self, targets: &[Target], staged: Option<&Staged>) -> Result<()> {
        assert!(self.tables.is_empty(), "a sink is opened once");
        check_names(targets)?;
        if let Some(staged) = staged {
            self.show(staged).doing("finish what a crash left staged")?;
            self.ledger = Ledger::resume(self.catalog.last_moment(&self.settings.pipeline)?);
        }
        self.create_missing(targets)?;
        for target in targets {
            let location = self.catalog.location(&target.namespace, &target.table)?;
            let location = location.ok_or_else(|| {
                Error::operator(format!("table `{}.{}` was dropped from the catalog", target.namespace, target.table))
                    .hint("let nobody but driftless change its tables, and start again")
            })?;
            let table = Table::open(&self.store, target, &self.settings.pipeline, location)
                .and_then(|table| sweep::orphans(&self.store, &self.catalog, &table).map(|()| table))
                .doing(format!("open table `{}.{}` of model `{}`", target.namespace, target.table, target.model))?;
            self.tables.push(table);
        }
        sweep::expired(&self.store, &mut self.catalog)
    }

    fn published(&self, t: usize) -> Option<&Published> {
        self.tables[t].published.as_ref()
    }

    fn newest(&self) -> Option<Moment> {
        self.ledger.newest()
    }

    fn content(&mut self, t: usize) -> Result<Vec<Delta>> {
        let table = &self.tables[t];
        table.content(&self.store).doing(format!("read the table of model `{}`", table.target.model))
    }

    fn stage(&mut self, publication: &Publication) -> Result<Staged> {
        self.ledger.mint(publication.moment)?;
        let name = format!("m{:016x}-{}", publication.moment.0, world::unique_name());
        let written = self.write(publication, &name);
        let (staged, next) = written.inspect_err(|_| self.give_up(publication, &name))?;
        self.ledger.staged(staged.moment)?;
        self.next = Some((staged.moment, next));
        world::crash_point("stage.done");
        Ok(staged)
    }

    fn publish(&mut self, staged: &Staged) -> Result<()> {
        world::crash_point("publish.before");
        self.show(staged)?;
        world::crash_point("publish.after");
        self.ledger.published(staged.moment)?;
        if let Some((_, next)) = self.next.take_if(|(moment, _)| *moment == staged.moment) {
            next.into_iter().for_each(|(t, next)| next.take_effect(&mut self.tables[t]));
        }
        if self.swept.elapsed() >= SWEEP_EVERY {
            self.swept = world::instant();
            if let Err(e) = sweep::expired(&self.store, &mut self.catalog) {
                tracing::warn!(error = %e, "expired files stay for now");
            }
        }
        Ok(())
    }
}

impl Iceberg {
    /// Removes the files of an attempt that failed: a full disk must not fill further with each retry.
    fn give_up(&self, publication: &Publication, name: &str) {
        for (t, _) in &publication.changes {
            let folder = self.tables[*t].metadata.location();
            let files = ["data", "metadata"].map(|part| self.store.list(&format!("{folder}/{part}")));
            let unique = metadata::unique_part(name);
            let files = files.into_iter().flatten().flatten().filter(|location| location.contains(unique));
            // What cannot be removed now is an orphan for the next `open`.
            files.for_each(|location| drop(self.store.remove(&location)));
        }
    }
}

/// What a table shows, read from catalog and files alone: its head's saying, its rows in `schema`, and the
/// location of its metadata. `None` where there is no table, or nothing was published to it yet. Takes no
/// lock: it may be called while a daemon publishes.
pub fn read_published(
    catalog: &Path,
    namespace: &str,
    table: &str,
    schema: &SchemaRef,
) -> Result<Option<(Published, Vec<Delta>, String)>> {
    if !catalog.exists() {
        return Ok(None);
    }
    let Some(location) = Catalog::open_to_read(catalog)?.location(namespace, table)? else { return Ok(None) };
    let read = table::read(&Store::new()?, &location, schema).doing(format!("read table `{namespace}.{table}`"))?;
    Ok(read.map(|(published, rows)| (published, rows, location)))
}

/// What a table's head says of itself, without its rows. `None` where there is no catalog or table yet.
pub fn published(catalog: &Path, namespace: &str, table: &str) -> Result<Option<Published>> {
    if !catalog.exists() {
        return Ok(None);
    }
    let Some(location) = Catalog::open_to_read(catalog)?.location(namespace, table)? else { return Ok(None) };
    table::head(&Store::new()?, &location).doing(format!("read table `{namespace}.{table}`"))
}

/// Where a table's current metadata lies: what one hands to a reader. `None` where there is no such table.
pub fn metadata_location(catalog: &Path, namespace: &str, table: &str) -> Result<Option<String>> {
    if !catalog.exists() {
        return Ok(None);
    }
    Catalog::open_to_read(catalog)?.location(namespace, table)
}

/// Names become folders.
fn check_names(targets: &[Target]) -> Result<()> {
    let mut seen = HashMap::new();
    for target in targets {
        for name in [&target.namespace, &target.table] {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
                return Err(Error::operator(format!(
                    "`{name}` cannot name a table or schema of model `{}`",
                    target.model
                ))
                .hint("give the model a schema and an alias without slashes that begin with no dot"));
            }
        }
        if let Some(other) = seen.insert((&target.namespace, &target.table), &target.model) {
            return Err(Error::operator(format!(
                "models `{other}` and `{}` are both table `{}.{}`",
                target.model, target.namespace, target.table
            ))
            .hint("give one of them an alias or a schema of its own"));
        }
    }
    Ok(())
}

fn lock(settings: &Settings) -> Result<File> {
    let plain = |c: char| if c.is_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let pipeline: String = settings.pipeline.chars().map(plain).collect();
    let mut path = settings.catalog.clone().into_os_string();
    path.push(format!(".{pipeline}.lock"));
    let path = PathBuf::from(path);
    let cannot = |e| {
        Error::operator(format!("cannot lock `{}`", path.display()))
            .hint("check rights of the catalog's folder")
            .because(e)
    };
    let file = File::options().create(true).append(true).open(&path).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::operator(format!(
            "another daemon runs pipeline `{}` on catalog `{}`",
            settings.pipeline,
            settings.catalog.display()
        ))
        .hint("stop it, or give this one another pipeline name")),
        Err(TryLockError::Error(e)) => Err(cannot(e)),
    }
}
