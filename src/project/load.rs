//! The loading of a project, step by step. Each step needs the whole of the step before: a model's SQL
//! names relations, a relation follows from a model's config, a config from macros and variables.

use super::catalogue::{Catalogue, Entry, Known};
use super::config::{Config, truthy};
use super::data_test::{Declared, Test};
use super::files::package::Package;
use super::files::profile::{Search, Target};
use super::files::properties::{Described, Properties, SourceEntry};
use super::files::{Text, below};
use super::graph::{self, Node};
use super::model::{ColumnDoc, Model, Relation, Seed, SourceRef, SourceTable};
use super::template::{Asker, Engine, Seen, Setting};
use super::{Options, Project};
use crate::error::{Doing, Error, Place, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub fn load(dir: &Path, options: &Options) -> Result<Project> {
    let mut package = Package::load(dir, dir)?;
    let bare = Engine::new(setting(&package, options))?;
    for tree in [&mut package.models, &mut package.seeds, &mut package.sources] {
        let rendered = render_tree(Value::Object(std::mem::take(tree)), &package.text, &bare)?;
        *tree = rendered.as_object().cloned().unwrap_or_default();
    }
    let profile = match &package.profile {
        Some(profile) => bare.scalar(profile, &package.text)?.as_str().unwrap_or(&package.name).to_string(),
        None => package.name.clone(),
    };
    let search = Search {
        project: &package.name,
        profile: &profile,
        target: options.target.as_deref(),
        project_dir: dir,
        profiles_dir: options.profiles_dir.as_deref(),
    };
    let target = Target::find(&search, &|scalar, text| bare.scalar(scalar, text))?;
    let mut engine = engine_of(&package, &target, options)?;

    let mut properties = Properties::default();
    for text in texts(&package, package.model_paths.iter().chain(&package.seed_paths), &[".yml", ".yaml"])? {
        properties.read(&text, &|scalar, text| engine.scalar(scalar, text))?;
    }
    let mut warnings = std::mem::take(&mut engine.warnings);
    let loader = Loader { package: &package, engine: &engine, target: &target };
    let described = by_name("model", properties.models)?;
    let mut drafts = loader.drafts(described, &mut warnings)?;
    let (mut catalogue, mut sources, mut seeds) = (Catalogue::default(), Vec::new(), Vec::new());
    for draft in drafts.iter().filter(|draft| !draft.config.enabled()) {
        catalogue.add_disabled(&draft.name);
    }
    drafts.retain(|draft| draft.config.enabled());
    refuse_twins(&drafts)?;
    for entry in properties.sources {
        sources.extend(loader.source(entry)?);
    }
    refuse_twin_sources(&sources)?;
    for seed in loader.seeds(by_name("seed", properties.seeds)?, &mut warnings)? {
        let known = Known::Seed { unique_id: seed.unique_id.clone() };
        catalogue.add(&seed.name, Entry { package: seed.package.clone(), known, relation: seed.relation.clone() });
        seeds.push(seed);
    }
    for draft in &drafts {
        let known = Known::Model { unique_id: draft.unique_id() };
        catalogue.add(&draft.name, Entry { package: draft.package.clone(), known, relation: draft.relation.clone() });
    }
    for table in &sources {
        catalogue.add_source(table.reference(), table.relation.clone());
    }
    engine.know(catalogue);
    let models = drafts.into_iter().map(|draft| draft.compile(&engine)).collect::<Result<Vec<Model>>>()?;
    let models = in_order(models)?;
    warnings.extend(properties.unknown.sentences());
    Ok(Project { name: package.name.clone(), dir: dir.to_path_buf(), target, models, sources, seeds, warnings, engine })
}

/// A model between its two renderings.
struct Draft {
    name: String,
    package: String,
    fqn: Vec<String>,
    text: Text,
    config: Config,
    described: Option<Described>,
    relation: Relation,
}

struct Loader<'a> {
    package: &'a Package,
    engine: &'a Engine,
    target: &'a Target,
}

