//! dbt's Jinja: text and names in, SQL out. The only folder that knows which template engine we use.
//!
//! ```text
//!   macro files ─► blocks ─► one template each ─┐
//!                                               ├─► Engine ─► compile(model) ─► SQL, and what it asked for
//!   vars, target, docs ─────────────────────────┘      └────► scalar(yaml) ─► value
//! ```
//!
//! A model is rendered twice: once to read its `config` while nobody knows yet where models live, and
//! once, with `execute` true, to SQL. Not promised: values that change in place (`append`), and what
//! dbt asks of the database while it renders (`run_query`, `adapter.get_relation`).

mod blocks;
mod builtin;
mod fault;
mod macros;
mod python;
mod scope;
mod value;

use super::catalogue::Catalogue;
use super::data_test::{Kind, Test};
use super::files::Text;
use super::files::profile::Target;
use super::model::Relation;
use crate::error::{Error, Place, Result};
use blocks::{Block, blocks};
use builtin::Builtin;
use fault::Origin;
use macros::{BUILTIN, Entry, Macros, inner_name};
use minijinja::{Environment, UndefinedBehavior, Value};
use scope::{Run, Scope, Shared};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use scope::Seen;

/// What an engine is made from.
#[derive(Default)]
pub struct Setting {
    pub project: String,
    pub vars: BTreeMap<String, Map<String, Json>>,
    pub target: Option<Target>,
    /// Package and file, the project's own among them.
    pub macros: Vec<(String, Text)>,
    pub docs: Vec<Text>,
}

/// Who is being rendered.
#[derive(Clone, Default)]
pub struct Asker {
    pub called: String,
    pub this: Option<Relation>,
    pub node: Option<Json>,
}

pub struct Engine {
    env: Environment<'static>,
    shared: Arc<Shared>,
    /// By template name: its text, and where that stands.
    origins: BTreeMap<String, (String, Origin)>,
    catalogue: Arc<Catalogue>,
    /// Macros of packages that we cannot read; nobody may need them.
    pub warnings: Vec<String>,
}

impl Engine {
    pub fn new(setting: Setting) -> Result<Engine> {
        let mut env = Environment::new();
        env.set_debug(true);
        env.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        env.set_unknown_method_callback(python::call_method);
        env.add_filter("as_bool", |value: &Value| as_native(value, Json::is_boolean));
        env.add_filter("as_number", |value: &Value| as_native(value, Json::is_number));
        env.add_filter("as_native", |value: &Value| as_native(value, |_| true));
        env.add_filter("as_text", |value: &Value| value.to_string());
        env.add_filter("tojson", |value: &Value| value::to_json(value).to_string());
        let mut shared =
            Shared { project: setting.project, vars: setting.vars, target: setting.target, ..Shared::default() };
        for text in &setting.docs {
            let docs = blocks(text)?.into_iter().filter(|block| block.kind == blocks::Kind::Docs);
            shared.docs.extend(docs.map(|block| (block.name, block.text)));
        }
        let mut engine = Engine {
            env,
            shared: Arc::default(),
            origins: BTreeMap::new(),
            catalogue: Arc::default(),
            warnings: Vec::new(),
        };
        let own = Text { file: PathBuf::from("dbt.sql"), text: include_str!("dbt.sql").to_string() };
        for (package, text) in [(BUILTIN.to_string(), own)].iter().chain(&setting.macros) {
            let ours = *package == shared.project;
            let added = engine.add_macros(&mut shared.macros, package, text);
            match added {
                Err(error) if !ours => {
                    engine.warnings.push(format!("macros of package `{package}` are left out: {error}"))
                }
                added => added?,
            }
        }
        engine.shared = Arc::new(shared);
        Ok(engine)
    }

    /// From now on `ref` and `source` find what is in the catalogue, and nothing else.
    pub fn know(&mut self, catalogue: Catalogue) {
        self.catalogue = Arc::new(catalogue);
    }

    /// The first rendering of a model: what it says about itself.
    pub fn inspect(&self, text: &Text, asker: Asker) -> Result<Seen> {
        let run = run_of(asker, None);
        self.render(text, &run)?;
        Ok(seen(&run))
    }

    /// The second: its SQL, and whom it reads.
    pub fn compile(&self, text: &Text, asker: Asker) -> Result<(String, Seen)> {
        let run = run_of(asker, Some(self.catalogue.clone()));
        let sql = self.render(text, &run)?;
        Ok((sql, seen(&run)))
    }

