//! Metadata files, manifest lists and manifests: what a snapshot names, read and written.
//!
//! Each commit writes one data manifest and at most one delete manifest that hold every live file, with the
//! sequence numbers under which they were added, and the files that this commit drops. So a reader opens
//! two manifests, however many commits there were.

use super::store::{Store, unreadable, unwritable};
use crate::commit::Superseded;
use crate::error::{Error, Result};
use crate::world;
use iceberg::spec::{
    DataContentType, DataFile, FormatVersion, MAIN_BRANCH, ManifestFile, ManifestList, ManifestListWriter,
    ManifestWriter, ManifestWriterBuilder, Operation, Schema, Snapshot, SnapshotSummaryCollector, SortOrder, Summary,
    TableMetadata, TableMetadataBuilder, UnboundPartitionSpec,
};
use std::collections::{HashMap, HashSet};

/// How many snapshots a reader may travel back.
const SNAPSHOTS_KEPT: usize = 20;
/// How many metadata files before the current one stay.
const METADATA_FILES_KEPT: usize = 20;

/// A live file and when it came.
#[derive(Clone, Debug)]
pub struct Entry {
    pub file: DataFile,
    pub snapshot_id: i64,
    pub sequence: i64,
    pub file_sequence: i64,
}

impl Entry {
    pub fn location(&self) -> &str {
        self.file.file_path()
    }
}

/// What a snapshot names.
#[derive(Default)]
pub struct Named {
    pub data: Vec<Entry>,
    pub deletes: Vec<Entry>,
    /// Its manifest list and manifests.
    pub manifests: Vec<String>,
}

/// What a commit changes.
pub struct Draft<'a> {
    /// The columns from now on.
    pub schema: Schema,
    pub comment: &'a str,
    /// Begins the names of the files that belong to this attempt.
    pub attempt: &'a str,
    pub kept: Vec<Entry>,
    pub added: Vec<DataFile>,
    pub dropped: Vec<Entry>,
    /// What the snapshot says of itself.
    pub summary: HashMap<String, String>,
}

/// A commit that is on disk and shown to nobody.
pub struct Written {
    pub metadata: TableMetadata,
    pub location: String,
    pub snapshot_id: i64,
    pub sequence: i64,
    pub superseded: Vec<Superseded>,
    pub retained: Vec<i64>,
}

pub fn read(store: &Store, location: &str) -> Result<TableMetadata> {
    let metadata = store.wait(TableMetadata::read_from(&store.io, location)).map_err(|e| unreadable(location, e))?;
    if metadata.format_version() != FormatVersion::V2 || !metadata.default_partition_spec().is_unpartitioned() {
        return Err(Error::operator(format!("`{location}` is not an unpartitioned table of format version 2"))
            .hint("drop the table from the catalog so that it is built anew"));
    }
    Ok(metadata)
}

/// The live files of a snapshot, and the files that lead to them.
pub fn named(store: &Store, snapshot: &Snapshot) -> Result<Named> {
    let list = snapshot.manifest_list();
    let content = store.read(list)?;
    let manifests = ManifestList::parse_with_version(&content, FormatVersion::V2).map_err(|e| unreadable(list, e))?;
    let mut named = Named { manifests: vec![list.to_string()], ..Named::default() };
    for manifest in manifests.entries() {
        let location = &manifest.manifest_path;
        named.manifests.push(location.clone());
        let entries = store.wait(manifest.load_manifest(&store.io)).map_err(|e| unreadable(location, e))?;
        for entry in entries.entries().iter().filter(|e| e.is_alive()) {
            let numbers = (entry.snapshot_id(), entry.sequence_number(), entry.file_sequence_number);
            let (Some(snapshot_id), Some(sequence), Some(file_sequence)) = numbers else {
                return Err(unreadable(location, "an entry has no sequence number"));
            };
            let file = entry.data_file().clone();
            let into = match file.content_type() {
                DataContentType::Data => &mut named.data,
                DataContentType::PositionDeletes if file.content_offset().is_none() => &mut named.deletes,
                _ => {
                    return Err(Error::operator(format!("`{location}` names deletes of a kind that we never write"))
                        .hint("let nobody but driftless write to the table"));
                }
            };
            into.push(Entry { file, snapshot_id, sequence, file_sequence });
        }
    }
    Ok(named)
}

