//! Numbers. Where Postgres has a function for numerics and one for doubles, so have we.

use super::own::{Args, Function, Kind, bad};
use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, i256};
use datafusion::common::Result as DfResult;
use std::sync::Arc;

use Kind::{Decimal, Double, Integer, Text};

const DOUBLE: fn(&[DataType]) -> DataType = |_| DataType::Float64;
/// Behind the point of a quotient.
const DIGITS: i8 = 16;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "round",
        aliases: &[],
        takes: &[&[Integer], &[Decimal], &[Double], &[Decimal, Integer], &[Double, Integer]],
        gives: rounded_type,
        work: |args| rounded(args, Rounding::HalfAway, f64::round_ties_even),
        does: "numerics half away from zero, doubles half to even",
        differs: "rounds doubles half away from zero",
    },
    Function {
        name: "trunc",
        aliases: &[],
        takes: &[&[Integer], &[Decimal], &[Double], &[Decimal, Integer], &[Double, Integer]],
        gives: rounded_type,
        work: |args| rounded(args, Rounding::TowardZero, f64::trunc),
        does: "cut off behind so many digits",
        differs: "gives doubles for numerics",
    },
    Function {
        name: "ceil",
        aliases: &["ceiling"],
        takes: &[&[Integer], &[Decimal], &[Double]],
        gives: rounded_type,
        work: |args| rounded(args, Rounding::Up, f64::ceil),
        does: "the least whole number that is not less",
        differs: "has no `ceiling`",
    },
    Function {
        name: "floor",
        aliases: &[],
        takes: &[&[Integer], &[Decimal], &[Double]],
        gives: rounded_type,
        work: |args| rounded(args, Rounding::Down, f64::floor),
        does: "the greatest whole number that is not more",
        differs: "the same",
    },
    Function {
        name: "sign",
        aliases: &[],
        takes: &[&[Integer], &[Decimal], &[Double]],
        gives: |args| match args[0] {
            DataType::Decimal128(..) => DataType::Decimal128(1, 0),
            _ => DataType::Float64,
        },
        work: sign,
        does: "-1, 0 or 1",
        differs: "none of this name",
    },
    Function {
        name: "sqrt",
        aliases: &[],
        takes: &[&[Double]],
        gives: DOUBLE,
        work: |args| doubles(args, |x| if x < 0.0 { bad(format_args!("no square root of {x}")) } else { Ok(x.sqrt()) }),
        does: "the square root; an error for negative numbers",
        differs: "gives NaN for these",
    },
    Function {
        name: "ln",
        aliases: &[],
        takes: &[&[Double]],
        gives: DOUBLE,
        work: |args| doubles(args, |x| Ok(positive(x)?.ln())),
        does: "the natural logarithm; an error for zero and less",
        differs: "gives NaN or an infinity for these",
    },
    Function {
        name: "log",
        aliases: &["log10"],
        takes: &[&[Double], &[Double, Double]],
        gives: DOUBLE,
        work: |args| match args.len() {
            1 => doubles(args, |x| Ok(positive(x)?.log10())),
            _ => {
                let value = |row| Ok(Some(positive(args.double(1, row))?.ln() / positive(args.double(0, row))?.ln()));
                Ok(Arc::new(args.each::<Float64Array, _>(value)?))
            }
        },
        does: "the logarithm to base 10, or to the base given first; an error for zero and less",
        differs: "gives NaN or an infinity for these",
    },
    Function {
        name: "exp",
        aliases: &[],
        takes: &[&[Double]],
        gives: DOUBLE,
        work: |args| doubles(args, |x| finite(x.exp(), x.is_infinite())),
        does: "e to this power; an error where it is too large",
        differs: "gives an infinity there",
    },
    Function {
        name: "power",
        aliases: &["pow"],
        takes: &[&[Double, Double]],
        gives: DOUBLE,
        work: |args| {
            Ok(Arc::new(args.each::<Float64Array, _>(|row| power(args.double(0, row), args.double(1, row)).map(Some))?))
        },
        does: "a power; an error where it is too large or there is none",
        differs: "gives an infinity or NaN there",
    },
    Function {
        name: "atan2",
        aliases: &[],
        takes: &[&[Double, Double]],
        gives: DOUBLE,
        work: |args| {
            let angle = |row| Ok(Some(args.double(0, row).atan2(args.double(1, row))));
            Ok(Arc::new(args.each::<Float64Array, _>(angle)?))
        },
        does: "the angle of a point, in doubles",
        differs: "computes integers in singles",
    },
    Function {
        name: "mod",
        aliases: &[],
        takes: &[&[Integer, Integer], &[Decimal, Decimal]],
        gives: |args| match args {
            [DataType::Decimal128(_, one), DataType::Decimal128(_, other)] => DataType::Decimal128(38, *one.max(other)),
            _ => DataType::Int64,
        },
        work: modulo,
        does: "the remainder, with the sign of what is divided",
        differs: "none of this name",
    },
    Function {
        name: "div",
        aliases: &[],
        takes: &[&[Decimal, Decimal]],
        gives: |_| DataType::Decimal128(38, 0),
        work: |args| quotients(args, 0, false),
        does: "the whole part of a quotient",
        differs: "none",
    },
    Function {
        name: "numeric_divide",
        aliases: &[],
        takes: &[&[Decimal, Decimal]],
        gives: |_| DataType::Decimal128(38, DIGITS),
        work: |args| quotients(args, DIGITS, true),
        does: "`numeric / numeric`",
        differs: "none",
    },
    Function {
        name: "numeric_times",
        aliases: &[],
        takes: &[&[Decimal, Decimal]],
        gives: product_type,
        work: products,
        does: "`numeric * numeric`, where the product may have more than 38 digits",
        differs: "none",
    },
    Function {
        name: "double_divide",
        aliases: &[],
        takes: &[&[Double, Double]],
        gives: DOUBLE,
        work: |args| {
            let quotient = |row| match args.double(1, row) {
                0.0 => bad(format_args!("{} divided by zero", args.double(0, row))),
                by => finite(args.double(0, row) / by, true).map(Some),
            };
            Ok(Arc::new(args.each::<Float64Array, _>(quotient)?))
        },
        does: "`double / double`",
        differs: "none",
    },
    Function {
        name: "to_hex",
        aliases: &[],
        takes: &[&[Integer]],
        gives: |_| DataType::Utf8,
        work: |args| {
            // All integers come with 64 bits: one that needs but 32 is printed so, as Postgres does with an `integer`.
            let hex = |value: i64| match i32::try_from(value) {
                Ok(value) => format!("{value:x}"),
                Err(_) => format!("{value:x}"),
            };
            Ok(Arc::new(args.each::<StringArray, _>(|row| Ok(Some(hex(args.integer(0, row)))))?))
        },
        does: "hexadecimal digits",
        differs: "takes negative integers for ones of 64 bits",
    },
    Function {
        name: "to_number",
        aliases: &[],
        takes: &[&[Text, Text]],
        gives: |_| DataType::Decimal128(38, 10),
        work: |args| {
            let value = |row| {
                let digits: String =
                    args.text(0, row).chars().filter(|c| c.is_ascii_digit() || ".-".contains(*c)).collect();
                match super::parse::decimal(&digits, 10) {
                    Some(value) => Ok(Some(value)),
                    None => bad(format_args!("`{}` is no number", args.text(0, row))),
                }
            };
            Ok(Arc::new(args.each::<Decimal128Array, _>(value)?.with_precision_and_scale(38, 10)?))
        },
        does: "the number in a text, whatever stands around its digits",
        differs: "none",
    },
];

