//! Macros of all packages under one roof, and the call of one.
//!
//! A macro runs in a state of its own, so that it sees the names of the project and of its own package
//! but nothing its caller has set, and so that `return` can hand back a value instead of text.

use super::fault::{Returned, spoken};
use super::scope::Scope;
use super::value::{fit, join_arguments, split_arguments};
use minijinja::value::{Object, ObjectRepr, Rest, ValueOrKwargs};
use minijinja::{Error, State, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The package of the macros that come with us.
pub const BUILTIN: &str = "dbt";

#[derive(Debug, Default)]
pub struct Macros {
    packages: BTreeMap<String, BTreeMap<String, Entry>>,
}

#[derive(Clone, Debug)]
pub struct Entry {
    /// The name under which the environment knows the template.
    pub template: String,
    /// What the macro is called inside its template. Not by its name: calling itself, it would otherwise
    /// stay inside its own state, and a `return` in there would leave the outermost call.
    pub inner: String,
    /// Jinja hands surplus arguments only to a macro that mentions them.
    pub takes_any: bool,
}

impl Macros {
    pub fn add(&mut self, package: &str, name: &str, entry: Entry) {
        self.packages.entry(package.to_string()).or_default().insert(name.to_string(), entry);
    }

    pub fn find(&self, package: &str, name: &str) -> Option<&Entry> {
        self.packages.get(package)?.get(name)
    }

    pub fn has_package(&self, package: &str) -> bool {
        self.packages.contains_key(package)
    }

    pub fn names(&self) -> BTreeSet<&str> {
        self.packages.values().flat_map(|macros| macros.keys().map(String::as_str)).collect()
    }
}

/// A macro as a value of the template that names it.
pub struct MacroValue {
    pub package: String,
    pub name: String,
    pub entry: Entry,
    pub scope: Arc<Scope>,
}

impl MacroValue {
    fn run(&self, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let (plain, mut named) = split_arguments(args);
        for (_, value) in named.iter_mut().filter(|(name, _)| name == "caller") {
            // The block of `{% call %}` belongs to the caller's state and cannot be taken into ours.
            let text = value.call(state, &[])?;
            *value = Value::from_function(move |_: Rest<ValueOrKwargs>| text.clone());
        }
        let template = state.env().get_template(&self.entry.template)?;
        let empty = self.scope.within(&self.package, Vec::new(), Vec::new())?;
        let declared = template.render_captured(Value::from_object(empty))?;
        let definition = declared.state().lookup(&self.entry.inner).unwrap_or_default();
        let names: Vec<String> = definition.get_attr("arguments")?.try_iter()?.map(|name| name.to_string()).collect();
        let takes = |name: &str| name == "caller" || names.iter().any(|known| known == name);
        let (mut surplus, mut surplus_named) = (Vec::new(), Vec::new());
        let (mut plain, mut named) = (plain, named);
        if self.entry.takes_any {
            surplus = plain.split_off(names.len().min(plain.len()));
            surplus_named = named.extract_if(.., |(name, _)| !takes(name)).collect();
        }
        let inner = self.scope.within(&self.package, surplus, surplus_named)?;
        let mut captured = template.render_captured(Value::from_object(inner))?;
        let args = join_arguments(plain, named);
        captured.with_state_mut(|state| match state.lookup(&self.entry.inner) {
            Some(definition) => definition.call(state, &args),
            None => Err(spoken(format!("macro `{}` is empty", self.name), None)),
        })
    }
}

impl Object for MacroValue {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let result = self.run(state, args);
        let returned = |error: &Error| {
            let source = std::error::Error::source(error)?;
            source.downcast_ref::<Returned>().map(|returned| returned.0.clone())
        };
        result.or_else(|error| returned(&error).ok_or(error))
    }
}

impl fmt::Debug for MacroValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<macro {}.{}>", self.package, self.name)
    }
}

/// A name of the same length that the text does not use, so that columns in messages stay right.
pub fn inner_name(name: &str, text: &str) -> String {
    let rest = name.get(1..).unwrap_or_default();
    let names = ('A'..='Z').map(|first| format!("{first}{rest}"));
    names.into_iter().find(|inner| !text.contains(inner)).unwrap_or_else(|| format!("{name}_"))
}

/// `dbt_utils` in `dbt_utils.star(…)`.
#[derive(Debug)]
pub struct PackageValue {
    pub package: String,
    pub scope: Arc<Scope>,
}

impl Object for PackageValue {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.scope.macro_of(&self.package, key.as_str()?)
    }

    fn call_method(self: &Arc<Self>, state: &mut State<'_, '_>, name: &str, args: &[Value]) -> Result<Value, Error> {
        match self.scope.macro_of(&self.package, name) {
            Some(found) => found.call(state, args),
            None => Err(spoken(format!("unknown macro `{}.{name}`", self.package), None)),
        }
    }
}

/// The first of `<adapter>__name`, `default__name` in the packages dbt would look through.
pub fn dispatch(scope: &Arc<Scope>, args: &[Value]) -> Result<Value, Error> {
    let [name, namespace] = fit("adapter.dispatch", ["macro_name", "macro_namespace"], args)?;
    let name = name.unwrap_or_default().to_string();
    let packages = match namespace.filter(|namespace| !namespace.is_none()) {
        Some(namespace) => vec![scope.root().to_string(), namespace.to_string()],
        None => vec![scope.package().to_string(), scope.root().to_string()],
    };
    let adapter = scope.adapter();
    let prefixes = match adapter.as_str() {
        "redshift" | "materialize" | "risingwave" => vec![adapter.as_str(), "postgres", "default"],
        adapter => vec![adapter, "default"],
    };
    for package in packages.iter().map(String::as_str).chain([BUILTIN]) {
        for prefix in &prefixes {
            if let Some(found) = scope.macro_of(package, &format!("{prefix}__{name}")) {
                return Ok(found);
            }
        }
    }
    let tried: Vec<String> = prefixes.iter().map(|prefix| format!("`{prefix}__{name}`")).collect();
    Err(spoken(format!("unknown macro `{name}`: neither {} is there", tried.join(" nor ")), None))
}