/// The first metadata of a table, without a snapshot. Returns its location.
pub fn create(
    store: &Store,
    location: &str,
    schema: Schema,
    comment: &str,
    properties: HashMap<String, String>,
) -> Result<String> {
    let mut properties = properties;
    properties.insert("write.metadata.previous-versions-max".into(), METADATA_FILES_KEPT.to_string());
    properties.insert("comment".into(), comment.into());
    let built = TableMetadataBuilder::new(
        schema,
        UnboundPartitionSpec::default(),
        SortOrder::unsorted_order(),
        location.to_string(),
        FormatVersion::V2,
        properties,
    );
    let metadata = built.and_then(|b| b.build()).map_err(misfit)?.metadata;
    store.make_folder(&format!("{location}/data"))?;
    store.make_folder(&format!("{location}/metadata"))?;
    let at = format!("{location}/metadata/{:05}-{}.metadata.json", 0, world::unique_name());
    write(store, &metadata, &at)?;
    store.settle(&format!("{location}/metadata"))?;
    Ok(at)
}

/// Writes manifests, list and metadata of a commit on top of `base`, durably.
pub fn commit(store: &Store, base: &TableMetadata, base_location: &str, draft: Draft) -> Result<Written> {
    let parent = base.current_snapshot();
    let parent_named = parent.map(|p| manifests_of(store, p)).transpose()?.unwrap_or_default();
    let snapshot_id = random_id();
    let sequence = base.next_sequence_number();
    let folder = format!("{}/metadata", base.location());
    let attempt = draft.attempt;

    // The schema's number is the builder's to give, and manifests carry it.
    let builder = base.clone().into_builder(Some(base_location.to_string()));
    let builder = builder.add_current_schema(draft.schema).map_err(misfit)?;
    let comment = HashMap::from([("comment".to_string(), draft.comment.to_string())]);
    let builder = builder.set_properties(comment).map_err(misfit)?;
    let schema = builder.clone().build().map_err(misfit)?.metadata.current_schema().clone();

    let summary = summary(base, &draft.added, &draft.dropped, draft.summary);
    let mut manifests = Vec::new();
    for deletes in [false, true] {
        let here = |file: &DataFile| (file.content_type() == DataContentType::PositionDeletes) == deletes;
        let location = format!("{folder}/{attempt}-{}.avro", if deletes { "deletes" } else { "data" });
        let output = store.output(&location)?;
        let spec = base.default_partition_spec().as_ref().clone();
        let writer = ManifestWriterBuilder::new(output, Some(snapshot_id), schema.clone(), spec);
        let mut writer = if deletes { writer.build_v2_deletes() } else { writer.build_v2_data() };
        let any = fill(&mut writer, &draft.kept, &draft.added, &draft.dropped, here).map_err(misfit)?;
        if any {
            manifests.push(store.wait(writer.write_manifest_file()).map_err(|e| unwritable(&location, e))?);
        }
    }

    let list = format!("{folder}/snap-{snapshot_id}-{attempt}.avro");
    let parent_id = parent.map(|p| p.snapshot_id());
    write_list(store, &list, snapshot_id, parent_id, sequence, manifests)?;

    let timestamp_ms = (world::now_us() / 1000).max(base.last_updated_ms());
    let snapshot = Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_parent_snapshot_id(parent_id)
        .with_sequence_number(sequence)
        .with_timestamp_ms(timestamp_ms)
        .with_manifest_list(list)
        .with_summary(summary)
        .with_schema_id(schema.schema_id())
        .build();
    let (expired, retained) = expiry(base, sequence)?;
    let built = builder
        .set_branch_snapshot(snapshot, MAIN_BRANCH)
        .and_then(|b| b.remove_snapshots(&expired).build())
        .map_err(misfit)?;

    let location = format!("{folder}/{:05}-{}.metadata.json", version(base_location) + 1, unique_part(attempt));
    write(store, &built.metadata, &location)?;
    store.settle(&folder)?;

    let before = sequence - 1;
    let last = parent.map_or(before, |p| p.sequence_number());
    let gone = |path: String, first| Superseded { path, first, last };
    let files = draft.dropped.iter().map(|e| gone(e.location().to_string(), e.file_sequence));
    let lists = parent_named.into_iter().map(|path| gone(path, last));
    let logs = built.expired_metadata_logs.into_iter().map(|log| gone(log.metadata_file, 0));
    // No snapshot has the number -1: a metadata file that fell out of the log waits for nobody.
    let logs = logs.map(|log| Superseded { first: -1, last: -1, ..log });
    Ok(Written {
        superseded: files.chain(lists).chain(logs).collect(),
        metadata: built.metadata,
        location,
        snapshot_id,
        sequence,
        retained,
    })
}

