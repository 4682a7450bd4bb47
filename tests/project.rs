//! A dbt project as text in; models, SQL, order, selections and whole error messages out.

use driftless::error::Error;
use driftless::project::{Options, Project, Relation, Severity, SourceRef, TestKind, render_text};
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;

/// A project of these files in a folder of its own. A dbt_project.yml is added where none is given.
struct Files {
    dir: TempDir,
}

impl Files {
    fn of(files: &[(&str, &str)]) -> Files {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let usual = ("dbt_project.yml", "name: shop\nprofile: shop\n");
        for (path, text) in [usual].iter().chain(files) {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folders can be made");
            std::fs::write(path, text).expect("files can be written");
        }
        Files { dir }
    }

    fn load(&self) -> Result<Project, Error> {
        Project::load(self.dir.path(), &Options::default())
    }

    fn project(&self) -> Project {
        self.load().unwrap_or_else(|error| panic!("{}", shown(&error)))
    }

    fn error(&self) -> String {
        match self.load() {
            Ok(_) => panic!("the project loads"),
            Err(error) => shown(&error),
        }
    }
}

/// The whole of an error as a terminal would show it.
fn shown(error: &Error) -> String {
    let mut out = error.to_string();
    if let Some((line, width)) = error.place().and_then(|place| place.excerpt.clone()) {
        let column = error.place().map_or(1, |place| place.column.max(1));
        out.push_str(&format!("\n| {line}\n| {}{}", " ".repeat(column - 1), "^".repeat(width)));
    }
    if let Some(hint) = error.remedy() {
        out.push_str(&format!("\nhint: {hint}"));
    }
    out
}

fn sql(files: &[(&str, &str)], model: &str) -> String {
    Files::of(files).project().model(model).expect("the model is there").compiled_sql.clone()
}

/// One model's text to its SQL.
fn render(text: &str) -> String {
    sql(&[("models/m.sql", text)], "m")
}

fn names(project: &Project) -> Vec<&str> {
    project.models.iter().map(|model| model.name.as_str()).collect()
}

const SHOP: &[(&str, &str)] = &[
    (
        "dbt_project.yml",
        "name: shop\nprofile: shop\nvars:\n  since: 2020\nmodels:\n  shop:\n    +materialized: table\n    +tags: nightly\n    staging:\n      materialized: view\n      +tags: [raw]\n    marts:\n      +schema: marts\n",
    ),
    ("models/staging/stg_orders.sql", "select * from {{ source('raw', 'orders') }}\n"),
    ("models/staging/stg_customers.sql", "select * from {{ source('raw', 'customers') }}\n"),
    (
        "models/marts/orders.sql",
        "{{ config(materialized='incremental', unique_key='id', tags=['core']) }}\nselect o.*\nfrom {{ ref('stg_orders') }} o\njoin {{ ref('shop', 'stg_customers') }} c on c.id = o.customer_id\n{% if is_incremental() %}\nwhere id > (select max(id) from {{ this }})\n{% endif %}\n",
    ),
    ("models/marts/revenue.sql", "select sum(amount) from {{ ref('orders') }} where year >= {{ var('since') }}\n"),
    ("models/marts/countries.sql", "select * from {{ ref('country_codes') }}\n"),
    ("seeds/country_codes.csv", "code,name\nde,Germany\n"),
    (
        "models/schema.yml",
        "version: 2\nsources:\n  - name: raw\n    schema: app\n    tables:\n      - name: orders\n        identifier: t_orders\n        columns:\n          - name: id\n            tests: [unique]\n      - name: customers\nmodels:\n  - name: orders\n    description: One row per order.\n    config:\n      meta: {owner: finance}\n    columns:\n      - name: id\n        description: The key.\n        data_type: bigint\n        data_tests:\n          - not_null\n          - unique:\n              config: {severity: warn, where: id > 0}\n      - name: status\n        tests:\n          - accepted_values:\n              arguments:\n                values: [placed, shipped]\n                quote: true\n      - name: customer_id\n        tests:\n          - relationships:\n              to: ref('stg_customers')\n              field: id\n",
    ),
];