fn doubles(args: &Args, value: impl Fn(f64) -> DfResult<f64>) -> DfResult<ArrayRef> {
    Ok(Arc::new(args.each::<Float64Array, _>(|row| value(args.double(0, row)).map(Some))?))
}

fn sign(args: &Args) -> DfResult<ArrayRef> {
    match args.data_type(0) {
        DataType::Decimal128(..) => {
            let values: Decimal128Array = args.each(|row| Ok(Some(args.decimal(0, row).signum())))?;
            Ok(Arc::new(values.with_precision_and_scale(1, 0)?))
        }
        DataType::Int64 => {
            Ok(Arc::new(args.each::<Float64Array, _>(|row| Ok(Some(args.integer(0, row).signum() as f64)))?))
        }
        _ => doubles(args, |x| Ok(if x == 0.0 || x.is_nan() { x } else { x.signum() })),
    }
}

fn positive(x: f64) -> DfResult<f64> {
    if x <= 0.0 { bad(format_args!("no logarithm of {x}")) } else { Ok(x) }
}

fn finite(result: f64, may_be_infinite: bool) -> DfResult<f64> {
    if result.is_infinite() && !may_be_infinite { bad("a double is out of range") } else { Ok(result) }
}

fn power(x: f64, y: f64) -> DfResult<f64> {
    match () {
        () if x == 0.0 && y < 0.0 => bad("zero has no negative power"),
        () if x < 0.0 && y.fract() != 0.0 && y.is_finite() => bad(format_args!("{x} has no power of {y}")),
        () => finite(x.powf(y), x.is_infinite() || y.is_infinite()),
    }
}