/// Every file that any snapshot of `metadata` leads to.
pub fn all_named(store: &Store, metadata: &TableMetadata) -> Result<HashSet<String>> {
    let mut all: HashSet<String> = metadata.metadata_log().iter().map(|log| log.metadata_file.clone()).collect();
    for snapshot in metadata.snapshots() {
        let named = named(store, snapshot)?;
        all.extend(named.data.iter().chain(&named.deletes).map(|e| e.location().to_string()));
        all.extend(named.manifests);
    }
    Ok(all)
}

/// A snapshot's manifest list and manifests.
pub fn manifests_of(store: &Store, snapshot: &Snapshot) -> Result<Vec<String>> {
    let list = snapshot.manifest_list();
    let content = store.read(list)?;
    let manifests = ManifestList::parse_with_version(&content, FormatVersion::V2).map_err(|e| unreadable(list, e))?;
    let each = manifests.entries().iter().map(|m| m.manifest_path.clone());
    Ok(each.chain([list.to_string()]).collect())
}

/// Returns whether anything went in.
fn fill(
    writer: &mut ManifestWriter,
    kept: &[Entry],
    added: &[DataFile],
    dropped: &[Entry],
    here: impl Fn(&DataFile) -> bool,
) -> iceberg::Result<bool> {
    let mut any = false;
    for file in added.iter().filter(|f| here(f)) {
        writer.add_file(file.clone(), -1)?;
        any = true;
    }
    for entry in kept.iter().filter(|e| here(&e.file)) {
        writer.add_existing_file(entry.file.clone(), entry.snapshot_id, entry.sequence, Some(entry.file_sequence))?;
        any = true;
    }
    for entry in dropped.iter().filter(|e| here(&e.file)) {
        writer.add_delete_file(entry.file.clone(), entry.sequence, Some(entry.file_sequence))?;
        any = true;
    }
    Ok(any)
}

fn write_list(
    store: &Store,
    location: &str,
    snapshot_id: i64,
    parent_id: Option<i64>,
    sequence: i64,
    manifests: Vec<ManifestFile>,
) -> Result<()> {
    let output = store.output(location)?;
    let write = async {
        let mut writer = ManifestListWriter::v2(output.writer().await?, snapshot_id, parent_id, sequence);
        writer.add_manifests(manifests.into_iter())?;
        writer.close().await
    };
    store.wait(write).map_err(|e| unwritable(location, e))
}

fn write(store: &Store, metadata: &TableMetadata, location: &str) -> Result<()> {
    let json = serde_json::to_vec(metadata).map_err(|e| Error::bug("table metadata is no JSON").because(e))?;
    store.write(location, json.into())
}