    /// A scalar of a YAML file: text without Jinja as it is, one `{{ … }}` as the value it has.
    pub fn scalar(&self, scalar: &str, text: &Text) -> Result<Json> {
        if !scalar.contains("{{") && !scalar.contains("{%") {
            return Ok(Json::from(scalar));
        }
        let run = Arc::new(Run { asked_by: format!("`{}`", text.file.display()), ..Run::default() });
        let origin = origin_in(text, scalar);
        match whole_expression(scalar) {
            Some(expression) => {
                let before = scalar.find(expression).expect("the expression is a part of the scalar");
                let column = origin.column + scalar[..before].chars().count();
                self.evaluate(expression, &Origin { column, ..origin }, &run, Vec::new()).map(|v| value::to_json(&v))
            }
            None => self.text(scalar, &origin, &run).map(Json::from),
        }
    }

    /// A whole file of ours with `env_var` and `var`. Comment lines of YAML are left alone: what is
    /// commented out must not ask for a secret.
    pub fn file(&self, text: &str, file: &Path) -> Result<String> {
        let quiet = |line: &str| match line.trim_start().starts_with('#') && line.contains('{') {
            true => format!("{{% raw %}}{line}{{% endraw %}}"),
            false => line.to_string(),
        };
        let guarded: Vec<String> = text.split('\n').map(quiet).collect();
        let shown = Text { file: file.to_path_buf(), text: text.to_string() };
        let run = Arc::new(Run { asked_by: format!("`{}`", file.display()), ..Run::default() });
        let mut rendered = self.text(&guarded.join("\n"), &Origin { text: shown, line: 1, column: 1 }, &run)?;
        if text.ends_with('\n') {
            rendered.push('\n');
        }
        Ok(rendered)
    }

    /// Calls a macro by name as the project would: `generate_schema_name` and its like.
    pub fn call(&self, name: &str, arguments: &[Json], asker: Asker) -> Result<Json> {
        let run = run_of(asker, Some(self.catalogue.clone()));
        let plain = Value::from(arguments.iter().map(value::from_json).collect::<Vec<_>>());
        let origin = Origin { text: Text { file: PathBuf::from(name), text: String::new() }, line: 1, column: 1 };
        let value = self.evaluate(&format!("{name}(*arguments_)"), &origin, &run, vec![("arguments_", plain)])?;
        Ok(value::to_json(&value))
    }

    pub fn render_test(&self, test: &Test) -> Result<String> {
        let (package, kind) = match &test.kind {
            Kind::Other(name) => {
                name.split_once('.').map_or((None, name.as_str()), |(package, name)| (Some(package), name))
            }
            kind => (None, kind.name()),
        };
        let at = || Origin { text: Text { file: test.place.file.clone(), text: String::new() }, line: 0, column: 0 };
        let asker = Asker { called: format!("test `{}`", test.name), ..Asker::default() };
        let run = run_of(asker, Some(self.catalogue.clone()));
        let name = format!("test_{kind}");
        let packages = [package.unwrap_or(&self.shared.project), package.unwrap_or(BUILTIN)];
        let scope = Arc::new(Scope::new(&self.shared, &run, Vec::new()));
        let Some(definition) = packages.iter().find_map(|package| scope.macro_of(package, &name)) else {
            return Err(Error::operator(format!("unknown test `{}`", test.kind.name()))
                .at(test.place.clone())
                .hint(format!("add `{{% test {kind}(model, column_name) %}}` to the macros, or run `dbt deps`")));
        };
        let mut arguments = vec![("model".to_string(), value::RelationValue::of_tested(&test.tested, test.filter()))];
        arguments.extend(test.column.as_ref().map(|column| ("column_name".to_string(), Value::from(column.as_str()))));
        for (key, argument) in &test.arguments {
            arguments.push((key.clone(), self.argument(argument, &at(), &run)?));
        }
        let locals = vec![("test_", definition), ("arguments_", Value::from_pairs(arguments))];
        let sql = self.evaluate("test_(**arguments_)", &at(), &run, locals)?;
        Ok(sql.to_string().trim().to_string())
    }

    /// Arguments of tests may be Jinja, or a bare call such as `ref('customers')`.
    fn argument(&self, argument: &Json, origin: &Origin, run: &Arc<Run>) -> Result<Value> {
        match argument {
            Json::String(text) => {
                let bare = text.trim();
                let called = ["ref", "source", "var", "env_var"]
                    .iter()
                    .any(|function| bare.strip_prefix(function).is_some_and(|rest| rest.trim_start().starts_with('(')));
                match whole_expression(text).or((called && bare.ends_with(')')).then_some(bare)) {
                    Some(expression) => self.evaluate(expression, origin, run, Vec::new()),
                    None if text.contains("{{") || text.contains("{%") => self.text(text, origin, run).map(Value::from),
                    None => Ok(Value::from(text.as_str())),
                }
            }
            Json::Array(values) => {
                let values: Result<Vec<Value>> = values.iter().map(|value| self.argument(value, origin, run)).collect();
                values.map(Value::from)
            }
            other => Ok(value::from_json(other)),
        }
    }