enum Rounding {
    HalfAway,
    TowardZero,
    Up,
    Down,
}

fn rounded_type(args: &[DataType]) -> DataType {
    match args {
        [DataType::Int64] => DataType::Float64,
        [DataType::Decimal128(precision, scale)] if *scale > 0 => {
            DataType::Decimal128((precision + 1).saturating_sub(scale.unsigned_abs()).max(1), 0)
        }
        [DataType::Decimal128(precision, scale), _] => DataType::Decimal128((precision + 1).min(38), *scale),
        other => other[0].clone(),
    }
}

/// What `round` and `trunc` give where the number of digits is written out: so many behind the point.
pub(super) fn rounded_to(args: &[DataType], digits: i64) -> Option<DataType> {
    let [DataType::Decimal128(precision, scale), _] = args else { return None };
    let behind = i8::try_from(digits.clamp(0, 38)).ok()?;
    let before = i16::from(*precision) - i16::from(*scale) + 1;
    let precision = u8::try_from((before + i16::from(behind)).clamp(1, 38)).ok()?;
    (i16::from(behind) < 38 && before + i16::from(behind) <= 38).then_some(DataType::Decimal128(precision, behind))
}

fn rounded(args: &Args, how: Rounding, of_double: fn(f64) -> f64) -> DfResult<ArrayRef> {
    match (args.data_type(0), rounded_type(&[args.data_type(0).clone()])) {
        (DataType::Decimal128(precision, scale), whole) => {
            let (precision, scale, digits_given) = (*precision, *scale, args.len() > 1);
            let value = |row: usize| {
                let digits = if digits_given { args.integer(1, row).clamp(-40, 40) } else { 0 };
                let value = args.decimal(0, row);
                let cut = u32::try_from(i64::from(scale) - digits).unwrap_or(0);
                let Some(unit) = 10i128.checked_pow(cut) else { return Ok(Some(0)) };
                let (kept, rest) = (value.div_euclid(unit), value.rem_euclid(unit));
                let up = match how {
                    Rounding::HalfAway => rest * 2 > unit || (rest * 2 == unit && value >= 0),
                    Rounding::TowardZero => rest > 0 && value < 0,
                    Rounding::Up => rest > 0,
                    Rounding::Down => false,
                };
                let kept = kept + i128::from(up);
                match if digits_given { kept.checked_mul(unit) } else { Some(kept) } {
                    Some(value) => Ok(Some(value)),
                    None => bad("a numeric is out of range"),
                }
            };
            let values: Decimal128Array = args.each(value)?;
            // Rounding may add a digit.
            let (precision, scale) = match whole {
                DataType::Decimal128(precision, scale) if !digits_given => (precision, scale),
                _ => ((precision + 1).min(38), scale),
            };
            let values = values.with_precision_and_scale(precision, scale)?;
            values.validate_decimal_precision(precision)?;
            Ok(Arc::new(values))
        }
        (DataType::Int64, _) => {
            Ok(Arc::new(args.each::<Float64Array, _>(|row| Ok(Some(args.integer(0, row) as f64)))?))
        }
        _ if args.len() > 1 => {
            let value = |row| {
                let unit = 10f64.powi(args.integer(1, row).clamp(-300, 300) as i32);
                let value = args.double(0, row);
                let scaled = value * unit;
                let whole = match how {
                    Rounding::HalfAway => scaled.round(),
                    _ => of_double(scaled),
                };
                Ok(Some(if scaled.is_finite() { whole / unit } else { value }))
            };
            Ok(Arc::new(args.each::<Float64Array, _>(value)?))
        }
        _ => doubles(args, |x| Ok(of_double(x))),
    }
}

fn scale(of: &DataType) -> i8 {
    if let DataType::Decimal128(_, scale) = of { *scale } else { 0 }
}

