//! Property files: what YAML says about models, seeds and sources, in every shape dbt 1.5 to 1.12 takes.

use super::yaml::{Section, Unknown};
use super::{Text, yaml};
use crate::error::{Error, Place, Result};
use crate::project::data_test::Declared;
use crate::project::model::ColumnDoc;
use serde_json::{Map, Value};

/// What one entry says about a model, a seed or a source table.
#[derive(Clone, Debug)]
pub struct Described {
    pub name: String,
    pub description: String,
    pub config: Map<String, Value>,
    pub columns: Vec<ColumnDoc>,
    pub tests: Vec<Declared>,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub struct SourceEntry {
    pub source: String,
    pub schema: String,
    pub database: Option<String>,
    pub identifier: String,
    pub table: Described,
}

#[derive(Default)]
pub struct Properties {
    pub models: Vec<Described>,
    pub seeds: Vec<Described>,
    pub sources: Vec<SourceEntry>,
    pub unknown: Unknown,
}

/// Renders one scalar of a file.
type Render<'a> = &'a dyn Fn(&str, &Text) -> Result<Value>;

impl Properties {
    pub fn read(&mut self, text: &Text, render: Render<'_>) -> Result<()> {
        let map = render_map(yaml::parse_mapping(text)?, text, render)?;
        let whole = Value::Object(map);
        let top = Section::of(text, "the file", &whole)?;
        self.unknown.note(&top, "property file", TOP_KEYS);
        for entry in top.list("models")? {
            let described = self.described(text, "model", entry, MODEL_KEYS, &["tags", "meta", "docs", "group"])?;
            self.models.push(described);
        }
        for entry in top.list("seeds")? {
            let described = self.described(text, "seed", entry, MODEL_KEYS, &["tags", "meta", "docs", "group"])?;
            self.seeds.push(described);
        }
        for entry in top.list("sources")? {
            self.source(text, entry)?;
        }
        Ok(())
    }

    fn source(&mut self, text: &Text, entry: &Value) -> Result<()> {
        let unnamed = Section::of(text, "an entry of `sources`", entry)?;
        let name = Section { called: "`sources`".to_string(), ..unnamed }.name()?;
        let source = Section::of(text, format!("source `{name}`"), entry)?;
        self.unknown.note(&source, "source", SOURCE_KEYS);
        let base = settings(&source, &["tags", "meta"])?;
        for entry in source.list("tables")? {
            let mut table = self.described(text, "source table", entry, TABLE_KEYS, &["tags", "meta"])?;
            let mut config = crate::project::config::Config::default();
            config.merge(&base);
            config.merge(&table.config);
            table.config = config.values().clone();
            let section = Section::of(text, format!("source table `{name}.{}`", table.name), entry)?;
            self.sources.push(SourceEntry {
                source: name.to_string(),
                schema: source.text("schema")?.unwrap_or(name).to_string(),
                database: source.text("database")?.or(source.text("catalog")?).map(str::to_string),
                identifier: section.text("identifier")?.unwrap_or(&table.name).to_string(),
                table,
            });
        }
        Ok(())
    }

