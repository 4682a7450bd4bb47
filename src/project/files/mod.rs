//! What the user wrote: files found, read and given a shape. Nothing here renders Jinja by itself or
//! knows what a model depends on.

pub mod package;
pub mod profile;
pub mod properties;
pub mod yaml;

use crate::error::{Error, Place, Result};
use std::path::{Path, PathBuf};

/// A file's text, and its path as messages show it: relative to the project.
#[derive(Clone, Debug)]
pub struct Text {
    pub file: PathBuf,
    pub text: String,
}

impl Text {
    pub fn read(root: &Path, file: &Path) -> Result<Text> {
        let shown = file.strip_prefix(root).unwrap_or(file).to_path_buf();
        let bytes = std::fs::read(file)
            .map_err(|e| Error::operator("the file cannot be read").at(Place::file(&shown)).because(e))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Text { file: shown, text: text.strip_prefix('\u{feff}').unwrap_or(&text).to_string() }),
            Err(_) => Err(Error::operator("the file is not UTF-8").at(Place::file(shown))),
        }
    }
}

/// All files below `root/folder` whose name ends in one of `endings`, in a fixed order. A folder that is
/// not there holds nothing.
pub fn below(root: &Path, folder: &str, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(root, &root.join(folder), endings, &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(root: &Path, folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let failed = |e: std::io::Error| {
        let shown = folder.strip_prefix(root).unwrap_or(folder);
        Error::operator("the folder cannot be read").at(Place::file(shown)).because(e)
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, endings, found)?;
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
    Ok(())
}
