//! A project compiled against its sources as they are: what is maintained, from which tables, published where.
//!
//! Loading needs the sources' catalogs (types and keys), so that it connects; it changes nothing there. A
//! model that cannot be maintained is refused with its place in the user's file, and so is every model below.

use super::config::{Config, SourceConfig};
use crate::commit::Target;
use crate::error::{Error, Result};
use crate::flow::Layout;
use crate::plan::{Compiled, Planner, Refusal, Relation, explain};
use crate::project::{Model, Project, SourceTable, nearest};
use crate::row::{Fingerprint, Row, Table, TableName};
use crate::source::{Source, mysql, postgres, replay};
use crate::state::Checkpoint;
use arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What is maintained, whether or not anything is connected.
pub struct Assembly {
    pub tables: Vec<AssembledTable>,
    /// What flow maintains, parents first.
    pub compiled: Vec<Compiled>,
    /// As many as `compiled`.
    pub models: Vec<AssembledModel>,
    /// Where names without a database or schema are looked for.
    pub home: (String, String),
}

pub struct AssembledTable {
    /// The dbt source.
    pub source: String,
    pub relation: Relation,
    /// Every column.
    pub described: SchemaRef,
    /// The columns that models use.
    pub table: Table,
}

pub struct AssembledModel {
    pub name: String,
    pub target: Target,
    /// Ephemeral models, and parents of what was selected, are maintained and not published.
    pub published: bool,
    /// Numbers of the models that it reads.
    pub parents: Vec<usize>,
}

/// What planning found for one model, in the order of the graph.
pub struct PlannedModel {
    pub name: String,
    pub selected: bool,
    /// The number in `Assembly::compiled`, or why not.
    pub outcome: Result<usize, Error>,
}

/// The tables that models need, by dbt source: as the source's database names them, and as the project does.
type Wanted<'a> = BTreeMap<&'a str, BTreeMap<TableName, &'a SourceTable>>;

impl Assembly {
    /// Compiles `selected` and all they depend on against the sources as they are now, which it connects to.
    /// Refused models are in the list, not in the assembly. The sources come in the order of their names.
    pub async fn live(
        project: &Project,
        config: &Config,
        selected: &[&Model],
    ) -> Result<(Assembly, Vec<PlannedModel>, Vec<(String, Box<dyn Source>)>)> {
        let (wanted, mut sources, mut described) = (wanted(project, selected), Vec::new(), Vec::new());
        // All of driftless.yml is judged before the first server hears of us.
        for name in wanted.keys() {
            sources.push((name.to_string(), source(name, config)?));
        }
        for ((name, source), tables) in sources.iter_mut().zip(wanted.values()) {
            let names: Vec<TableName> = tables.keys().cloned().collect();
            // Some sources say themselves what they were doing.
            let reading = |e: Error| if e.steps().is_empty() { e.doing(format!("read source `{name}`")) } else { e };
            described.extend(source.describe(&names).await.map_err(reading)?);
        }
        let (assembly, planned) = Assembly::compile(project, selected, &wanted, described)?;
        Ok((assembly, planned, sources))
    }

    /// The same against the tables as a checkpoint knows them, connected to nothing.
    pub fn kept(
        project: &Project,
        selected: &[&Model],
        checkpoint: &Checkpoint,
    ) -> Result<(Assembly, Vec<PlannedModel>)> {
        let (wanted, mut described) = (wanted(project, selected), Vec::new());
        for (source, tables) in &wanted {
            for name in tables.keys() {
                let kept = checkpoint.tables.iter().find(|k| k.source == *source && k.name == *name);
                let kept = kept.ok_or_else(|| {
                    Error::operator(format!("the state directory holds no copy of table `{name}` of source `{source}`"))
                        .hint("start `driftless run` once, so that it is copied")
                })?;
                let schema = kept.described()?;
                let key = kept.key.iter().filter_map(|column| schema.index_of(column).ok()).collect();
                described.push(Table { name: name.clone(), schema, key });
            }
        }
        Assembly::compile(project, selected, &wanted, described)
    }

