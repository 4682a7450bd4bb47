//! profiles.yml: which database a project calls its own.
//!
//! We read it to know what models will be called and which dialect they are written in; connections are
//! not ours to open. So a file that is not there is fine, and secrets are never rendered.

use super::{Text, yaml};
use crate::error::{Error, Place, Result};
use crate::project::nearest::did_you_mean;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Target {
    pub profile: String,
    pub name: String,
    /// The adapter: `postgres`, `duckdb`, `snowflake`…
    pub kind: String,
    pub database: String,
    pub schema: String,
    /// The other settings of the target that templates may ask for.
    pub settings: Map<String, Value>,
}

/// What to look for, and where.
pub struct Search<'a> {
    pub project: &'a str,
    pub profile: &'a str,
    pub target: Option<&'a str>,
    pub project_dir: &'a Path,
    pub profiles_dir: Option<&'a Path>,
}

/// Renders one scalar of the file.
type Render<'a> = &'a dyn Fn(&str, &Text) -> Result<Value>;

impl Target {
    pub fn find(search: &Search<'_>, render: Render<'_>) -> Result<Target> {
        let Some((file, ours)) = locate(search)? else { return Ok(Target::usual(search)) };
        let text = Text::read(search.project_dir, &file)?;
        let profiles = yaml::parse_mapping(&text)?;
        match profiles.get(search.profile) {
            Some(profile) => Target::read(search, profile, &text, render),
            // The file of the home folder serves every project; that it says nothing of ours is no fault.
            None if !ours => Ok(Target::usual(search)),
            None => {
                let error = Error::operator(format!("no profile `{}` in the profiles file", search.profile));
                let names = profiles.keys().map(String::as_str);
                let hint = did_you_mean(search.profile, names)
                    .unwrap_or_else(|| "add it, or change `profile:` in dbt_project.yml".to_string());
                Err(error.at(Place::file(&text.file)).hint(hint))
            }
        }
    }

    fn usual(search: &Search<'_>) -> Target {
        Target {
            profile: search.profile.to_string(),
            name: search.target.unwrap_or("dev").to_string(),
            kind: "postgres".to_string(),
            database: search.project.to_string(),
            schema: "public".to_string(),
            settings: Map::new(),
        }
    }

    fn read(search: &Search<'_>, profile: &Value, text: &Text, render: Render<'_>) -> Result<Target> {
        let default = match profile.get("target").and_then(Value::as_str) {
            Some(name) if search.target.is_none() => as_text(&render(name, text)?),
            _ => "default".to_string(),
        };
        let name = search.target.unwrap_or(&default).to_string();
        let outputs = profile.get("outputs").and_then(Value::as_object).cloned().unwrap_or_default();
        let Some(output) = outputs.get(&name).and_then(Value::as_object) else {
            let known: Vec<String> = outputs.keys().map(|key| format!("`{key}`")).collect();
            let error = Error::operator(format!("profile `{}` has no target `{name}`", search.profile));
            let hint = did_you_mean(&name, outputs.keys().map(String::as_str))
                .unwrap_or_else(|| format!("its targets are {}", known.join(", ")));
            return Err(error.at(Place::file(&text.file)).hint(hint));
        };
        let mut settings = Map::new();
        for (key, value) in output.iter().filter(|(key, _)| !secret(key)) {
            match value.as_str().map(|scalar| render(scalar, text)) {
                Some(Ok(value)) => drop(settings.insert(key.clone(), value)),
                Some(Err(error)) if NEEDED.contains(&key.as_str()) => return Err(error),
                // A host or a user that the environment does not name is dbt's need, not ours.
                Some(Err(_)) => {}
                None => drop(settings.insert(key.clone(), value.clone())),
            }
        }
        let first = |keys: &[&str]| keys.iter().find_map(|key| settings.get(*key)).map(as_text);
        let stem = || {
            let path = first(&["path"])?;
            Path::new(&path).file_stem().map(|stem| stem.to_string_lossy().into_owned())
        };
        Ok(Target {
            profile: search.profile.to_string(),
            name,
            kind: first(&["type"]).unwrap_or_else(|| "postgres".to_string()),
            database: first(&["dbname", "database", "catalog", "project"])
                .or_else(stem)
                .unwrap_or_else(|| search.project.to_string()),
            schema: first(&["schema", "dataset"]).unwrap_or_else(|| "public".to_string()),
            settings,
        })
    }
}

const NEEDED: [&str; 8] = ["type", "schema", "dataset", "dbname", "database", "catalog", "project", "path"];

fn secret(key: &str) -> bool {
    ["pass", "token", "secret", "key"].iter().any(|word| key.contains(word))
}

/// The file, and whether it is meant for this project.
fn locate(search: &Search<'_>) -> Result<Option<(PathBuf, bool)>> {
    if let Some(dir) = search.profiles_dir {
        let file = dir.join("profiles.yml");
        return match file.is_file() {
            true => Ok(Some((file, true))),
            false => Err(Error::operator(format!("no profiles.yml in `{}`", dir.display()))
                .hint("name the folder that holds it with `--profiles-dir`, or leave the flag out")),
        };
    }
    let named = std::env::var_os("DBT_PROFILES_DIR").map(|dir| (PathBuf::from(dir), true));
    let home = std::env::var_os("HOME").map(|dir| (PathBuf::from(dir).join(".dbt"), false));
    let places = [named, Some((search.project_dir.to_path_buf(), true)), home];
    let files = places.into_iter().flatten().map(|(dir, ours)| (dir.join("profiles.yml"), ours));
    Ok(files.into_iter().find(|(file, _)| file.is_file()))
}

fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