    fn add_macros(&mut self, macros: &mut Macros, package: &str, text: &Text) -> Result<()> {
        for block in blocks(text)?.into_iter().filter(|block| block.kind == blocks::Kind::Macro) {
            let Block { name, text: block, line, column, .. } = block;
            let inner = inner_name(&name, &block);
            let tag = block.find("macro").map_or(0, |at| at + "macro".len());
            let template = format!("{}{}", &block[..tag], block[tag..].replacen(&name, &inner, 1));
            let id = format!("{}#{name}", text.file.display());
            let origin = Origin { text: text.clone(), line, column };
            if let Err(error) = self.env.add_template_owned(id.clone(), template.clone()) {
                return Err(fault::explain(&error, &template, &origin, []));
            }
            let twin = macros.find(package, &name).and_then(|twin| self.origins.get(&twin.template));
            if let Some((_, twin)) = twin {
                let (first, second) = (twin.text.file.display(), text.file.display());
                return Err(Error::operator(format!("two macros are named `{name}`: `{first}` and `{second}`"))
                    .at(Place::within(&text.file, &text.text, line, column, 1))
                    .hint("rename one of them"));
            }
            let takes_any = template.contains("kwargs") || template.contains("varargs");
            macros.add(package, &name, Entry { template: id.clone(), inner, takes_any });
            self.origins.insert(id, (template, origin));
        }
        Ok(())
    }

    /// A model's file. dbt strips white space from both its ends, so that none of it is in the SQL.
    fn render(&self, text: &Text, run: &Arc<Run>) -> Result<String> {
        let leading = &text.text[..text.text.len() - text.text.trim_start().len()];
        let line = leading.matches('\n').count() + 1;
        let column = leading.chars().rev().take_while(|c| *c != '\n').count() + 1;
        self.text(text.text.trim(), &Origin { text: text.clone(), line, column }, run)
    }

    fn text(&self, template: &str, origin: &Origin, run: &Arc<Run>) -> Result<String> {
        let scope = Scope::new(&self.shared, run, Vec::new());
        let name = origin.text.file.display().to_string();
        let rendered = self.env.render_named_str(&name, template, Value::from_object(scope));
        rendered.map_err(|error| self.explain(&error, &name, template, origin))
    }

    fn evaluate(
        &self,
        expression: &str,
        origin: &Origin,
        run: &Arc<Run>,
        locals: Vec<(&'static str, Value)>,
    ) -> Result<Value> {
        let scope = Value::from_object(Scope::new(&self.shared, run, locals));
        let compiled = self.env.compile_expression_owned(expression.to_string());
        compiled
            .and_then(|compiled| compiled.eval(scope))
            .map_err(|error| self.explain(&error, "<expression>", expression, origin))
    }

    /// `name` is the template that was run; the error may come from a macro it called.
    fn explain(&self, error: &minijinja::Error, name: &str, template: &str, origin: &Origin) -> Error {
        let known = Builtin::NAMES.into_iter().chain(FACTS).chain(self.shared.macros.names());
        match error.name().filter(|inner| *inner != name).and_then(|inner| self.origins.get(inner)) {
            Some((template, origin)) => fault::explain(error, template, origin, known),
            None => fault::explain(error, template, origin, known),
        }
    }
}

const FACTS: [&str; 9] =
    ["this", "model", "execute", "target", "schema", "database", "project_name", "dbt_version", "flags"];

fn run_of(asker: Asker, catalogue: Option<Arc<Catalogue>>) -> Arc<Run> {
    let Asker { called: asked_by, this, node } = asker;
    Arc::new(Run { asked_by, this, node, catalogue, seen: Default::default() })
}

fn seen(run: &Run) -> Seen {
    run.seen.lock().expect("no render panics while it notes a name").clone()
}

/// What stands between `{{` and `}}` where that is all there is.
fn whole_expression(scalar: &str) -> Option<&str> {
    let inner = scalar.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.trim_matches('-').trim();
    (!inner.contains("{{") && !inner.contains("{%")).then_some(inner)
}

/// Where a scalar stands in its file, by its text.
fn origin_in(text: &Text, scalar: &str) -> Origin {
    let (line, column) = text.text.find(scalar).map_or((1, 1), |byte| blocks::position(&text.text, byte));
    Origin { text: text.clone(), line, column }
}

/// Text that reads as a value of the wanted kind becomes that value, as dbt's filters of these names do.
fn as_native(value: &Value, wanted: fn(&Json) -> bool) -> Value {
    let text = value.to_string();
    let literal = match text.as_str() {
        "True" => "true",
        "False" => "false",
        "None" => "null",
        other => other,
    };
    match serde_json::from_str::<Json>(literal) {
        Ok(json) if wanted(&json) => value::from_json(&json),
        _ => value.clone(),
    }
}