    /// What its dataflow keeps, and for which models.
    pub fn layout(&self) -> Layout {
        let tables: Vec<Table> = self.tables.iter().map(|table| table.table.clone()).collect();
        Layout::of(&self.compiled, &tables)
    }

    /// The same for two assemblies if and only if they make the same dataflow: a kept state serves it.
    pub fn dataflow(&self) -> String {
        let mut text = format!("{} {}\n", env!("CARGO_PKG_VERSION"), crate::state::FORMAT);
        for table in &self.tables {
            text += &format!("{} {} {:?}", table.source, table.relation, table.table.key);
            for field in table.table.schema.fields() {
                text += &format!(" {} {}", field.name(), field.data_type());
            }
            text.push('\n');
        }
        let named = |number: usize| number.to_string();
        for (model, compiled) in self.models.iter().zip(&self.compiled) {
            let plan = explain(&compiled.node, &named, &named);
            text += &format!("{} {}\n{}\n{plan}\n", model.published, compiled.relation, compiled.sql);
        }
        format!("{:032x}", Fingerprint::of(&Row::from(text.as_bytes())))
    }

    fn compile(
        project: &Project,
        selected: &[&Model],
        wanted: &Wanted,
        described: Vec<Table>,
    ) -> Result<(Assembly, Vec<PlannedModel>)> {
        let home = (project.target.database.clone(), project.target.schema.clone());
        let mut planner = Planner::new(&home.0, &home.1);
        let mut tables = Vec::new();
        let declared = wanted.iter().flat_map(|(source, tables)| tables.values().map(move |table| (source, table)));
        for ((source, declared), table) in declared.zip(described) {
            crate::row::check_types(&table.schema)?;
            let relation = relation(&declared.relation);
            planner.add_table(relation.clone(), table.clone());
            tables.push((source.to_string(), relation, table.schema));
        }

        let needed = with_ancestors(project, selected);
        let chosen: BTreeSet<&str> = selected.iter().map(|m| m.unique_id.as_str()).collect();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        let (mut planned, mut models) = (Vec::new(), Vec::new());
        for model in project.models.iter().filter(|m| needed.contains(m.unique_id.as_str())) {
            let selected = chosen.contains(model.unique_id.as_str());
            let outcome = compile(project, model, &mut planner, &numbers);
            if let Ok(number) = outcome {
                numbers.insert(&model.unique_id, number);
                let parents = model.depends_on_models.iter().map(|id| numbers[id.as_str()]).collect();
                let target = target(model, planner.model(number).schema().clone());
                let published = selected && model.config.materialized() != "ephemeral";
                if !published {
                    planner.hide(number);
                }
                models.push(AssembledModel { name: model.name.clone(), target, published, parents });
            }
            planned.push(PlannedModel { name: model.name.clone(), selected, outcome });
        }

        let (pruned, compiled) = planner.finish();
        let tables = tables.into_iter().zip(pruned);
        let tables =
            tables.map(|((source, relation, described), table)| AssembledTable { source, relation, described, table });
        Ok((Assembly { tables: tables.collect(), compiled, models, home }, planned))
    }
}