#[test]
fn a_project_loads_with_models_parents_first() {
    let project = Files::of(SHOP).project();
    assert_eq!(names(&project), ["countries", "stg_customers", "stg_orders", "orders", "revenue"]);
    assert_eq!(project.warnings, Vec::<String>::new());
    let orders = project.model("orders").expect("orders is there");
    assert_eq!(orders.unique_id, "model.shop.orders");
    assert_eq!(orders.path, Path::new("models/marts/orders.sql"));
    assert_eq!(
        orders.compiled_sql,
        "\nselect o.*\nfrom \"shop\".\"public\".\"stg_orders\" o\njoin \"shop\".\"public\".\"stg_customers\" c on c.id = o.customer_id\n"
    );
    assert_eq!(orders.depends_on_models, ["model.shop.stg_orders", "model.shop.stg_customers"]);
    assert_eq!(orders.relation.to_string(), "\"shop\".\"public_marts\".\"orders\"");
    assert_eq!(orders.description, "One row per order.");
    assert_eq!(orders.columns[0].data_type.as_deref(), Some("bigint"));
    let stg = project.model("model.shop.stg_orders").expect("found by unique id");
    assert_eq!(stg.compiled_sql, "select * from \"shop\".\"app\".\"t_orders\"");
    assert_eq!(stg.depends_on_sources, [SourceRef { source: "raw".into(), table: "orders".into() }]);
    let countries = project.model("countries").expect("countries is there");
    assert_eq!(countries.depends_on_seeds, ["seed.shop.country_codes"]);
    assert_eq!(
        project.model("revenue").expect("revenue is there").compiled_sql.lines().last().unwrap_or_default(),
        "select sum(amount) from \"shop\".\"public_marts\".\"orders\" where year >= 2020"
    );
    let source = project.source(&stg.depends_on_sources[0]).expect("the source is there");
    assert_eq!(source.unique_id, "source.shop.raw.orders");
    assert_eq!(source.tests[0].name, "source_unique_raw_orders_id");
}

#[test]
fn config_gathers_from_tree_properties_and_model() {
    let project = Files::of(SHOP).project();
    let of = |name: &str| project.model(name).expect("the model is there").config.clone();
    assert_eq!(of("stg_orders").materialized(), "view");
    assert_eq!(of("stg_orders").tags(), ["nightly", "raw"]);
    assert_eq!(of("revenue").materialized(), "table");
    assert_eq!(of("orders").materialized(), "incremental");
    assert_eq!(of("orders").tags(), ["nightly", "core"]);
    assert_eq!(of("orders").unique_key(), ["id"]);
    assert_eq!(of("orders").schema(), Some("marts"));
    assert_eq!(of("orders").meta().and_then(|meta| meta.get("owner")), Some(&json!("finance")));
    assert_eq!(of("orders").partition_by(), None);
}

#[test]
fn config_takes_a_dictionary_and_keeps_unknown_keys() {
    let files =
        [("models/m.sql", "{{ config({'alias': 'mm', 'partition_by': {'field': 'd'}, 'engine': 'x'}) }}select 1")];
    let project = Files::of(&files).project();
    let model = project.model("m").expect("m is there");
    assert_eq!(model.relation.identifier, "mm");
    assert_eq!(model.config.partition_by(), Some(&json!({"field": "d"})));
    assert_eq!(model.config.get("engine"), Some(&json!("x")));
    assert_eq!(model.compiled_sql, "select 1");
}

#[test]
fn a_disabled_model_is_left_out_and_cannot_be_read() {
    let off = ("models/off.sql", "{{ config(enabled=false) }}select 1");
    assert!(Files::of(&[off]).project().models.is_empty());
    let error = Files::of(&[off, ("models/on.sql", "select *\nfrom {{ ref('off') }}")]).error();
    assert_eq!(
        error,
        "models/on.sql:2:9: model `on` depends on a node named `off` which is disabled, while trying to render model `on`\n| from {{ ref('off') }}\n|         ^^^^^^^^^^\nhint: set `enabled: true` on `off`, or stop reading it"
    );
}

#[test]
fn profiles_name_the_target() {
    let profile = "shop:\n  target: \"{{ env_var('NO_SUCH_VARIABLE_7', 'prod') }}\"\n  outputs:\n    dev: {type: postgres, dbname: d, schema: dev, password: \"{{ env_var('NO_SUCH_VARIABLE_7') }}\"}\n    prod: {type: duckdb, database: warehouse, schema: main, threads: 4}\n";
    let model = "select '{{ target.name }}', '{{ target.type }}', {{ target.threads }} -- {{ this }}";
    let files = Files::of(&[("profiles.yml", profile), ("models/m.sql", model)]);
    let sql_for = |target: Option<&str>| {
        let options = Options {
            target: target.map(str::to_string),
            profiles_dir: Some(files.dir.path().into()),
            ..Options::default()
        };
        Project::load(files.dir.path(), &options).map(|project| project.models[0].compiled_sql.clone())
    };
    assert_eq!(sql_for(None).expect("it loads"), "select 'prod', 'duckdb', 4 -- \"warehouse\".\"main\".\"m\"");
    let project = Project::load(
        Files::of(&[("profiles.yml", profile)]).dir.path(),
        &Options { target: Some("dev".into()), ..Options::default() },
    );
    assert_eq!(project.expect("it loads").target.schema, "dev");
    let error = sql_for(Some("prd")).expect_err("there is no such target");
    assert_eq!(shown(&error), "profiles.yml: profile `shop` has no target `prd`\nhint: did you mean `prod`?");
}

#[test]
fn without_profiles_the_project_names_its_database() {
    let project = Files::of(&[("models/m.sql", "select 1")]).project();
    assert_eq!(
        project.models[0].relation,
        Relation { database: "shop".into(), schema: "public".into(), identifier: "m".into() }
    );
    assert_eq!((project.target.name.as_str(), project.target.kind.as_str()), ("dev", "postgres"));
}

