//! Which types rows can hold, and their names on disk.
//!
//! ```text
//! boolean int long float double text json bytes date time timestamp timestamptz uuid
//! decimal(12,2)  decimal256(60,2)  list(int)  map(text,list(int))  struct("a":int,"b c":text)
//! ```
//!
//! Within a nested type every value may be NULL, and the items of a list have no name of their own.

use super::cell::Kind;
use crate::error::{Error, Result};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};

/// JSON is text with a type of its own, so that an expression knows what is JSON already and what is a string.
pub const JSON: DataType = DataType::LargeUtf8;

/// Refuses a schema with a column whose type has no row form, by name.
pub fn check_types(schema: &Schema) -> Result<()> {
    for field in schema.fields() {
        if Kind::of(field.data_type()).is_none() {
            return Err(Error::operator(format!(
                "column `{}` has type {}, which no row can hold yet",
                field.name(),
                field.data_type()
            ))
            .hint(format!("cast `{}` to text or to a plain scalar type in the model", field.name())));
        }
    }
    Ok(())
}

/// The list of these items.
pub fn list_of(item: DataType) -> DataType {
    DataType::new_list(item, true)
}

/// The struct of these fields.
pub fn struct_of<N: Into<String>>(fields: impl IntoIterator<Item = (N, DataType)>) -> DataType {
    DataType::Struct(fields.into_iter().map(|(name, data_type)| Field::new(name, data_type, true)).collect())
}

/// The map from `key`, which is never NULL, to `value`.
pub fn map_of(key: DataType, value: DataType) -> DataType {
    let fields = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Field::new("entries", DataType::Struct(fields), false).into(), false)
}

/// A type's name as we write it to disk, and read it back.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int32 => "int".into(),
        DataType::Int64 => "long".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Decimal256(precision, scale) => format!("decimal256({precision},{scale})"),
        DataType::Utf8 => "text".into(),
        DataType::LargeUtf8 => "json".into(),
        DataType::Binary => "bytes".into(),
        DataType::Date32 => "date".into(),
        DataType::Time64(_) => "time".into(),
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".into(),
        DataType::FixedSizeBinary(_) => "uuid".into(),
        DataType::List(item) => format!("list({})", type_name(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(entry) => {
                let names: Vec<String> = entry.iter().map(|f| type_name(f.data_type())).collect();
                format!("map({})", names.join(","))
            }
            other => unreachable!("a map's entries are structs, not {other}"),
        },
        DataType::Struct(fields) => {
            let quoted = |name: &str| serde_json::Value::from(name).to_string();
            let field = |f: &Field| format!("{}:{}", quoted(f.name()), type_name(f.data_type()));
            let fields: Vec<String> = fields.iter().map(|f| field(f)).collect();
            format!("struct({})", fields.join(","))
        }
        other => unreachable!("{other} has no row form"),
    }
}

/// `None` for a name that [`type_name`] never gave.
pub fn type_named(name: &str) -> Option<DataType> {
    let mut rest = name;
    let data_type = take_type(&mut rest)?;
    rest.is_empty().then_some(data_type)
}

fn take_type(rest: &mut &str) -> Option<DataType> {
    let word = rest.split(|c: char| !c.is_ascii_alphanumeric()).next()?;
    *rest = &rest[word.len()..];
    Some(match word {
        "boolean" => DataType::Boolean,
        "int" => DataType::Int32,
        "long" => DataType::Int64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "text" => DataType::Utf8,
        "json" => JSON,
        "bytes" => DataType::Binary,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "uuid" => DataType::FixedSizeBinary(16),
        "decimal" | "decimal256" => {
            let (digits, after) = rest.strip_prefix('(')?.split_once(')')?;
            let (precision, scale) = digits.split_once(',')?;
            let (precision, scale) = (precision.parse().ok()?, scale.parse().ok()?);
            *rest = after;
            match word {
                "decimal" => DataType::Decimal128(precision, scale),
                _ => DataType::Decimal256(precision, scale),
            }
        }
        "list" => {
            take(rest, "(")?;
            let item = take_type(rest)?;
            take(rest, ")")?;
            list_of(item)
        }
        "map" => {
            take(rest, "(")?;
            let key = take_type(rest)?;
            take(rest, ",")?;
            let value = take_type(rest)?;
            take(rest, ")")?;
            map_of(key, value)
        }
        "struct" => {
            take(rest, "(")?;
            let mut fields = vec![take_field(rest)?];
            while take(rest, ",").is_some() {
                fields.push(take_field(rest)?);
            }
            take(rest, ")")?;
            struct_of(fields)
        }
        _ => return None,
    })
}

fn take_field(rest: &mut &str) -> Option<(String, DataType)> {
    let mut names = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    let name = names.next()?.ok()?;
    *rest = &rest[names.byte_offset()..];
    take(rest, ":")?;
    Some((name, take_type(rest)?))
}

fn take(rest: &mut &str, token: &str) -> Option<()> {
    *rest = rest.strip_prefix(token)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_type_comes_back_from_its_name() {
        let inner = struct_of([("a \"b\",", DataType::Decimal128(12, -2)), ("ü)", list_of(DataType::Utf8))]);
        let nested = list_of(map_of(DataType::Utf8, struct_of([("x", inner)])));
        let name = type_name(&nested);
        assert_eq!(name, r#"list(map(text,struct("x":struct("a \"b\",":decimal(12,-2),"ü)":list(text)))))"#);
        assert_eq!(type_named(&name), Some(nested));
    }

    #[test]
    fn a_name_that_was_never_given_is_none() {
        for name in
            ["", "number", "list", "list(", "list(int", "list(int))", "int)", "struct()", "decimal(1)", "map(int)"]
        {
            assert_eq!(type_named(name), None, "{name}");
        }
    }

    #[test]
    fn what_no_row_can_hold_is_refused_by_name() {
        use DataType::*;
        let interval = Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
        for unheld in [interval.clone(), list_of(interval), LargeBinary, Struct(Fields::empty()), FixedSizeBinary(4)] {
            let schema = Schema::new(vec![Field::new("a", Int32, true), Field::new("odd", unheld, true)]);
            let error = check_types(&schema).expect_err("it has no row form").to_string();
            assert!(error.contains("column `odd` has type"), "{error}");
        }
    }
}
