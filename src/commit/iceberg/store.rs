//! Files by location, in and out, durable when written.
//!
//! A location is an absolute `file://` URI, since readers that default to another file system would look
//! for a bare path there. Iceberg's `FileIO` stands behind it, so an object store is a matter of building
//! another one. What is promised: a file that `write` returned from survives a power cut once `settle` has
//! returned for its folder. iceberg's local `OutputFile::write` does not sync; its writer's `close` does.

use crate::error::{Error, Result};
use bytes::Bytes;
use iceberg::io::{FileIO, OutputFile};
use std::future::Future;
use std::path::{Path, PathBuf};

pub struct Store {
    pub io: FileIO,
    runtime: tokio::runtime::Runtime,
}

impl Store {
    pub fn new() -> Result<Store> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::operator("cannot start the committer's runtime").because(e))?;
        Ok(Store { io: FileIO::new_with_fs(), runtime })
    }

    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn read(&self, location: &str) -> Result<Bytes> {
        let read = async { self.io.new_input(location)?.read().await };
        self.wait(read).map_err(|e| unreadable(location, e))
    }

    pub fn output(&self, location: &str) -> Result<OutputFile> {
        self.io.new_output(location).map_err(|e| unwritable(location, e))
    }

    pub fn write(&self, location: &str, content: Bytes) -> Result<()> {
        let output = self.output(location)?;
        let write = async {
            let mut writer = output.writer().await?;
            writer.write(content).await?;
            writer.close().await
        };
        self.wait(write).map_err(|e| unwritable(location, e))
    }

    /// Removes a file; one that is not there is no error.
    pub fn remove(&self, location: &str) -> Result<()> {
        self.wait(self.io.delete(location)).map_err(|e| unwritable(location, e))
    }

    /// Makes the names in a folder durable.
    pub fn settle(&self, folder: &str) -> Result<()> {
        let path = local(folder);
        std::fs::File::open(&path).and_then(|f| f.sync_all()).map_err(|e| unwritable(folder, e))
    }

    /// Makes a folder and all above it, durably.
    pub fn make_folder(&self, folder: &str) -> Result<()> {
        let path = local(folder);
        std::fs::create_dir_all(&path).map_err(|e| unwritable(folder, e))?;
        for folder in path.ancestors().take_while(|p| !p.as_os_str().is_empty()) {
            // A folder above ours may not be ours to open; what is there already needs no sync.
            if let Ok(opened) = std::fs::File::open(folder) {
                opened.sync_all().map_err(|e| unwritable(&location(folder), e))?;
            }
        }
        Ok(())
    }

    /// The locations of the files in a folder; none where there is no folder.
    pub fn list(&self, folder: &str) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(local(folder)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(unreadable(folder, e)),
        };
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.map_err(|e| unreadable(folder, e))?;
            Ok(format!("{folder}/{}", entry.file_name().to_string_lossy()))
        };
        entries.map(name).collect()
    }
}

pub fn location(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn local(location: &str) -> PathBuf {
    PathBuf::from(location.strip_prefix("file://").unwrap_or(location))
}

/// A file that we or a table name cannot be read, or not as what it should be.
pub fn unreadable(location: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let error = error.into();
    let text = error.to_string();
    // iceberg keeps no io::Error; only its text tells a missing right from a missing file.
    if ["os error 13", "os error 5)", "os error 24"].iter().any(|code| text.contains(code)) {
        return Error::operator(format!("cannot read `{location}`"))
            .hint("check rights and disk of the warehouse")
            .because(error);
    }
    Error::corrupt(format!("`{location}` is missing or damaged"))
        .hint("restore the file, or drop the table from the catalog so that it is built anew")
        .because(error)
}

pub fn unwritable(location: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::operator(format!("cannot write `{location}`"))
        .hint("check free space and rights of the warehouse")
        .because(error)
}