#[test]
fn white_space_at_both_ends_is_dropped_as_in_dbt() {
    assert_eq!(render("\n\n  select 1\n\n"), "select 1");
    assert_eq!(render("select 1 -- {{ 'x' }}\n"), "select 1 -- x");
}

#[test]
fn jinja_speaks_python() {
    let cases = [
        ("{{ 'a,b'.split(',') }}", "['a', 'b']"),
        ("{{ ' x '.strip() ~ 'Ab'.lower() ~ 'ab'.upper() }}", "xabAB"),
        ("{{ 'a-b'.replace('-', '_') }}", "a_b"),
        ("{{ '{}: {n}'.format('x', n=1) }}", "x: 1"),
        ("{{ 'stg_x'.startswith('stg_') and 'x.sql'.endswith('.sql') }}", "True"),
        ("{{ ', '.join(['a', 'b']) }}", "a, b"),
        ("{{ {'a': 1}.get('a') }} {{ {'a': 1}.get('b', 2) }} {{ {}.get('x') }}", "1 2 None"),
        ("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{{ ',' if not loop.last }}{% endfor %}", "a1,b2"),
        ("{{ {'a': 1}.keys() | list }}{{ {'a': 1}.values() | list }}", "['a'][1]"),
        ("{% set xs = [1, 2] + [3] %}{{ xs }}", "[1, 2, 3]"),
        ("{% for i in range(5) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ none }} {{ true }} {{ 1.0 }}", "None True 1.0"),
        ("{{ execute }} {{ is_incremental() }} {{ var('x', 'y') }}", "True False y"),
        ("{{ this.schema }}.{{ this.identifier }} {{ this.include(database=false) }}", "public.m \"public\".\"m\""),
        ("{{ adapter.quote('id') }} {{ tojson({'a': [1]}) }} {{ fromjson('[1]')[0] }}", "\"id\" {\"a\":[1]} 1"),
        ("{% do log('x', info=true) %}{{ env_var('NO_SUCH_VARIABLE_7', 'd') }}", "d"),
        ("{{ '3' | as_number + 1 }} {{ 'true' | as_bool }}", "4 True"),
        ("{% set sql %}select 1{% endset %}{{ sql }}", "select 1"),
    ];
    for (text, expected) in cases {
        assert_eq!(render(text), expected, "{text}");
    }
}

#[test]
fn changing_a_list_in_place_is_refused() {
    let error = Files::of(&[("models/m.sql", "{% set xs = [] %}\n{% do xs.append(1) %}")]).error();
    assert_eq!(
        error,
        "models/m.sql:2:9: `append` changes a value in place, which is not supported, while trying to render model `m`\n| {% do xs.append(1) %}\n|         ^^^^^^^^^^\nhint: build a new one, as in `{% set names = names + ['x'] %}`"
    );
}

#[test]
fn macros_see_each_other_and_return_values() {
    let macros = "{% macro cents(column, scale=2) %}round({{ column }} / 100.0, {{ scale }}){% endmacro %}\n\
        {% macro columns() %}{{ return(['a', 'b']) }}{% endmacro %}\n\
        {% macro listed() %}{%- for c in columns() -%}{{ cents(c, scale=3) }}{{ ', ' if not loop.last }}{%- endfor -%}{% endmacro %}\n\
        {% macro any() %}{{ varargs | length }}{{ kwargs.get('k') }}{% endmacro %}\n\
        {% macro wrap() %}<{{ caller() }}>{% endmacro %}\n\
        {% macro fact(n) %}{% if n < 2 %}{{ return(1) }}{% endif %}{{ return(n * fact(n - 1)) }}{% endmacro %}\n\
        {% macro source_of() %}{{ ref('up') }}{% endmacro %}\n";
    let model = "select {{ listed() }}, {{ any(1, 2, k='v') }} {% call wrap() %}in{% endcall %} {{ fact(5) }} from {{ source_of() }}";
    let files = [("macros/m.sql", macros), ("models/m.sql", model), ("models/up.sql", "select 1")];
    let project = Files::of(&files).project();
    let m = project.model("m").expect("m is there");
    assert_eq!(
        m.compiled_sql,
        "select round(a / 100.0, 3), round(b / 100.0, 3), 2v <in> 120 from \"shop\".\"public\".\"up\""
    );
    assert_eq!(m.depends_on_models, ["model.shop.up"]);
}