/// What changed, what there is then, and what kind of change it was.
fn summary(base: &TableMetadata, added: &[DataFile], dropped: &[Entry], own: HashMap<String, String>) -> Summary {
    let mut collector = SnapshotSummaryCollector::default();
    let (schema, spec) = (base.current_schema(), base.default_partition_spec());
    added.iter().for_each(|f| collector.add_file(f, schema.clone(), spec.clone()));
    dropped.iter().for_each(|e| collector.remove_file(&e.file, schema.clone(), spec.clone()));
    let mut properties = collector.build();

    let before = base.current_snapshot().map(|s| &s.summary().additional_properties);
    let total = |name: &str| before.and_then(|p| p.get(name)?.parse::<i64>().ok()).unwrap_or(0);
    let of = |name: &str| properties.get(name).and_then(|v| v.parse::<i64>().ok()).unwrap_or(0);
    let totals = [
        ("total-records", of("added-records") - of("deleted-records")),
        ("total-data-files", of("added-data-files") - of("deleted-data-files")),
        ("total-delete-files", of("added-delete-files") - of("removed-delete-files")),
        ("total-files-size", of("added-files-size") - of("removed-files-size")),
        ("total-position-deletes", of("added-position-deletes") - of("removed-position-deletes")),
        ("total-equality-deletes", 0),
    ];
    properties.extend(totals.map(|(name, change)| (name.to_string(), (total(name) + change).to_string())));
    properties.extend(own);

    let adds_rows = added.iter().any(|f| f.content_type() == DataContentType::Data);
    let adds_deletes = added.iter().any(|f| f.content_type() == DataContentType::PositionDeletes);
    let operation = match (adds_rows, adds_deletes || !dropped.is_empty()) {
        (_, false) => Operation::Append,
        (true, true) => Operation::Overwrite,
        (false, true) => Operation::Delete,
    };
    Summary { operation, additional_properties: properties }
}

/// Which snapshots go, and the sequence numbers of those that stay, the new one with them. A snapshot that a
/// tag or a branch names stays.
fn expiry(base: &TableMetadata, new_sequence: i64) -> Result<(Vec<i64>, Vec<i64>)> {
    let mut snapshots: Vec<_> = base.snapshots().map(|s| (s.sequence_number(), s.snapshot_id())).collect();
    snapshots.sort_unstable_by(|a, b| b.cmp(a));
    let mut pinned = HashSet::new();
    if snapshots.len() >= SNAPSHOTS_KEPT {
        // iceberg lets nobody walk over the refs, but its JSON has them.
        let json = serde_json::to_value(base).map_err(|e| Error::bug("table metadata is no JSON").because(e))?;
        let refs = json.get("refs").and_then(|r| r.as_object()).into_iter().flatten();
        let refs = refs.filter(|(name, _)| *name != MAIN_BRANCH);
        pinned.extend(refs.filter_map(|(_, r)| r.get("snapshot-id")?.as_i64()));
    }
    let mut expired = Vec::new();
    let mut retained = vec![new_sequence];
    for (i, (sequence, id)) in snapshots.into_iter().enumerate() {
        if i + 1 < SNAPSHOTS_KEPT || pinned.contains(&id) {
            retained.push(sequence);
        } else {
            expired.push(id);
        }
    }
    Ok((expired, retained))
}

/// The number that a metadata file's name begins with.
fn version(location: &str) -> u64 {
    let name = location.rsplit('/').next().unwrap_or_default();
    name.split('-').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The part of an attempt's name that no other attempt has.
pub fn unique_part(attempt: &str) -> &str {
    attempt.split_once('-').map_or(attempt, |(_, unique)| unique)
}

fn random_id() -> i64 {
    let name = world::unique_name().replace('-', "");
    let bits = u64::from_str_radix(&name[16..], 16).expect("a unique name is hexadecimal");
    (bits >> 1) as i64
}

fn misfit(e: iceberg::Error) -> Error {
    Error::bug("iceberg refuses the metadata that we made").because(e)
}
