//! `unnest`: of structs a column for each field; of lists [`Op::Unnest`], one for each level of lists within lists.

use super::lower::{Lowered, Lowering};
use super::refusal::Refusal;
use super::{Node, Op};
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Column, DFSchema};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{self as df, Expr, ExprSchemable};
use std::collections::HashMap;
use std::sync::Arc;

impl Lowering<'_> {
    pub fn unnest(&self, unnest: &df::Unnest) -> Lowered<Node> {
        let failed = |e| Refusal::from_datafusion(&e, self.sql);
        let bound = unnest.input.schema();
        let own: Vec<Column> = bound.columns();
        // What becomes each column of the output, and how many levels of lists are taken from it.
        let (mut outputs, mut levels, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        let mut lists = unnest.list_type_columns.iter().map(|(_, list)| list.depth);
        let mut field_at = 0;
        for (place, column) in unnest.dependency_indices.iter().enumerate() {
            let again = place > 0 && unnest.dependency_indices[place - 1] == *column;
            field_at = if again { field_at + 1 } else { 0 };
            let is_list = unnest.list_type_columns.iter().any(|(list, _)| list == column);
            let mut output = Expr::Column(own[*column].clone());
            if unnest.struct_type_columns.contains(column)
                && let DataType::Struct(of) = bound.field(*column).data_type()
            {
                output = get_field(output, of[field_at].name());
            }
            let (_, field) = output.to_field(bound).map_err(failed)?;
            let (qualifier, named) = unnest.schema.qualified_field(place);
            fields.push((qualifier.cloned(), Arc::new(field.as_ref().clone().with_name(named.name()))));
            levels.push(if is_list { lists.next().expect("one for each such column") } else { 0 });
            outputs.push(output);
        }
        let mut node = self.lower(&unnest.input)?;
        if !outputs.iter().eq(own.into_iter().map(Expr::Column).collect::<Vec<_>>().iter()) {
            let schema = DFSchema::new_with_metadata(fields, HashMap::new()).map_err(failed)?;
            node = self.map_node(node, bound, &[], &outputs, &schema)?;
        }
        for level in (1..=levels.iter().copied().max().unwrap_or_default()).rev() {
            let lists = (0..levels.len()).filter(|place| levels[*place] >= level).collect();
            node = items(node, lists, unnest.options.preserve_nulls);
        }
        Ok(node)
    }
}

/// A row for each item of these columns.
fn items(node: Node, lists: Vec<usize>, kept: bool) -> Node {
    let field = |(place, field): (usize, &Arc<arrow::datatypes::Field>)| match field.data_type() {
        DataType::List(item) if lists.contains(&place) => {
            field.as_ref().clone().with_data_type(item.data_type().clone())
        }
        _ => field.as_ref().clone(),
    };
    let fields = node.schema.fields().iter().enumerate().map(field);
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Node { op: Op::Unnest { input: Box::new(node), lists, kept }, schema }
}
