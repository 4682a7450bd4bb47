//! Files that nobody needs any more go.
//!
//! Two kinds, and nothing else is ever removed:
//! - *expired*: what a commit superseded, once no retained snapshot leads to it and readers that began
//!   before have had [`GRACE_MS`] to finish. The catalog keeps the list, so a restart forgets nothing.
//! - *orphans*: files by our own names of attempts that were never published. Only [`orphans`] finds them,
//!   while no attempt is under way, and it takes none that any retained snapshot leads to.
//!
//! A file that cannot be removed is left for the next time: no commit fails over it.

use super::catalog::Catalog;
use super::metadata;
use super::store::Store;
use super::table::Table;
use crate::error::Result;
use crate::world;
use std::collections::HashSet;

/// How long a file outlives the last snapshot that leads to it.
const GRACE_MS: i64 = 10 * 60 * 1000;
const FILES_AT_ONCE: usize = 1_000;

/// Removes expired files.
pub fn expired(store: &Store, catalog: &mut Catalog) -> Result<()> {
    loop {
        let paths = catalog.expired(world::now_us() / 1000 - GRACE_MS, FILES_AT_ONCE)?;
        let gone: Vec<String> = paths.iter().filter(|path| store.remove(path).is_ok()).cloned().collect();
        catalog.forget(&gone)?;
        if gone.len() < FILES_AT_ONCE {
            return Ok(());
        }
    }
}

/// Removes what unpublished attempts left in a table's folder.
pub fn orphans(store: &Store, catalog: &Catalog, table: &Table) -> Result<()> {
    let folder = table.metadata.location();
    let target = &table.target;
    let mut known: HashSet<String> = catalog.superseded(&target.namespace, &target.table)?.into_iter().collect();
    known.extend(table.files.values().map(|f| f.entry.location().to_string()));
    known.extend(table.deletes.iter().map(|e| e.location().to_string()));
    known.insert(table.location.clone());
    if let Some(snapshot) = table.metadata.current_snapshot() {
        known.extend(metadata::manifests_of(store, snapshot)?);
    }
    let mut there = store.list(&format!("{folder}/data"))?;
    there.extend(store.list(&format!("{folder}/metadata"))?);
    let strange = |location: &&String| !known.contains(*location) && attempt(location).is_some();
    if !there.iter().any(|location| strange(&location)) {
        return Ok(());
    }
    known.extend(metadata::all_named(store, &table.metadata)?);
    let orphans: Vec<&String> = there.iter().filter(|l| !known.contains(*l) && attempt(l).is_some()).collect();
    let attempts: HashSet<&str> = orphans.iter().filter_map(|location| attempt(location)).collect();
    let shows = |location: &&String| {
        let unique = metadata_file(location);
        unique.is_some_and(|unique| attempts.contains(unique)) && !known.contains(*location)
    };
    // The metadata file first: what it leads to is found again by its own name, it is not.
    for location in there.iter().filter(shows).chain(orphans) {
        store.remove(location)?;
    }
    Ok(())
}

/// The unique part of the attempt in a file's name, where the name is one of ours: `m<Moment>-<unique>` with
/// `snap-<id>-` before it or more after it.
fn attempt(location: &str) -> Option<&str> {
    let name = location.rsplit('/').next()?;
    let name = match name.strip_prefix("snap-") {
        Some(rest) => rest.split_once('-')?.1,
        None => name,
    };
    let (moment, rest) = name.strip_prefix('m')?.split_once('-')?;
    let ours = moment.len() == 16 && moment.bytes().all(|b| b.is_ascii_hexdigit());
    rest.get(..36).filter(|_| ours)
}

fn metadata_file(location: &str) -> Option<&str> {
    let name = location.rsplit('/').next()?.strip_suffix(".metadata.json")?;
    Some(name.split_once('-')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_attempts() {
        let unique = "01234567-89ab-cdef-0123-456789abcdef";
        let ours = format!("m000000000000002a-{unique}");
        assert_eq!(attempt(&format!("file:///w/data/{ours}-00000.parquet")), Some(unique));
        assert_eq!(attempt(&format!("file:///w/metadata/{ours}-data.avro")), Some(unique));
        assert_eq!(attempt(&format!("file:///w/metadata/snap-77-{ours}.avro")), Some(unique));
        assert_eq!(attempt(&format!("file:///w/metadata/snap-77-0-{unique}.avro")), None);
        assert_eq!(attempt(&format!("file:///w/data/00000-0-{unique}.parquet")), None);
        assert_eq!(attempt(&format!("file:///w/metadata/00007-{unique}.metadata.json")), None);
        assert_eq!(metadata_file(&format!("file:///w/metadata/00007-{unique}.metadata.json")), Some(unique));
    }
}