#[test]
fn packages_bring_macros_and_dispatch_finds_the_adapter() {
    let package = "{% macro key(a) %}{{ return(adapter.dispatch('key', 'keys')(a)) }}{% endmacro %}\n\
        {% macro default__key(a) %}md5({{ inner(a) }}){% endmacro %}\n{% macro inner(a) %}{{ a }} || '{{ var('salt') }}'{% endmacro %}\n\
        {% materialization odd, default %}{% endmaterialization %}";
    let files = [
        ("dbt_packages/keys/dbt_project.yml", "name: keys\nvars: {salt: s}\n"),
        ("dbt_packages/keys/macros/key.sql", package),
        ("models/m.sql", "select {{ keys.key('id') }}"),
    ];
    assert_eq!(sql(&files, "m"), "select md5(id || 's')");
    let own = ("macros/mine.sql", "{% macro postgres__key(a) %}sha({{ a }}){% endmacro %}");
    assert_eq!(sql(&[files[0], files[1], files[2], own], "m"), "select sha(id)");
}

#[test]
fn a_project_names_its_schemas_and_may_replace_ref() {
    let macros = "{% macro generate_schema_name(custom_schema_name, node) -%}\n{% if custom_schema_name %}{{ custom_schema_name }}{% else %}{{ target.schema }}{% endif %}\n{%- endmacro %}\n\
        {% macro ref(name) %}{{ return(builtins.ref(name).include(database=false)) }}{% endmacro %}";
    let files = [
        ("macros/m.sql", macros),
        ("models/a.sql", "{{ config(schema='marts') }}select 1"),
        ("models/b.sql", "select * from {{ ref('a') }}"),
    ];
    assert_eq!(sql(&files, "b"), "select * from \"marts\".\"a\"");
}

#[test]
fn jinja_mistakes_are_shown_where_they_stand() {
    let cases = [
        (
            "select 1,\n  {{ ref('x' }}",
            "models/m.sql:2:14: bad jinja: unexpected `}`, expected `,`, while trying to render model `m`\n|   {{ ref('x' }}\n|              ^",
        ),
        (
            "\n\nselect {{ colour }}",
            "models/m.sql:3:11: unknown variable `colour`, while trying to render model `m`\n| select {{ colour }}\n|           ^^^^^^",
        ),
        (
            "select {{ surogate_key('a') }}",
            "models/m.sql:1:11: unknown macro `surogate_key`, while trying to render model `m`\n| select {{ surogate_key('a') }}\n|           ^^^^^^^^^^^^^^^^^\nhint: did you mean `surrogate_key`?",
        ),
        (
            "select {{ var('sinc') }}",
            "models/m.sql:1:11: variable `sinc` is not set, while trying to render model `m`\n| select {{ var('sinc') }}\n|           ^^^^^^^^^^^\nhint: did you mean `since`?",
        ),
        (
            "select {{ broken() }}",
            "macros/m.sql:3:24: unknown variable `nothing`, while trying to render model `m`\n| {% macro broken() %}{{ nothing }}{% endmacro %}\n|                        ^^^^^^^",
        ),
        (
            "select {{ refuse() }}",
            "macros/m.sql:4:34: no such luck, while trying to render model `m`\n| {% macro refuse() %}{{ exceptions.raise_compiler_error('no such luck') }}{% endmacro %}\n|                                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
        ),
        (
            "select {{ endless() }}",
            "macros/m.sql:5:25: macros call each other more than 50 deep, while trying to render model `m`\n| {% macro endless() %}{{ endless() }}{% endmacro %}\n|                         ^^^^^^^^^",
        ),
    ];
    let macros = "{% macro surrogate_key(a) %}{{ a }}{% endmacro %}\n\n{% macro broken() %}{{ nothing }}{% endmacro %}\n{% macro refuse() %}{{ exceptions.raise_compiler_error('no such luck') }}{% endmacro %}\n{% macro endless() %}{{ endless() }}{% endmacro %}\n";
    let project = "name: shop\nvars: {since: 1}\n";
    for (text, expected) in cases {
        let files = [("dbt_project.yml", project), ("macros/m.sql", macros), ("models/m.sql", text)];
        assert_eq!(Files::of(&files).error(), expected);
    }
}

#[test]
fn unknown_names_are_told_with_the_nearest() {
    let base = [SHOP[0], SHOP[1], SHOP[2], SHOP[7]];
    let error_of = |text: &str| Files::of(&[base[0], base[1], base[2], base[3], ("models/m.sql", text)]).error();
    assert_eq!(
        error_of("select *\nfrom {{ ref('stg_order') }}"),
        "models/m.sql:2:9: model `m` depends on a node named `stg_order` which was not found, while trying to render model `m`\n| from {{ ref('stg_order') }}\n|         ^^^^^^^^^^^^^^^^\nhint: did you mean `stg_orders`?"
    );
    assert_eq!(
        error_of("select * from {{ source('raw', 'ordres') }}"),
        "models/m.sql:1:18: model `m` depends on a source named `raw.ordres` which was not found, while trying to render model `m`\n| select * from {{ source('raw', 'ordres') }}\n|                  ^^^^^^^^^^^^^^^^^^^^^^^\nhint: did you mean `raw.orders`?"
    );
    assert_eq!(
        error_of("select * from {{ ref('other', 'stg_orders') }}").lines().next(),
        Some(
            "models/m.sql:1:18: model `m` depends on a node named `other.stg_orders` which was not found, while trying to render model `m`"
        )
    );
}