    fn described(
        &mut self,
        text: &Text,
        class: &str,
        entry: &Value,
        known: &[&str],
        as_config: &[&str],
    ) -> Result<Described> {
        let unnamed = Section::of(text, format!("an entry of `{class}s`"), entry)?;
        let name = Section { called: format!("`{class}s`"), ..unnamed }.name()?;
        let section = Section::of(text, format!("{class} `{name}`"), entry)?;
        self.unknown.note(&section, class, known);
        let mut described = Described {
            name: name.to_string(),
            description: section.text("description")?.unwrap_or_default().trim_end().to_string(),
            config: settings(&section, as_config)?,
            columns: Vec::new(),
            tests: declared(&section, None)?,
            place: yaml::place_of(text, "name", name),
        };
        for entry in section.list("columns")? {
            let unnamed = Section::of(text, format!("an entry of `columns` of {}", section.called), entry)?;
            let column = Section { called: format!("`columns` of {}", section.called), ..unnamed }.name()?;
            let part = Section::of(text, format!("column `{column}` of {}", section.called), entry)?;
            self.unknown.note(&part, "column", COLUMN_KEYS);
            let quoted = part.map.get("quote").is_some_and(crate::project::config::truthy);
            let tested = if quoted { format!("\"{column}\"") } else { column.to_string() };
            described.tests.extend(declared(&part, Some(&tested))?);
            described.columns.push(ColumnDoc {
                name: column.to_string(),
                description: part.text("description")?.unwrap_or_default().trim_end().to_string(),
                data_type: part.text("data_type")?.map(str::to_string),
            });
        }
        Ok(described)
    }
}

/// `tests:` is the older name of `data_tests:`; both at once cannot be meant.
fn declared(section: &Section<'_>, column: Option<&str>) -> Result<Vec<Declared>> {
    let (old, new) = (section.list("tests")?, section.list("data_tests")?);
    if !old.is_empty() && !new.is_empty() {
        return Err(Error::operator(format!("{} has both `tests` and `data_tests`", section.called))
            .at(Place::file(&section.text.file))
            .hint("keep `data_tests`"));
    }
    old.iter().chain(new).map(|entry| Declared::read(section, column, entry)).collect()
}

/// The entry's `config:`, under the settings that may also stand beside it.
fn settings(section: &Section<'_>, beside: &[&str]) -> Result<Map<String, Value>> {
    let mut config = crate::project::config::Config::default();
    let outer = section.map.iter().filter(|(key, _)| beside.contains(&key.as_str()));
    config.merge(&outer.map(|(key, value)| (key.clone(), value.clone())).collect());
    config.merge(&section.mapping("config")?);
    Ok(config.values().clone())
}

/// Tests keep their Jinja: it is rendered when the test is, with `ref` and `source` in reach.
fn render_map(map: Map<String, Value>, text: &Text, render: Render<'_>) -> Result<Map<String, Value>> {
    let rendered = map.into_iter().map(|(key, value)| {
        let keep = matches!(key.as_str(), "tests" | "data_tests" | "unit_tests" | "macros");
        let value = if keep { value } else { render_value(value, text, render)? };
        Ok((key, value))
    });
    rendered.collect()
}

fn render_value(value: Value, text: &Text, render: Render<'_>) -> Result<Value> {
    Ok(match value {
        Value::String(scalar) => render(&scalar, text)?,
        Value::Array(values) => {
            Value::Array(values.into_iter().map(|value| render_value(value, text, render)).collect::<Result<_>>()?)
        }
        Value::Object(map) => Value::Object(render_map(map, text, render)?),
        value => value,
    })
}

const TOP_KEYS: &[&str] = &[
    "version",
    "models",
    "seeds",
    "sources",
    "snapshots",
    "macros",
    "analyses",
    "exposures",
    "metrics",
    "groups",
    "semantic_models",
    "saved_queries",
    "unit_tests",
    "functions",
    "data_tests",
    "tests",
    "anchors",
];
const MODEL_KEYS: &[&str] = &[
    "name",
    "description",
    "columns",
    "tests",
    "data_tests",
    "config",
    "meta",
    "tags",
    "docs",
    "group",
    "access",
    "versions",
    "latest_version",
    "constraints",
    "deprecation_date",
    "time_spine",
    "freshness",
    "version",
];
const COLUMN_KEYS: &[&str] = &[
    "name",
    "description",
    "data_type",
    "tests",
    "data_tests",
    "config",
    "meta",
    "tags",
    "quote",
    "constraints",
    "policy_tags",
    "granularity",
    "dimension",
    "entity",
];
const SOURCE_KEYS: &[&str] = &[
    "name",
    "description",
    "database",
    "catalog",
    "schema",
    "tables",
    "loader",
    "loaded_at_field",
    "loaded_at_query",
    "freshness",
    "quoting",
    "meta",
    "tags",
    "config",
    "overrides",
    "version",
    "tests",
    "data_tests",
];
const TABLE_KEYS: &[&str] = &[
    "name",
    "description",
    "identifier",
    "columns",
    "tests",
    "data_tests",
    "config",
    "meta",
    "tags",
    "loader",
    "loaded_at_field",
    "loaded_at_query",
    "freshness",
    "quoting",
    "external",
];