fn modulo(args: &Args) -> DfResult<ArrayRef> {
    if args.data_type(0) == &DataType::Int64 {
        let value = |row| match args.integer(1, row) {
            0 => bad(format_args!("{} divided by zero", args.integer(0, row))),
            by => Ok(Some(args.integer(0, row).wrapping_rem(by))),
        };
        return Ok(Arc::new(args.each::<Int64Array, _>(value)?));
    }
    let (one, other) = (scale(args.data_type(0)), scale(args.data_type(1)));
    let common = one.max(other);
    let widened = |value: i128, from: i8| i256::from_i128(value).checked_mul(ten_to(common - from));
    let value = |row| {
        let divided = widened(args.decimal(0, row), one).zip(widened(args.decimal(1, row), other));
        match divided.and_then(|(value, by)| value.checked_rem(by)).and_then(i256::to_i128) {
            Some(value) => Ok(Some(value)),
            None => bad("a numeric divided by zero"),
        }
    };
    Ok(Arc::new(args.each::<Decimal128Array, _>(value)?.with_precision_and_scale(38, common)?))
}

/// Whether the product of two numerics may have more digits than there are.
pub(super) fn is_wide(one: &DataType, other: &DataType) -> bool {
    let digits = |of: &DataType| match of {
        DataType::Decimal128(precision, _) => Some(*precision),
        of if of.is_integer() => Some(20),
        _ => None,
    };
    let numeric = one.is_decimal() || other.is_decimal();
    numeric && digits(one).zip(digits(other)).is_some_and(|(one, other)| one + other > 38)
}

/// Places go where there are no digits for all of them, but as many stay as a quotient has.
fn product_type(args: &[DataType]) -> DataType {
    let [DataType::Decimal128(one, places), DataType::Decimal128(other, more)] = args else {
        return DataType::Decimal128(38, 0);
    };
    let all = places + more;
    let before = (*one + *other) as i8 - all;
    DataType::Decimal128(38, all.min((38 - before).max(DIGITS)))
}

fn products(args: &Args) -> DfResult<ArrayRef> {
    let types = [args.data_type(0).clone(), args.data_type(1).clone()];
    let (places, kept) = (scale(&types[0]) + scale(&types[1]), scale(&product_type(&types)));
    let unit = ten_to(places - kept);
    let value = |row| {
        let product = i256::from_i128(args.decimal(0, row)).wrapping_mul(i256::from_i128(args.decimal(1, row)));
        let (whole, rest) = (product.wrapping_div(unit), product.wrapping_rem(unit));
        let up = rest.wrapping_abs().wrapping_mul(i256::from_i128(2)) >= unit;
        let away = if product.is_negative() { i256::MINUS_ONE } else { i256::ONE };
        let rounded = if up { whole.wrapping_add(away) } else { whole };
        match rounded.to_i128().filter(|value| value.unsigned_abs() < 10u128.pow(38)) {
            Some(value) => Ok(Some(value)),
            None => bad("a product is out of range"),
        }
    };
    Ok(Arc::new(args.each::<Decimal128Array, _>(value)?.with_precision_and_scale(38, kept)?))
}

fn ten_to(digits: i8) -> i256 {
    i256::from_i128(10).wrapping_pow(u32::from(digits.unsigned_abs()))
}

/// Quotients with so many digits, the last of them rounded or not.
fn quotients(args: &Args, digits: i8, round: bool) -> DfResult<ArrayRef> {
    let shift = digits - scale(args.data_type(0)) + scale(args.data_type(1));
    let value = |row| {
        let (value, by) = (i256::from_i128(args.decimal(0, row)), i256::from_i128(args.decimal(1, row)));
        if by == i256::ZERO {
            return bad("a numeric divided by zero");
        }
        let scaled = if shift >= 0 {
            value.checked_mul(ten_to(shift)).map(|value| (value, by))
        } else {
            by.checked_mul(ten_to(shift)).map(|by| (value, by))
        };
        let quotient = scaled.and_then(|(value, by)| {
            let (whole, rest) = (value.checked_div(by)?, value.checked_rem(by)?);
            let two = i256::from_i128(2);
            let up = round && rest.wrapping_abs().checked_mul(two)? >= by.wrapping_abs();
            let away = if value.is_negative() == by.is_negative() { i256::ONE } else { i256::MINUS_ONE };
            if up { whole.checked_add(away)?.to_i128() } else { whole.to_i128() }
        });
        match quotient.filter(|value| value.unsigned_abs() < 10u128.pow(38)) {
            Some(value) => Ok(Some(value)),
            None => bad("a quotient is out of range"),
        }
    };
    Ok(Arc::new(args.each::<Decimal128Array, _>(value)?.with_precision_and_scale(38, digits)?))
}