#[test]
fn a_circle_names_its_files() {
    let files = [
        ("models/a.sql", "select * from {{ ref('c') }}"),
        ("models/b.sql", "select * from {{ ref('a') }}"),
        ("models/c.sql", "select * from {{ ref('b') }}"),
        ("models/d.sql", "select * from {{ ref('c') }}"),
    ];
    assert_eq!(
        Files::of(&files).error(),
        "models/a.sql: models depend on each other in a circle: `models/a.sql` -> `models/b.sql` -> `models/c.sql` -> `models/a.sql`\nhint: let one of them read what the other reads instead of the other itself"
    );
    assert_eq!(
        Files::of(&[("models/a.sql", "select * from {{ ref('a') }}")]).error().lines().next(),
        Some("models/a.sql: models depend on each other in a circle: `models/a.sql` -> `models/a.sql`")
    );
}

#[test]
fn twins_are_refused_with_both_files() {
    let same_name = [("models/a/x.sql", "select 1"), ("models/b/x.sql", "select 2")];
    assert_eq!(
        Files::of(&same_name).error(),
        "models/b/x.sql: two models are named `x`: `models/a/x.sql` and `models/b/x.sql`\nhint: rename one of them, or give it `enabled: false`"
    );
    let same_relation = [("models/x.sql", "select 1"), ("models/y.sql", "{{ config(alias='x') }}select 2")];
    assert_eq!(
        Files::of(&same_relation).error(),
        "models/y.sql: two models write to \"shop\".\"public\".\"x\": `models/x.sql` and `models/y.sql`\nhint: give one of them an `alias` or a `schema` of its own"
    );
    let described = "models: [{name: x}]\n";
    let twice = [("models/x.sql", "select 1"), ("models/a.yml", described), ("models/b.yml", described)];
    assert_eq!(
        Files::of(&twice).error().lines().next(),
        Some("models/b.yml: model `x` is described twice: in `models/a.yml` and in `models/b.yml`")
    );
    let source = "sources:\n  - name: raw\n    tables:\n      - name: t\n";
    assert_eq!(
        Files::of(&[("models/a.yml", source), ("models/b.yml", source)]).error(),
        "models/b.yml: source `raw.t` stands twice: in `models/a.yml` and in `models/b.yml`\nhint: keep one of the two"
    );
    let macros = "{% macro m() %}{% endmacro %}";
    assert_eq!(
        Files::of(&[("macros/a.sql", macros), ("macros/b.sql", macros)]).error().lines().next(),
        Some("macros/b.sql:1:1: two macros are named `m`: `macros/a.sql` and `macros/b.sql`")
    );
}

#[test]
fn yaml_mistakes_are_shown_where_they_stand() {
    let cases = [
        (
            "models:\n  - name: m\n    description: one\n    description: two\n",
            "models/s.yml:4:5: bad yaml: the key `description` stands twice in one mapping\n|     description: two\n|     ^^^^^^^^^^^\nhint: remove one of the two",
        ),
        (
            "models:\n  - name: m\n   description: x\n",
            "models/s.yml:3:4: bad yaml: did not find expected '-' indicator\n|    description: x\n|    ^",
        ),
        ("- a\n", "models/s.yml: the file must hold `key: value` pairs"),
        ("models: {name: m}\n", "models/s.yml: `models` of the file must be a list, and is a mapping"),
        ("models:\n  - description: x\n", "models/s.yml: an entry of `models` has no `name`"),
        (
            "models:\n  - name: m\n    columns: [id]\n",
            "models/s.yml: an entry of `columns` of model `m` must be a mapping, and is text",
        ),
        (
            "models:\n  - name: m\n    tests: [unique]\n    data_tests: [unique]\n",
            "models/s.yml: model `m` has both `tests` and `data_tests`\nhint: keep `data_tests`",
        ),
        (
            "models:\n  - name: m\n    tests:\n      - unique:\n        column_name: id\n",
            "models/s.yml: a test of model `m` must have one name, and has `unique`, `column_name`\nhint: indent what belongs to the test one step further",
        ),
        (
            "models:\n  - name: m\n    tests:\n      - unique: {column_name: id, severity: fatal}\n",
            "models/s.yml: severity `fatal` of a test of `m` is not known\nhint: write `warn` or `error`",
        ),
        (
            "models:\n  - name: m\n    config:\n      schema: \"{{ env_var('NO_SUCH_VARIABLE_7') }}\"\n",
            "models/s.yml:4:19: environment variable `NO_SUCH_VARIABLE_7` is not set\n|       schema: \"{{ env_var('NO_SUCH_VARIABLE_7') }}\"\n|                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\nhint: set it, or give a default: `env_var('NO_SUCH_VARIABLE_7', '…')`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Files::of(&[("models/m.sql", "select 1"), ("models/s.yml", text)]).error(), expected, "{text}");
    }
}

#[test]
fn unknown_keys_are_told_once_per_class() {
    let yaml = "version: 2\nmodels:\n  - name: m\n    owner: me\n    columns:\n      - {name: a, pii: true}\n      - {name: b, pii: false}\n  - name: gone\n";
    let files = [("models/m.sql", "select 1"), ("models/p.py", "x"), ("models/s.yml", yaml)];
    assert_eq!(
        Files::of(&files).project().warnings,
        [
            "python models are not supported: models/p.py is left out",
            "models/s.yml:8:5: there is no model `gone` to describe",
            "unknown key `owner` of a model is ignored (models/s.yml)",
            "unknown key `pii` of a column is ignored (models/s.yml and 1 more)",
        ]
    );
}

#[test]
fn a_folder_without_a_project_says_so() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let error = Project::load(dir.path(), &Options::default()).err().expect("there is no project");
    let expected = format!(
        "no dbt_project.yml in `{}`\nhint: name the folder of a dbt project with `--project-dir`",
        dir.path().display()
    );
    assert_eq!(shown(&error), expected);
}