impl Loader<'_> {
    fn drafts(&self, mut described: BTreeMap<String, Described>, warnings: &mut Vec<String>) -> Result<Vec<Draft>> {
        let mut drafts = Vec::new();
        for folder in &self.package.model_paths {
            for file in below(&self.package.dir, folder, &[".sql", ".py"])? {
                let text = Text::read(&self.package.dir, &file)?;
                if file.extension().is_some_and(|ending| ending == "py") {
                    warnings.push(format!("python models are not supported: {} is left out", text.file.display()));
                    continue;
                }
                let (name, fqn) = self.names(folder, &text.file);
                let found = described
                    .remove(&name)
                    .or_else(|| drafts.iter().find(|d: &&Draft| d.name == name)?.described.clone());
                drafts.push(self.draft(name, fqn, text, found)?);
            }
        }
        for stray in described.into_values() {
            warnings.push(format!("{}: there is no model `{}` to describe", stray.place, stray.name));
        }
        Ok(drafts)
    }

    fn draft(&self, name: String, fqn: Vec<String>, text: Text, described: Option<Described>) -> Result<Draft> {
        let mut config = self.configured(&self.package.models, &fqn, described.as_ref().map(|d| &d.config));
        let before = self.relation(&name, &fqn, &text.file, &config)?;
        let node = node_of("model", &name, &self.package.name, &fqn, &text.file, &config);
        let asker = Asker { called: format!("model `{name}`"), this: Some(before), node: Some(node) };
        // A model switched off from outside may ask for what is not there.
        if config.enabled() {
            let Seen { config: own, .. } = self.engine.inspect(&text, asker).doing(format!("render model `{name}`"))?;
            config.merge(own.values());
        }
        let relation = self.relation(&name, &fqn, &text.file, &config)?;
        Ok(Draft { name, package: self.package.name.clone(), fqn, text, config, described, relation })
    }

    fn seeds(&self, mut described: BTreeMap<String, Described>, warnings: &mut Vec<String>) -> Result<Vec<Seed>> {
        let mut seeds = Vec::new();
        for folder in &self.package.seed_paths {
            for file in below(&self.package.dir, folder, &[".csv"])? {
                let path = file.strip_prefix(&self.package.dir).unwrap_or(&file).to_path_buf();
                let (name, fqn) = self.names(folder, &path);
                let found = described.remove(&name);
                let config = self.configured(&self.package.seeds, &fqn, found.as_ref().map(|d| &d.config));
                if !config.enabled() {
                    continue;
                }
                let relation = self.relation(&name, &fqn, &path, &config)?;
                let (description, columns, tests) = facts(found, "", &name, &relation)?;
                let (unique_id, package) = (format!("seed.{}.{name}", self.package.name), self.package.name.clone());
                seeds.push(Seed { unique_id, name, package, fqn, path, relation, config, description, columns, tests });
            }
        }
        for stray in described.into_values() {
            warnings.push(format!("{}: there is no seed `{}` to describe", stray.place, stray.name));
        }
        Ok(seeds)
    }

    /// None where the table is switched off.
    fn source(&self, entry: SourceEntry) -> Result<Option<SourceTable>> {
        let SourceEntry { source, schema, database, identifier, table } = entry;
        let path = table.place.file.clone();
        let name = table.name.clone();
        let mut fqn = vec![self.package.name.clone()];
        fqn.extend(self.folders_of(&path));
        fqn.extend([source.clone(), name.clone()]);
        let config = self.configured(&self.package.sources, &fqn, Some(&table.config));
        if !config.get("enabled").is_none_or(truthy) {
            return Ok(None);
        }
        let database = database.unwrap_or_else(|| self.target.database.clone());
        let relation = Relation { database, schema, identifier };
        let (description, columns, tests) = facts(Some(table), "source_", &format!("{source}_{name}"), &relation)?;
        Ok(Some(SourceTable {
            unique_id: format!("source.{}.{source}.{name}", self.package.name),
            source_name: source,
            name,
            package: self.package.name.clone(),
            fqn,
            path,
            database: relation.database.clone(),
            schema: relation.schema.clone(),
            identifier: relation.identifier.clone(),
            relation,
            config,
            description,
            columns,
            tests,
        }))
    }

    fn configured(&self, tree: &Map<String, Value>, fqn: &[String], described: Option<&Map<String, Value>>) -> Config {
        let mut config = Config::default();
        config.merge_tree(tree, fqn);
        if let Some(described) = described {
            config.merge(described);
        }
        config
    }

    /// Where a node lives, as the project's naming macros decide.
    fn relation(&self, name: &str, fqn: &[String], path: &Path, config: &Config) -> Result<Relation> {
        let node = node_of("model", name, &self.package.name, fqn, path, config);
        let part = |function: &str, custom: Option<&str>| -> Result<String> {
            let asker = Asker { called: format!("model `{name}`"), this: None, node: Some(node.clone()) };
            let named = self.engine.call(function, &[json!(custom), node.clone()], asker);
            let named = named.doing(format!("name the relation of `{name}`"))?;
            Ok(named.as_str().map_or_else(|| named.to_string(), |text| text.trim().to_string()))
        };
        Ok(Relation {
            database: part("generate_database_name", config.database())?,
            schema: part("generate_schema_name", config.schema())?,
            identifier: part("generate_alias_name", config.alias())?,
        })
    }

    /// A file's name, and its fqn: package, folders below `folder`, name.
    fn names(&self, folder: &str, file: &Path) -> (String, Vec<String>) {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let inner = file.strip_prefix(folder).unwrap_or(file);
        let folders = inner.parent().into_iter().flat_map(|parent| parent.iter());
        let mut fqn = vec![self.package.name.clone()];
        fqn.extend(folders.map(|folder| folder.to_string_lossy().into_owned()));
        fqn.push(name.clone());
        (name, fqn)
    }

    fn folders_of(&self, file: &Path) -> Vec<String> {
        let paths = self.package.model_paths.iter().chain(&self.package.seed_paths);
        let inner = paths.filter_map(|folder| file.strip_prefix(folder).ok()).next().unwrap_or(file);
        inner.parent().into_iter().flat_map(|p| p.iter()).map(|part| part.to_string_lossy().into_owned()).collect()
    }
}

