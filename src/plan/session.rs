//! DataFusion set up as we need it: types that rows can hold, names as dbt prints them, nothing that
//! depends on chance, statistics or the number of cores.

use super::{Relation, functions};
use crate::row::{JSON, list_of, map_of, struct_of};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{
    MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::common::Result as DfResult;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use datafusion::sql::sqlparser::ast;
use std::sync::Arc;

/// A session whose bare names resolve in `home`.
pub fn session(home: &Relation) -> SessionState {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(&home.database, &home.schema)
        .with_create_default_catalog_and_schema(false)
        .with_target_partitions(1);
    let options = config.options_mut();
    options.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    options.sql_parser.collect_spans = true;
    options.sql_parser.recursion_limit = super::deep::PARSED_MAX;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.parse_float_as_decimal = true;
    options.execution.time_zone = Some("UTC".into());
    // Two of its layers do not always agree on what may be NULL; rows tell.
    options.execution.skip_physical_aggregate_schema_check = true;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        // Before DataFusion's own: the first that plans an operator has planned it.
        .with_expr_planners(vec![Arc::new(functions::Operators)])
        .with_default_features()
        .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
        .with_type_planner(Arc::new(RowTypes))
        .with_analyzer_rules(analyzer_rules())
        .with_optimizer_rules(rules())
        .with_physical_optimizer_rules(physical_rules())
        .build();
    let variance = datafusion::functions_aggregate::variance::var_samp_udaf().as_ref().clone();
    state.register_udaf(Arc::new(variance.with_aliases(["variance"]))).expect("a session takes any function");
    for function in super::percentiles::functions().chain(super::sums::functions()) {
        state.register_udaf(function).expect("a session takes any function");
    }
    let own = [super::map::map(), super::series::series()];
    let of_time_and_chance = super::clock::functions().into_iter().chain(super::draws::functions());
    for function in own.into_iter().chain(functions::functions()).chain(of_time_and_chance) {
        state.register_udf(function).expect("a session takes any function");
    }
    state
}

/// Rules of DataFusion 53.1 that must not run: they take out sorts that `definite` has put there for good, or refuse
/// plans where they do not see that those settle an order; take columns of mark joins for others and fail; move a
/// filter that reads no column beneath a group of everything, whose one row then passes it; forget the group of NULL
/// where only the first groups are asked for (`LimitAggregation`); take one aggregate for another where they know its
/// result (`aggregate_statistics`); move an offset beneath a sort; count no rows as one group where groups are by
/// constants alone (`eliminate_group_by_constant`); and drop grouping sets over what is known to have no rows, with the
/// row for `()` too (`propagate_empty_relation`).
const RULES_LEFT_OUT: [&str; 11] = [
    "EnforceSorting",
    "SanityCheckPlan",
    "aggregate_statistics",
    "ProjectionPushdown",
    "FilterPushdown",
    "FilterPushdown(Post)",
    "LimitAggregation",
    "LimitPushPastWindows",
    "LimitPushdown",
    "eliminate_group_by_constant",
    "propagate_empty_relation",
];

/// Ours stand on both sides of the one that makes the types of operands one.
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    let coercion = rules.iter().position(|rule| rule.name() == "type_coercion").unwrap_or(rules.len());
    rules.insert(coercion, Arc::new(functions::Types));
    rules.push(Arc::new(functions::Casts));
    rules
}

fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    rules.retain(|rule| !RULES_LEFT_OUT.contains(&rule.name()));
    let marks = rules.iter().position(|rule| rule.name() == "decorrelate_predicate_subquery");
    rules.insert(marks.map_or(0, |at| at + 1), Arc::new(super::marked::MarkedWindows));
    for rule in &mut rules {
        match rule.name() {
            "push_down_filter" => *rule = Arc::new(super::totals::AboveTotals::new()),
            "single_distinct_aggregation_to_group_by" => *rule = Arc::new(super::totals::WithoutSums::new()),
            _ => {}
        }
    }
    rules
}

fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::default().rules;
    rules.retain(|rule| !RULES_LEFT_OUT.contains(&rule.name()));
    rules.insert(0, Arc::new(super::ordered::OrderedRows));
    rules
}

/// Makes `table` known under its full name, in the place of what was known under it.
pub fn register(state: &SessionState, relation: &Relation, table: Arc<dyn TableProvider>) {
    let catalogs = state.catalog_list();
    let catalog = catalogs.catalog(&relation.database).unwrap_or_else(|| {
        let catalog = Arc::new(MemoryCatalogProvider::new());
        catalogs.register_catalog(relation.database.clone(), catalog.clone());
        catalog
    });
    let schema = catalog.schema(&relation.schema).unwrap_or_else(|| {
        let schema: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
        catalog.register_schema(&relation.schema, schema.clone()).expect("a memory catalog takes any schema");
        schema
    });
    schema.deregister_table(&relation.name).expect("a memory schema forgets any table");
    schema.register_table(relation.name.clone(), table).expect("nothing has the name");
}

/// The type in which rows hold values of `data_type`; `None` where there is none.
pub fn row_form(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Null | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Date64 => DataType::Timestamp(TimeUnit::Microsecond, None),
        // Between two nodes of a plan; no column of a model has it.
        DataType::Duration(_) => DataType::Int64,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into())),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Dictionary(_, value) => return row_form(value),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => list_of(row_form(item.data_type())?),
        DataType::Struct(fields) if !fields.is_empty() => {
            let field = |f: &Arc<Field>| Some((f.name().clone(), row_form(f.data_type())?));
            struct_of(fields.iter().map(field).collect::<Option<Vec<_>>>()?)
        }
        DataType::Map(entries, false) => match entries.data_type() {
            DataType::Struct(entry) => map_of(row_form(entry[0].data_type())?, row_form(entry[1].data_type())?),
            _ => return None,
        },
        other => {
            let field = Field::new("", other.clone(), true);
            return crate::row::check_types(&Schema::new(vec![field])).is_ok().then(|| other.clone());
        }
    })
}

/// The schema in row form, or the first field that has none.
pub fn row_schema(schema: &Schema) -> Result<SchemaRef, Field> {
    let field = |f: &Arc<Field>| match row_form(f.data_type()) {
        Some(data_type) => Ok(Field::new(f.name(), data_type, true)),
        None => Err(f.as_ref().clone()),
    };
    let fields = schema.fields().iter().map(field).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// SQL's names of types mean what Postgres means by them: microseconds, JSON, and text without a view.
#[derive(Debug)]
struct RowTypes;

impl TypePlanner for RowTypes {
    fn plan_type(&self, sql_type: &ast::DataType) -> DfResult<Option<DataType>> {
        use ast::TimezoneInfo;
        Ok(match sql_type {
            ast::DataType::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
                Some(DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
            }
            ast::DataType::Timestamp(_, _) | ast::DataType::Datetime(_) => {
                Some(DataType::Timestamp(TimeUnit::Microsecond, None))
            }
            ast::DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                Some(DataType::Time64(TimeUnit::Microsecond))
            }
            ast::DataType::JSON | ast::DataType::JSONB => Some(JSON),
            _ => None,
        })
    }
}