#[test]
fn yaml_is_rendered_and_descriptions_find_their_docs() {
    let files = [
        ("models/docs.md", "# About\n{% docs about_m %}\nAll of **m**, even {{ this }}.\n{% enddocs %}\n"),
        ("models/m.sql", "select * from {{ source('raw', 't') }}"),
        (
            "models/s.yml",
            "models:\n  - name: m\n    description: \"{{ doc('about_m') }}\"\n    config: {enabled: \"{{ var('on', true) }}\"}\nsources:\n  - name: raw\n    database: \"{{ var('db', 'lake') }}\"\n    schema: \"s_{{ target.name }}\"\n    tables: [{name: t}, {name: off, config: {enabled: false}}]\n",
        ),
    ];
    let project = Files::of(&files).project();
    assert_eq!(project.models[0].description, "All of **m**, even {{ this }}.");
    assert_eq!(project.models[0].compiled_sql, "select * from \"lake\".\"s_dev\".\"t\"");
    assert_eq!(project.sources.len(), 1);
}

#[test]
fn variables_of_the_command_line_come_first() {
    let files = Files::of(&[
        ("dbt_project.yml", "name: shop\nvars:\n  a: 1\n  b: 1\n  shop: {b: 2, c: 2}\n"),
        ("models/m.sql", "{{ var('a') }}{{ var('b') }}{{ var('c') }}"),
    ]);
    let vars = json!({"c": 3}).as_object().cloned().unwrap_or_default();
    let project = Project::load(files.dir.path(), &Options { vars, ..Options::default() }).expect("it loads");
    assert_eq!(project.models[0].compiled_sql, "123");
}

#[test]
fn tests_select_their_failing_rows() {
    let project = Files::of(SHOP).project();
    let tests = &project.model("orders").expect("orders is there").tests;
    let told: Vec<_> = tests.iter().map(|test| (test.name.as_str(), &test.kind, test.severity)).collect();
    assert_eq!(
        told,
        [
            ("not_null_orders_id", &TestKind::NotNull, Severity::Error),
            ("unique_orders_id", &TestKind::Unique, Severity::Warn),
            ("accepted_values_orders_status__True__placed__shipped", &TestKind::AcceptedValues, Severity::Error),
            ("relationships_orders_customer_id__id__ref_stg_customers_", &TestKind::Relationships, Severity::Error),
        ]
    );
    let sql: Vec<String> = tests.iter().map(|test| test.sql(&project).expect("it compiles")).collect();
    assert_eq!(sql[0], "select id\nfrom \"shop\".\"public_marts\".\"orders\"\nwhere id is null");
    assert_eq!(
        sql[1],
        "select\n    id as unique_field,\n    count(*) as n_records\n\nfrom (select * from \"shop\".\"public_marts\".\"orders\" where id > 0) dbt_subquery\nwhere id is not null\ngroup by id\nhaving count(*) > 1"
    );
    assert_eq!(
        sql[2],
        "with all_values as (\n\n    select\n        status as value_field,\n        count(*) as n_records\n\n    from \"shop\".\"public_marts\".\"orders\"\n    group by status\n\n)\n\nselect *\nfrom all_values\nwhere value_field not in (\n    'placed','shipped'\n)"
    );
    assert_eq!(
        sql[3],
        "with child as (\n    select customer_id as from_field\n    from \"shop\".\"public_marts\".\"orders\"\n    where customer_id is not null\n),\n\nparent as (\n    select id as to_field\n    from \"shop\".\"public\".\"stg_customers\"\n)\n\nselect\n    from_field\n\nfrom child\nleft join parent\n    on child.from_field = parent.to_field\n\nwhere parent.to_field is null"
    );
}