impl Draft {
    fn unique_id(&self) -> String {
        format!("model.{}.{}", self.package, self.name)
    }

    fn compile(self, engine: &Engine) -> Result<Model> {
        let unique_id = self.unique_id();
        let Draft { name, package, fqn, text, config, described, relation } = self;
        let node = node_of("model", &name, &package, &fqn, &text.file, &config);
        let asker = Asker { called: format!("model `{name}`"), this: Some(relation.clone()), node: Some(node) };
        let (compiled_sql, seen) = engine.compile(&text, asker).doing(format!("render model `{name}`"))?;
        let (description, columns, tests) = facts(described, "", &name, &relation)?;
        let (mut depends_on_models, mut depends_on_seeds, mut parents) = (Vec::new(), Vec::new(), Vec::new());
        for (name, known, relation) in seen.refs {
            match known {
                Known::Model { unique_id } => depends_on_models.push(unique_id),
                Known::Seed { unique_id } => depends_on_seeds.push(unique_id),
            }
            parents.push((name, relation));
        }
        let mut depends_on_sources = Vec::new();
        for (reference, relation) in seen.sources {
            parents.push((format!("{}.{}", reference.source, reference.table), relation));
            depends_on_sources.push(reference);
        }
        parents.sort();
        Ok(Model {
            unique_id,
            name,
            package,
            fqn,
            path: text.file,
            raw_sql: text.text,
            compiled_sql,
            relation,
            config,
            description,
            columns,
            tests,
            depends_on_models,
            depends_on_seeds,
            depends_on_sources,
            parents,
        })
    }
}

fn setting(package: &Package, options: &Options) -> Setting {
    let vars_of = |name: &str| {
        let mut vars = package.vars_for(name);
        vars.extend(options.vars.clone());
        (name.to_string(), vars)
    };
    Setting { project: package.name.clone(), vars: [vars_of(&package.name)].into(), ..Setting::default() }
}

fn engine_of(package: &Package, target: &Target, options: &Options) -> Result<Engine> {
    let mut whole = Setting { target: Some(target.clone()), ..setting(package, options) };
    for other in package.installed()?.into_iter().chain([package.clone()]) {
        // What a package sets for itself is weakest, then the project's word about it, then the command line.
        let mut vars = other.vars_for(&other.name);
        vars.extend(package.vars_for(&other.name));
        vars.extend(options.vars.clone());
        whole.vars.insert(other.name.clone(), vars);
        let generic = other.test_paths.iter().map(|folder| format!("{folder}/generic"));
        for folder in other.macro_paths.iter().cloned().chain(generic) {
            for file in below(&other.dir, &folder, &[".sql"])? {
                whole.macros.push((other.name.clone(), Text::read(&package.dir, &file)?));
            }
        }
    }
    let paths = package.model_paths.iter().chain(&package.macro_paths).chain(&package.seed_paths);
    whole.docs = texts(package, paths, &[".md"])?;
    Engine::new(whole)
}