fn wanted<'a>(project: &'a Project, selected: &[&'a Model]) -> Wanted<'a> {
    let needed = with_ancestors(project, selected);
    let mut wanted = Wanted::new();
    for model in project.models.iter().filter(|m| needed.contains(m.unique_id.as_str())) {
        for reference in &model.depends_on_sources {
            let table = project.source(reference).expect("the loader resolves every source");
            let name = TableName::new(&table.schema, &table.identifier);
            wanted.entry(&table.source_name).or_default().insert(name, table);
        }
    }
    wanted
}

fn with_ancestors<'a>(project: &'a Project, selected: &[&'a Model]) -> BTreeSet<&'a str> {
    let mut needed: BTreeSet<&str> = selected.iter().map(|m| m.unique_id.as_str()).collect();
    for model in project.models.iter().rev() {
        if needed.contains(model.unique_id.as_str()) {
            needed.extend(model.depends_on_models.iter().map(String::as_str));
        }
    }
    needed
}

/// Connected to nothing yet.
fn source(name: &str, config: &Config) -> Result<Box<dyn Source>> {
    let Some(source) = config.sources.get(name) else {
        let hint = match nearest(name, config.sources.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{name}` where `sources:` says `{near}`?"),
            None => format!("add it under `sources:`, as `{name}: {{postgres: \"postgresql://…\"}}`"),
        };
        return Err(Error::operator(format!("driftless.yml does not say where source `{name}` lives")).hint(hint));
    };
    Ok(match source {
        SourceConfig::Postgres(url) => {
            let slot = identifier(&format!("driftless_{}_{name}", config.pipeline));
            let settings =
                postgres::Settings { url: url.clone(), name: name.to_string(), publication: slot.clone(), slot };
            Box::new(postgres::Postgres::new(settings)?)
        }
        SourceConfig::MySql(url) => Box::new(mysql::MySql::new(mysql::Settings {
            url: url.clone(),
            name: name.to_string(),
            pipeline: config.pipeline.clone(),
        })?),
        SourceConfig::Replay(path) => {
            Box::new(replay::Replay::new(replay::Settings { path: path.clone(), name: name.to_string() })?)
        }
    })
}

/// A name that Postgres takes for a slot.
fn identifier(text: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    text.chars().map(letter).take(63).collect()
}

fn compile(
    project: &Project,
    model: &Model,
    planner: &mut Planner,
    numbers: &HashMap<&str, usize>,
) -> Result<usize, Error> {
    for parent in &model.depends_on_models {
        if !numbers.contains_key(parent.as_str()) {
            let parent = project.model(parent).map_or(parent.as_str(), |m| m.name.as_str());
            return Err(Error::operator(format!("model `{}` is refused: it reads `{parent}`, which is", model.name))
                .hint(format!("mend `{parent}` first, or leave both out with --exclude {parent}+")));
        }
    }
    if let Some(seed) = model.depends_on_seeds.first() {
        let seed = seed.rsplit('.').next().unwrap_or(seed);
        return Err(Error::operator(format!("model `{}` is refused: seeds are not kept yet (`{seed}`)", model.name))
            .hint("put the seed's rows into a source table, or leave the model out with --exclude"));
    }
    planner.compile(relation(&model.relation), &model.compiled_sql).map_err(|refusal| refused(model, refusal))
}

fn refused(model: &Model, refusal: Refusal) -> Error {
    let mut place = model.place_in_raw(refusal.line.max(1), refusal.column.max(1));
    match &mut place.excerpt {
        // Where a template or a macro made the text, the place is that of its call, whole.
        Some((_, width)) if *width == 1 && refusal.width > 0 => *width = refusal.width,
        _ => {}
    }
    if refusal.line == 0 {
        place = crate::error::Place::file(&model.path);
    }
    Error::operator(format!("model `{}` is refused: {}", model.name, refusal.reason)).at(place).hint(refusal.hint)
}

fn relation(relation: &crate::project::Relation) -> Relation {
    Relation { database: relation.database.clone(), schema: relation.schema.clone(), name: relation.identifier.clone() }
}

fn target(model: &Model, schema: SchemaRef) -> Target {
    let describe = |name: &String| {
        let doc = model.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name));
        doc.map(|doc| doc.description.clone()).unwrap_or_default()
    };
    Target {
        model: model.name.clone(),
        namespace: model.relation.schema.clone(),
        table: model.relation.identifier.clone(),
        description: model.description.clone(),
        column_descriptions: schema.fields().iter().map(|f| describe(f.name())).collect(),
        schema,
        definition: model.definition_hash(),
    }
}