#[test]
fn a_project_brings_its_own_tests() {
    let files = Files::of(&[
        (
            "tests/generic/positive.sql",
            "{% test positive(model, column_name, at_least=0) %}\nselect * from {{ model }} where {{ column_name }} < {{ at_least }}\n{% endtest %}",
        ),
        ("models/m.sql", "select 1 as id"),
        (
            "models/s.yml",
            "models:\n  - name: m\n    tests:\n      - odd.unique_combination: {columns: [a]}\n      - {test_name: positive, name: my_test, column_name: id}\n    columns:\n      - name: id\n        tests:\n          - positive: {at_least: \"{{ 1 + 1 }}\"}\n          - relationships: {to: ref('gone'), field: id}\n",
        ),
    ]);
    let project = files.project();
    let tests = &project.models[0].tests;
    assert_eq!(tests[0].kind, TestKind::Other("odd.unique_combination".into()));
    assert_eq!(
        shown(&tests[0].sql(&project).expect_err("nobody brings it")),
        "models/s.yml: unknown test `odd.unique_combination`, while trying to compile the test `odd_unique_combination_m_a`\nhint: add `{% test unique_combination(model, column_name) %}` to the macros, or run `dbt deps`"
    );
    assert_eq!(tests[1].name, "my_test");
    let sql = tests[2].sql(&project).expect("it compiles");
    assert_eq!(sql, "select * from \"shop\".\"public\".\"m\" where id < 2");
    assert_eq!(
        shown(&tests[3].sql(&project).expect_err("gone is gone")),
        "models/s.yml: test `relationships_m_id__id__ref_gone_` depends on a node named `gone` which was not found, while trying to compile the test `relationships_m_id__id__ref_gone_`"
    );
}

#[test]
fn selection_is_that_of_dbt() {
    let project = Files::of(SHOP).project();
    let cases: &[(&str, &str, &str)] = &[
        ("", "", "countries stg_customers stg_orders orders revenue"),
        ("orders", "", "orders"),
        ("+orders", "", "stg_customers stg_orders orders"),
        ("orders+", "", "orders revenue"),
        ("1+revenue", "", "orders revenue"),
        ("2+revenue+1", "", "stg_customers stg_orders orders revenue"),
        ("stg_orders+1", "", "stg_orders orders"),
        ("@stg_orders", "", "stg_customers stg_orders orders revenue"),
        ("orders countries", "", "countries orders"),
        ("tag:raw", "", "stg_customers stg_orders"),
        ("tag:nightly,+orders", "orders", "stg_customers stg_orders"),
        ("tag:r*", "", "stg_customers stg_orders"),
        ("path:models/marts", "", "countries orders revenue"),
        ("models/staging/stg_orders.sql", "", "stg_orders"),
        ("path:models/*/stg_*", "", "stg_customers stg_orders"),
        ("path:models/**/orders.sql", "", "orders"),
        ("orders.sql", "", "orders"),
        ("source:raw+", "", "stg_customers stg_orders orders revenue"),
        ("source:raw.orders+1", "", "stg_orders"),
        ("source:raw", "", ""),
        ("config.materialized:view", "", "stg_customers stg_orders"),
        ("config.meta.owner:finance", "", "orders"),
        ("config.unique_key:id", "", "orders"),
        ("staging", "", "stg_customers stg_orders"),
        ("shop.marts", "", "countries orders revenue"),
        ("fqn:shop.staging.stg_orders", "", "stg_orders"),
        ("stg_*", "", "stg_customers stg_orders"),
        ("marts.*", "", "countries orders revenue"),
        ("stg_[a-c]*", "", "stg_customers"),
        ("stg_?rders", "", "stg_orders"),
        ("country_codes+", "", "countries"),
        ("package:shop", "tag:raw countries", "orders revenue"),
        ("resource_type:model", "marts", "stg_customers stg_orders"),
        ("nothing_like_it", "", ""),
    ];
    for (select, exclude, expected) in cases {
        let list = |text: &str| if text.is_empty() { vec![] } else { vec![text.to_string()] };
        let chosen =
            project.select(&list(select), &list(exclude)).unwrap_or_else(|e| panic!("{select}: {}", shown(&e)));
        let chosen: Vec<&str> = chosen.iter().map(|model| model.name.as_str()).collect();
        assert_eq!(chosen.join(" "), *expected, "--select {select} --exclude {exclude}");
    }
    let fault = |text: &str| shown(&project.select(&[text.to_string()], &[]).expect_err("it is refused"));
    assert_eq!(
        fault("tga:nightly"),
        "unknown selection method `tga`, while trying to read the selector `tga:nightly`\nhint: did you mean `tag`?"
    );
    assert_eq!(
        fault("@orders+"),
        "bad selector `@orders+`: `@` already takes the children\nhint: leave out either `@` or `+`"
    );
    assert_eq!(fault("tag:"), "bad selector `tag:`: it names nothing\nhint: name a model, a `tag:` or a `path:`");
}