fn texts<'a>(package: &Package, folders: impl Iterator<Item = &'a String>, endings: &[&str]) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for folder in folders {
        for file in below(&package.dir, folder, endings)? {
            texts.push(Text::read(&package.dir, &file)?);
        }
    }
    Ok(texts)
}

/// Hooks are dbt's to run, and render only when it does.
fn render_tree(value: Value, text: &Text, engine: &Engine) -> Result<Value> {
    Ok(match value {
        Value::String(scalar) => engine.scalar(&scalar, text)?,
        Value::Array(values) => {
            Value::Array(values.into_iter().map(|v| render_tree(v, text, engine)).collect::<Result<_>>()?)
        }
        Value::Object(map) => {
            let rendered = map.into_iter().map(|(key, value)| match key.contains("hook") {
                true => Ok((key, value)),
                false => Ok((key, render_tree(value, text, engine)?)),
            });
            Value::Object(rendered.collect::<Result<_>>()?)
        }
        value => value,
    })
}

fn node_of(kind: &str, name: &str, package: &str, fqn: &[String], path: &Path, config: &Config) -> Value {
    json!({
        "resource_type": kind, "name": name, "package_name": package, "fqn": fqn,
        "unique_id": format!("{kind}.{package}.{name}"),
        "path": path.to_string_lossy(), "original_file_path": path.to_string_lossy(),
        "config": config.values(), "tags": config.tags(), "alias": config.alias(), "version": null,
    })
}

type Facts = (String, Vec<ColumnDoc>, Vec<Test>);

fn facts(described: Option<Described>, prefix: &str, called: &str, relation: &Relation) -> Result<Facts> {
    let Some(described) = described else { return Ok(Facts::default()) };
    let tests = described.tests.into_iter().filter(Declared::enabled);
    let tests = tests.map(|test| test.into_test(prefix, called, relation)).collect::<Result<_>>()?;
    Ok((described.description, described.columns, tests))
}

fn by_name(kind: &str, all: Vec<Described>) -> Result<BTreeMap<String, Described>> {
    let mut named: BTreeMap<String, Described> = BTreeMap::new();
    for described in all {
        if let Some(twin) = named.get(&described.name) {
            let (first, second) = (twin.place.file.display(), described.place.file.display());
            let what = format!("{kind} `{}` is described twice: in `{first}` and in `{second}`", described.name);
            return Err(Error::operator(what).at(described.place.clone()).hint("keep one of the two"));
        }
        named.insert(described.name.clone(), described);
    }
    Ok(named)
}

fn refuse_twins(drafts: &[Draft]) -> Result<()> {
    let (mut names, mut relations): (BTreeMap<&str, &Draft>, BTreeMap<&Relation, &Draft>) = Default::default();
    for draft in drafts {
        let file = |draft: &Draft| draft.text.file.display().to_string();
        if let Some(twin) = names.insert(&draft.name, draft) {
            let what = format!("two models are named `{}`: `{}` and `{}`", draft.name, file(twin), file(draft));
            let error = Error::operator(what).at(Place::file(&draft.text.file));
            return Err(error.hint("rename one of them, or give it `enabled: false`"));
        }
        if let Some(twin) = relations.insert(&draft.relation, draft) {
            let what = format!("two models write to {}: `{}` and `{}`", draft.relation, file(twin), file(draft));
            let error = Error::operator(what).at(Place::file(&draft.text.file));
            return Err(error.hint("give one of them an `alias` or a `schema` of its own"));
        }
    }
    Ok(())
}

fn refuse_twin_sources(sources: &[SourceTable]) -> Result<()> {
    let mut seen: BTreeMap<SourceRef, &PathBuf> = BTreeMap::new();
    for table in sources {
        if let Some(twin) = seen.insert(table.reference(), &table.path) {
            let (first, second) = (twin.display(), table.path.display());
            let what =
                format!("source `{}.{}` stands twice: in `{first}` and in `{second}`", table.source_name, table.name);
            return Err(Error::operator(what).at(Place::file(&table.path)).hint("keep one of the two"));
        }
    }
    Ok(())
}

fn in_order(models: Vec<Model>) -> Result<Vec<Model>> {
    let node = |m: &Model| Node { id: m.unique_id.clone(), file: m.path.clone(), parents: m.depends_on_models.clone() };
    let order = graph::order(&models.iter().map(node).collect::<Vec<_>>())?;
    let mut slots: Vec<Option<Model>> = models.into_iter().map(Some).collect();
    Ok(order.into_iter().map(|at| slots[at].take().expect("the order names each model once")).collect())
}
