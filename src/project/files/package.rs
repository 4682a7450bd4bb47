//! dbt_project.yml: where a package keeps its files, and what it configures.

use super::{Text, yaml};
use crate::error::{Error, Place, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Package {
    pub name: String,
    pub dir: PathBuf,
    pub profile: Option<String>,
    pub model_paths: Vec<String>,
    pub macro_paths: Vec<String>,
    pub seed_paths: Vec<String>,
    pub test_paths: Vec<String>,
    /// The configuration trees of `models:`, `seeds:` and `sources:`, not yet rendered.
    pub models: Map<String, Value>,
    pub seeds: Map<String, Value>,
    pub sources: Map<String, Value>,
    pub vars: Map<String, Value>,
    pub packages_path: String,
    pub text: Text,
}

impl Package {
    pub fn load(root: &Path, dir: &Path) -> Result<Package> {
        let file = dir.join("dbt_project.yml");
        if !file.is_file() {
            return Err(Error::operator(format!("no dbt_project.yml in `{}`", dir.display()))
                .hint("name the folder of a dbt project with `--project-dir`"));
        }
        let text = Text::read(root, &file)?;
        let map = yaml::parse_mapping(&text)?;
        let tree = |key: &str| map.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        let word = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_string);
        let paths = |key: &str, old: &str, usual: &str| folders(map.get(key).or_else(|| map.get(old)), usual);
        let Some(name) = word("name") else {
            return Err(Error::operator("the project has no `name`").at(Place::file(&text.file)));
        };
        if !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(Error::operator(format!("`{name}` is not a project name"))
                .at(yaml::place_of(&text, "name", &name))
                .hint("use letters, digits and underscores"));
        }
        Ok(Package {
            name,
            dir: dir.to_path_buf(),
            profile: word("profile"),
            model_paths: paths("model-paths", "source-paths", "models"),
            macro_paths: paths("macro-paths", "macro-paths", "macros"),
            seed_paths: paths("seed-paths", "data-paths", "seeds"),
            test_paths: paths("test-paths", "test-paths", "tests"),
            models: tree("models"),
            seeds: tree("seeds"),
            sources: tree("sources"),
            vars: tree("vars"),
            packages_path: word("packages-install-path").unwrap_or_else(|| "dbt_packages".to_string()),
            text,
        })
    }

    /// Every installed package, by folder name.
    pub fn installed(&self) -> Result<Vec<Package>> {
        let folder = self.dir.join(&self.packages_path);
        let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(Vec::new()) };
        let mut dirs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        dirs.retain(|dir| dir.join("dbt_project.yml").is_file());
        dirs.sort();
        dirs.iter().map(|dir| Package::load(&self.dir, dir)).collect()
    }

    /// Variables for all packages, with those set for this package by name on top.
    pub fn vars_for(&self, package: &str) -> Map<String, Value> {
        let own = self.vars.get(package).and_then(Value::as_object).cloned().unwrap_or_default();
        let mut vars = self.vars.clone();
        vars.extend(own);
        vars
    }
}

fn folders(value: Option<&Value>, usual: &str) -> Vec<String> {
    match value {
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).map(str::to_string).collect(),
        Some(Value::String(one)) => vec![one.clone()],
        _ => vec![usual.to_string()],
    }
}
