//! DataFusion's optimised logical plan → our [`Node`]s.
//!
//! Only the shape of the plan is read, never statistics: the same SQL over the same schemas always gives
//! the same nodes. A projection over a filter over anything becomes one Map.

use super::compile::Input;
use super::deep::{refuse_deep_expression, refuse_deep_node};
use super::functions::shown;
use super::lengths;
use super::recursion::{Of, Recursion, Stand};
use super::refusal::Refusal;
use super::session::row_schema;
use super::{Node, Op, Program, Relation, clock};
use crate::row::Row;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{self as df, Expr, LogicalPlan};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) struct Lowering<'a> {
    /// Where names without a database or schema are.
    pub home: &'a Relation,
    pub numbers: &'a HashMap<Relation, Input>,
    /// What stands of them are of.
    pub recursions: &'a [Recursion],
    pub sql: &'a str,
}

pub(super) type Lowered<T> = Result<T, Refusal>;

impl Lowering<'_> {
    /// The whole plan of a model, whose columns must have names of their own.
    pub fn lower_model(&self, plan: &LogicalPlan) -> Lowered<Node> {
        let node = self.lower(plan)?;
        refuse_deep_node(&node)?;
        self.refuse_columns(&node.schema, plan.schema())?;
        Ok(node)
    }

    /// Columns that no table can hold; `schema` is in row form.
    pub fn refuse_columns(&self, schema: &Schema, of_plan: &DFSchema) -> Lowered<()> {
        let mut seen = std::collections::HashSet::new();
        for (field, of_plan) in schema.fields().iter().zip(of_plan.fields()) {
            if !seen.insert(field.name()) {
                let reason = format!("column `{}` appears twice in the result", field.name());
                return Err(Refusal::new(reason, "give one of them another name with `as`"));
            }
            if holds(of_plan.data_type(), &|held| matches!(held, DataType::Duration(_) | DataType::Interval(_))) {
                let reason = format!("column `{}` is a length of time, which no table can hold", field.name());
                let hint = "take its seconds, `extract(epoch from …)`, or its text, `…::text`";
                return Err(Refusal::new(reason, hint).at_words(self.sql, &[field.name()]));
            }
            if holds(field.data_type(), &|held| matches!(held, DataType::Decimal256(_, _))) {
                let reason = format!(
                    "column `{}` has type {}, and no table holds more than 38 digits",
                    field.name(),
                    field.data_type()
                );
                return Err(
                    Refusal::new(reason, "cast it to numeric(38, s) or to text").at_words(self.sql, &[field.name()])
                );
            }
        }
        Ok(())
    }

    pub fn lower(&self, plan: &LogicalPlan) -> Lowered<Node> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input),
            LogicalPlan::Subquery(subquery) => self.lower(&subquery.subquery),
            LogicalPlan::Projection(projection) => match projection.input.as_ref() {
                LogicalPlan::Filter(filter) => {
                    let node = self.filtered(&filter.input, &filter.predicate)?;
                    let (bound, predicates) = (filter.input.schema(), [&filter.predicate]);
                    self.passing(node, bound, &predicates, &projection.expr, projection.schema.as_ref())
                }
                input => {
                    let node = self.lower(input)?;
                    self.map_node(node, input.schema(), &[], &projection.expr, projection.schema.as_ref())
                }
            },
            LogicalPlan::Filter(filter) => self.filter(&filter.input, &filter.predicate),
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Distinct(df::Distinct::All(input)) => {
                let input = self.lower(input)?;
                let (key, schema) = (input.schema.fields().len(), input.schema.clone());
                Ok(Node { op: Op::Reduce { input: Box::new(input), key, aggregates: Vec::new() }, schema })
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_some() => self.sorted(sort, 0..u64::MAX),
            LogicalPlan::Sort(sort) => self.lower(&sort.input),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::EmptyRelation(empty) => {
                let rows = if empty.produce_one_row { vec![Row::empty()] } else { Vec::new() };
                Ok(Node { op: Op::Constant { rows }, schema: self.row_schema(empty.schema.as_ref())? })
            }
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Values(values) => self.values(values),
            other => Err(self.not_yet(other)),
        }
    }

    fn scan(&self, scan: &df::TableScan) -> Lowered<Node> {
        let node = self.scanned(scan)?;
        if scan.filters.is_empty() {
            return Ok(node);
        }
        let filters: Vec<&Expr> = scan.filters.iter().collect();
        self.keep(node, &scan.projected_schema, &filters)
    }

    fn scanned(&self, scan: &df::TableScan) -> Lowered<Node> {
        let all = || (0..scan.source.schema().fields().len()).collect();
        let columns = scan.projection.clone().unwrap_or_else(all);
        let schema = self.row_schema(&scan.projected_schema)?;
        match Stand::scanned(scan) {
            Some(Of::Before) => return Ok(Node { op: Op::Recurring { columns }, schema }),
            Some(Of::Recursion(number)) => {
                let recursion = self.recursion(&self.recursions[number])?;
                let program = Program::pick(recursion.schema.clone(), columns);
                let schema = program.output().clone();
                return Ok(Node { op: Op::Map { input: Box::new(recursion), program }, schema });
            }
            None => {}
        }
        let relation = self.home.resolve(&scan.table_name);
        let op = match self.numbers.get(&relation) {
            Some(Input::Table(table)) => Op::Table { table: *table, columns },
            Some(Input::Model(model)) => Op::Model { model: *model, columns },
            None => return Err(Refusal::new(format!("no relation {relation}"), "use ref() or source()")),
        };
        Ok(Node { op, schema })
    }

    fn filter(&self, input: &LogicalPlan, predicate: &Expr) -> Lowered<Node> {
        let node = self.filtered(input, predicate)?;
        self.keep(node, input.schema(), &[predicate])
    }

    /// The rows of `node` that pass `predicates`, as they are.
    fn keep(&self, node: Node, bound: &DFSchema, predicates: &[&Expr]) -> Lowered<Node> {
        let columns: Vec<Expr> = bound.columns().into_iter().map(Expr::Column).collect();
        self.passing(node, bound, predicates, &columns, bound)
    }

    pub fn map_node(
        &self,
        input: Node,
        bound: &DFSchema,
        predicates: &[&Expr],
        outputs: &[Expr],
        schema: &DFSchema,
    ) -> Lowered<Node> {
        if predicates.iter().copied().chain(outputs).any(clock::reads) {
            return self.ticking(input, bound, predicates, outputs, schema);
        }
        let mut text: Vec<String> = outputs.iter().map(|e| shown(e).human_display().to_string()).collect();
        if !predicates.is_empty() {
            text = vec![format!("{} where {}", text.join(", "), listed(predicates))];
        }
        let schema = self.row_schema(schema)?;
        let program = self.program(&input.schema, bound, predicates, outputs, schema.clone(), text.join(", "))?;
        Ok(Node { op: Op::Map { input: Box::new(input), program }, schema })
    }

    /// What filters and computes rows of `input`; `bound` names its columns.
    pub(super) fn program(
        &self,
        input: &SchemaRef,
        bound: &DFSchema,
        predicates: &[&Expr],
        outputs: &[Expr],
        schema: SchemaRef,
        text: String,
    ) -> Lowered<Program> {
        let conjuncts = predicates.iter().flat_map(|p| split_conjunction(p));
        let filters = conjuncts.map(|e| self.physical(e, bound)).collect::<Lowered<Vec<_>>>()?;
        let computed = outputs.iter().map(|e| self.physical(e, bound)).collect::<Lowered<Vec<_>>>()?;
        Ok(Program::new(input.clone(), nullable(bound.as_arrow()), filters, computed, schema, text))
    }

    fn union(&self, union: &df::Union) -> Lowered<Node> {
        let schema = self.row_schema(&union.schema)?;
        let mut inputs = Vec::new();
        for input in &union.inputs {
            let node = self.lower(input)?;
            let same = node.schema.fields().iter().zip(schema.fields()).all(|(a, b)| a.data_type() == b.data_type());
            if !same {
                let hint = "cast the columns to one type in each select";
                return Err(Refusal::new("the selects of a union have columns of different types", hint)
                    .at_words(self.sql, &["union"]));
            }
            inputs.push(node);
        }
        Ok(Node { op: Op::Union { inputs }, schema })
    }

    fn values(&self, values: &df::Values) -> Lowered<Node> {
        let nothing = DFSchema::empty();
        let one = Node { op: Op::Constant { rows: vec![Row::empty()] }, schema: Arc::new(Schema::empty()) };
        let row = |row: &Vec<Expr>| self.map_node(one.clone(), &nothing, &[], row, &values.schema);
        let inputs = values.values.iter().map(row).collect::<Lowered<Vec<_>>>()?;
        Ok(Node { op: Op::Union { inputs }, schema: self.row_schema(&values.schema)? })
    }

    fn physical(&self, e: &Expr, bound: &DFSchema) -> Lowered<Arc<dyn PhysicalExpr>> {
        let expression = create_physical_expr(e, bound, &ExecutionProps::new()).map_err(|error| match e {
            _ if contains_subquery(e) => self.subquery(),
            _ if clock::reads(e) => clock::elsewhere(self.sql),
            _ => Refusal::from_datafusion(&error, self.sql),
        })?;
        refuse_deep_expression(&expression)?;
        Ok(expression)
    }

    pub fn row_schema(&self, schema: &DFSchema) -> Lowered<SchemaRef> {
        row_schema(&lengths::in_rows(schema.as_arrow())).map_err(|field| {
            let reason = format!("column `{}` has type {}, which is not kept yet", field.name(), field.data_type());
            Refusal::new(reason, "cast it to text or to a plain scalar type").at_words(self.sql, &[field.name()])
        })
    }

    fn not_yet(&self, plan: &LogicalPlan) -> Refusal {
        let name = plan.display().to_string();
        let name = name.split([':', ' ']).next().unwrap_or_default().to_string();
        Refusal::new(format!("`{name}` is not maintained yet"), "leave the model out with --exclude")
    }

    fn subquery(&self) -> Refusal {
        Refusal::new("a subquery within an expression is not maintained yet", "join with it in `from` instead")
            .at_words(self.sql, &["(", "select"])
    }

    pub fn unknown_aggregate(&self, name: &str) -> Refusal {
        let reason = format!("aggregate `{name}` is not maintained yet");
        Refusal::new(reason, "leave the model out with --exclude").at_words(self.sql, &[name, "("])
    }
}

/// Whether a type, or one within it, is such. Rows hold some that the tables which models are published to do not.
fn holds(data_type: &DataType, such: &dyn Fn(&DataType) -> bool) -> bool {
    such(data_type)
        || match data_type {
            DataType::List(inner) | DataType::Map(inner, _) => holds(inner.data_type(), such),
            DataType::Struct(fields) => fields.iter().any(|field| holds(field.data_type(), such)),
            _ => false,
        }
}

/// Whether the optimiser left a subquery, or what stands in it for a column outside, within an expression.
fn contains_subquery(e: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    let subquery = |e: &Expr| {
        Ok(matches!(
            e,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::OuterReferenceColumn(_, _)
        ))
    };
    e.exists(subquery).unwrap_or(false)
}

pub(super) fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Predicates as people read them.
pub(super) fn listed(predicates: &[&Expr]) -> String {
    let conjuncts = predicates.iter().flat_map(|p| split_conjunction(p));
    conjuncts.map(|e| shown(e).human_display().to_string()).collect::<Vec<_>>().join(" and ")
}