#[test]
fn a_place_of_the_sql_leads_back_to_the_file() {
    let raw = "{{ config(materialized='table') }}\n\nselect\n    a,\n    b\nfrom {{ ref('up') }} u\njoin {{ source('raw', 't') }} t on t.id = u.{{ var('id', 'identifier') }} and x = 1\n{% for c in ['p', 'q'] %}\nwhere {{ c }} > 0\n{% endfor %}\n{{ tail() }}\n";
    let files = Files::of(&[
        ("models/m.sql", raw),
        ("models/up.sql", "select 1"),
        ("models/s.yml", "sources: [{name: raw, tables: [{name: t}]}]"),
        ("macros/t.sql", "{% macro tail() %}\ngroup by 1\norder by 2\n{% endmacro %}"),
    ]);
    let project = files.project();
    let model = project.model("m").expect("m is there");
    let lines: Vec<&str> = model.compiled_sql.lines().collect();
    let trace = |needle: &str| {
        let (at, line) = lines.iter().enumerate().find(|(_, line)| line.contains(needle)).expect("the needle is there");
        let column = line.find(needle).expect("the needle is in the line") + 1;
        let place = model.place_in_raw(at + 1, column);
        let (text, width) = place.excerpt.clone().expect("the place shows its line");
        let marked: String = text.chars().skip(place.column - 1).take(width).collect();
        (place.line, place.column, marked)
    };
    let told = |line: usize, column: usize, marked: &str| (line, column, marked.to_string());
    assert_eq!(trace("a,"), told(4, 5, "a"));
    assert_eq!(trace("\"up\""), told(6, 6, "{{ ref('up') }}"));
    assert_eq!(trace("u"), told(6, 6, "{{ ref('up') }}"));
    assert_eq!(trace("t on t.id"), told(7, 31, "t"));
    assert_eq!(trace("identifier and"), told(7, 45, "{{ var('id', 'identifier') }}"));
    assert_eq!(trace("x = 1"), told(7, 79, "x"));
    assert_eq!(trace("q > 0"), told(9, 7, "{{ c }}"));
    assert_eq!(trace("order by 2"), told(11, 1, "{{ tail() }}"));
    assert_eq!(model.place_in_raw(900, 7).to_string(), "models/m.sql:1:1");
    assert_eq!(model.place_in_raw(0, 0).to_string(), "models/m.sql:1:1");
    for line in 0..30 {
        for column in 0..200 {
            let place = model.place_in_raw(line, column);
            assert!(place.line >= 1 && place.line <= raw.lines().count());
        }
    }
}

#[test]
fn the_definition_is_what_the_sql_means() {
    let hash_of = |m: &str, up: &str| {
        let project = Files::of(&[("models/m.sql", m), ("models/up.sql", up)]).project();
        project.model("m").expect("m is there").definition_hash()
    };
    let base = hash_of("select a from {{ ref('up') }} where b = 'x  y'", "select 1");
    assert_eq!(base.len(), 32);
    assert!(base.chars().all(|c| c.is_ascii_hexdigit()));
    let same = "{{ config(tags='t') }}\n-- what for\nselect  a /* b /* c */ */\nfrom {{ ref('up') }}\n where b = 'x  y' -- end";
    assert_eq!(hash_of(same, "select 2"), base);
    for other in ["select a from {{ ref('up') }} where b = 'x y'", "select b from {{ ref('up') }} where b = 'x  y'"] {
        assert_ne!(hash_of(other, "select 1"), base, "{other}");
    }
    assert_ne!(hash_of("select a from {{ ref('up') }} where b = 'x  y'", "{{ config(alias='v') }}select 1"), base);
    assert_ne!(hash_of("select '--a'", "select 1"), hash_of("select '--b'", "select 1"));
    assert_ne!(hash_of("select $$ a  b $$", "select 1"), hash_of("select $$ a b $$", "select 1"));
}

#[test]
fn our_own_files_take_their_secrets_from_the_environment() {
    let file = Path::new("driftless.yml");
    let package = env!("CARGO_PKG_NAME");
    let text = "# {{ env_var('NO_SUCH_VARIABLE_7') }}\nuser: {{ env_var('CARGO_PKG_NAME') }}\nport: {{ env_var('NO_SUCH_VARIABLE_7', '5432') }}\n";
    let expected = format!("# {{{{ env_var('NO_SUCH_VARIABLE_7') }}}}\nuser: {package}\nport: 5432\n");
    assert_eq!(render_text(text, file).expect("it renders"), expected);
    let error = render_text("a: 1\npassword: {{ env_var('NO_SUCH_VARIABLE_7') }}\n", file).expect_err("it is not set");
    assert_eq!(
        shown(&error),
        "driftless.yml:2:14: environment variable `NO_SUCH_VARIABLE_7` is not set\n| password: {{ env_var('NO_SUCH_VARIABLE_7') }}\n|              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\nhint: set it, or give a default: `env_var('NO_SUCH_VARIABLE_7', '…')`"
    );
    let project = Files::of(SHOP).project();
    assert_eq!(project.render_text("since: {{ var('since') }}", file).expect("it renders"), "since: 2020");
}
