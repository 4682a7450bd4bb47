//! Dates, timestamps and intervals. A day has 24 hours, since zones are only asked for by name.

use super::calendar::{DAY, Parts, SECOND, add_months, date, days_in};
use super::intervals::{self, Interval};
use super::own::{Args, Function, INTERVAL, Kind, TIMESTAMP, bad, zoned};
use super::parts::{begin, part_of_instant, part_of_interval, unit};
use super::pattern;
use super::text::texts;
use arrow::array::{
    ArrayRef, AsArray, Date32Array, Decimal128Array, Float64Array, Int64Array, IntervalMonthDayNanoArray,
    TimestampMicrosecondArray, timezone::Tz,
};
use arrow::datatypes::{DataType, DurationMicrosecondType, IntervalMonthDayNanoType, TimestampMicrosecondType};
use arrow::temporal_conversions::{as_datetime, as_datetime_with_timezone};
use datafusion::common::Result as DfResult;
use std::sync::Arc;

use Kind::{Date, Decimal, Double, Integer, Text, Timestamp, Zoned};

const TEXT: fn(&[DataType]) -> DataType = |_| DataType::Utf8;

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "date_trunc",
        aliases: &["datetrunc"],
        takes: &[&[Text, Zoned], &[Text, Kind::DateAsZoned], &[Text, Timestamp], &[Text, Kind::Interval]],
        gives: |args| match &args[1] {
            DataType::Duration(_) => INTERVAL,
            other => other.clone(),
        },
        work: truncated,
        does: "the begin of a unit, `microseconds` to `millennium`; of a date a timestamp with a zone",
        differs: "has no plural units, none beyond years, and gives a timestamp without zone of a date",
    },
    Function {
        name: "date_part",
        aliases: &["datepart"],
        takes: &[&[Text, Timestamp], &[Text, Zoned], &[Text, Kind::Interval]],
        gives: |_| DataType::Float64,
        work: |args| Ok(Arc::new(args.each::<Float64Array, _>(|row| Ok(Some(part(args, row)? as f64 / 1e6)))?)),
        does: "a part, as a double",
        differs: "gives integers, and seconds without their fraction",
    },
    Function {
        name: "extract",
        aliases: &[],
        takes: &[&[Text, Timestamp], &[Text, Zoned], &[Text, Kind::Interval]],
        gives: |_| DataType::Decimal128(38, 6),
        work: |args| {
            let values: Decimal128Array = args.each(|row| part(args, row).map(Some))?;
            Ok(Arc::new(values.with_precision_and_scale(38, 6)?))
        },
        does: "`extract(part from x)`, as a numeric",
        differs: "gives integers, and seconds without their fraction",
    },
    Function {
        name: "to_char",
        aliases: &[],
        takes: &[&[Timestamp, Text], &[Zoned, Text], &[Kind::Interval, Text], &[Decimal, Text], &[Double, Text]],
        gives: TEXT,
        work: to_char,
        does: "as a pattern says: `YYYY-MM-DD HH24:MI:SS`, `FM999,990.00`",
        differs: "takes patterns of another language, and no numbers",
    },
    Function {
        name: "to_date",
        aliases: &[],
        takes: &[&[Text, Text]],
        gives: |_| DataType::Date32,
        work: |args| {
            let value = |row| {
                let instant = pattern::read(args.text(0, row), args.text(1, row))?;
                Ok(Some(instant.div_euclid(DAY) as i32))
            };
            Ok(Arc::new(args.each::<Date32Array, _>(value)?))
        },
        does: "the date in a text, as a pattern says",
        differs: "takes patterns of another language",
    },
    Function {
        name: "to_timestamp",
        aliases: &[],
        takes: &[&[Text, Text], &[Double]],
        gives: |_| zoned(),
        work: |args| {
            let value = |row| match args.len() {
                1 => match args.double(0, row) * 1e6 {
                    micros if micros.abs() < 9e18 => Ok(Some(micros.round_ties_even() as i64)),
                    micros => bad(format_args!("{} seconds are out of range", micros / 1e6)),
                },
                _ => pattern::read(args.text(0, row), args.text(1, row)).map(Some),
            };
            Ok(Arc::new(args.each::<TimestampMicrosecondArray, _>(value)?.with_timezone("UTC")))
        },
        does: "the instant in a text, as a pattern says, or so many seconds after 1970",
        differs: "takes patterns of another language",
    },
    Function {
        name: "timezone",
        aliases: &[],
        takes: &[&[Text, Timestamp], &[Text, Zoned]],
        gives: |args| if args[1] == TIMESTAMP { zoned() } else { TIMESTAMP },
        work: at_zone,
        does: "`x at time zone zone`: the instant of a local time, and the local time of an instant",
        differs: "gives the instant again, of another type",
    },
    Function {
        name: "age",
        aliases: &[],
        takes: &[&[Timestamp, Timestamp], &[Zoned, Zoned], &[Timestamp, Zoned], &[Zoned, Timestamp]],
        gives: |_| INTERVAL,
        work: |args| of_intervals(args, |row| age(args.instant(0, row), args.instant(1, row))),
        does: "what lies between two timestamps, in years, months, days and a time; of one, until the begin of today",
        differs: "none",
    },
    Function {
        name: "interval_times",
        aliases: &[],
        takes: &[&[Kind::Interval, Double]],
        gives: |_| INTERVAL,
        work: |args| of_intervals(args, |row| intervals::times(interval(args, 0, row), args.double(1, row))),
        does: "`interval * number`",
        differs: "none",
    },
    Function {
        name: "interval_length",
        aliases: &[],
        takes: &[&[Kind::Interval]],
        gives: |_| DataType::Decimal128(38, 0),
        work: |args| {
            let values: Decimal128Array = args.each(|row| Ok(Some(intervals::length(interval(args, 0, row)))))?;
            Ok(Arc::new(values.with_precision_and_scale(38, 0)?))
        },
        does: "microseconds, a month having 30 days and a day 24 hours: by these intervals are compared",
        differs: "none; it compares months first, then days",
    },
    Function {
        name: "make_interval",
        aliases: &[],
        takes: &[&[Integer, Integer, Integer, Integer, Integer, Integer, Double]],
        gives: |_| INTERVAL,
        work: |args| {
            of_intervals(args, |row| {
                let [years, months, weeks, days, hours, minutes] =
                    [0, 1, 2, 3, 4, 5].map(|column| args.integer(column, row));
                let seconds = (args.double(6, row) * SECOND as f64).round() as i64;
                let months = years.checked_mul(12)?.checked_add(months)?;
                let days = weeks.checked_mul(7)?.checked_add(days)?;
                let minutes = hours.checked_mul(60)?.checked_add(minutes)?;
                intervals::of(months, days, minutes.checked_mul(60 * SECOND)?.checked_add(seconds)?)
            })
        },
        does: "the interval of years, months, weeks, days, hours, mins and secs, by place or by name",
        differs: "none",
    },
    Function {
        name: "justify_hours",
        aliases: &[],
        takes: &[&[Kind::Interval]],
        gives: |_| INTERVAL,
        work: |args| of_intervals(args, |row| intervals::justified(interval(args, 0, row), true, false)),
        does: "24 hours become a day",
        differs: "none",
    },
    Function {
        name: "justify_days",
        aliases: &[],
        takes: &[&[Kind::Interval]],
        gives: |_| INTERVAL,
        work: |args| of_intervals(args, |row| intervals::justified(interval(args, 0, row), false, true)),
        does: "30 days become a month",
        differs: "none",
    },
    Function {
        name: "justify_interval",
        aliases: &[],
        takes: &[&[Kind::Interval]],
        gives: |_| INTERVAL,
        work: |args| of_intervals(args, |row| intervals::justified(interval(args, 0, row), true, true)),
        does: "both, with all parts of one sign",
        differs: "none",
    },
    Function {
        name: "make_date",
        aliases: &[],
        takes: &[&[Integer, Integer, Integer]],
        gives: |_| DataType::Date32,
        work: |args| {
            let value = |row| {
                let [year, month, day] = [0, 1, 2].map(|column| args.integer(column, row));
                match super::calendar::checked_days(year, month, day) {
                    Some(day) if year != 0 => Ok(Some(day as i32)),
                    _ => bad(format_args!("there is no {year}-{month}-{day}")),
                }
            };
            Ok(Arc::new(args.each::<Date32Array, _>(value)?))
        },
        does: "the date of a year, a month and a day",
        differs: "the same",
    },
    Function {
        name: "make_timestamp",
        aliases: &[],
        takes: &[&[Integer, Integer, Integer, Integer, Integer, Double]],
        gives: |_| TIMESTAMP,
        work: |args| {
            let value = |row| {
                let [year, month, day, hour, minute] = [0, 1, 2, 3, 4].map(|column| args.integer(column, row));
                let micros = (args.double(5, row) * 1e6).round() as i64;
                let (second, micro) = (micros / SECOND, micros % SECOND);
                match (Parts { year, month, day, hour, minute, second, micro }).instant() {
                    Some(instant) => Ok(Some(instant)),
                    None => bad(format_args!("there is no {year}-{month}-{day} {hour}:{minute}")),
                }
            };
            Ok(Arc::new(args.each::<TimestampMicrosecondArray, _>(value)?))
        },
        does: "the timestamp of a year, a month, a day, an hour, a minute and seconds",
        differs: "none",
    },
    Function {
        name: "dateadd",
        aliases: &["timestampadd"],
        takes: &[&[Text, Integer, Timestamp], &[Text, Integer, Zoned]],
        gives: |args| args[2].clone(),
        work: |args| {
            let value = |row| {
                let (unit, count) = (args.text(0, row), args.integer(1, row));
                match intervals::parsed(&format!("{count} {unit}")) {
                    Some(by) => Ok(later(args.instant(2, row), by)),
                    None => bad(format_args!("`{unit}` is no unit of time")),
                }
            };
            let values = args.each::<TimestampMicrosecondArray, _>(value)?;
            Ok(Arc::new(values.with_data_type(args.data_type(2).clone())))
        },
        does: "so many units later; no function of Postgres'",
        differs: "none",
    },
    Function {
        name: "datediff",
        aliases: &["date_diff"],
        takes: &[&[Text, Date, Date], &[Text, Timestamp, Timestamp], &[Text, Zoned, Zoned]],
        gives: |_| DataType::Int64,
        work: between,
        does: "how many begins of a unit lie between; no function of Postgres'",
        differs: "none",
    },
];

/// What lies between two timestamps is days and a time.
fn interval(args: &Args, column: usize, row: usize) -> Interval {
    if let Some(durations) = args.columns[column].as_primitive_opt::<DurationMicrosecondType>() {
        return intervals::of_duration(durations.value(row));
    }
    args.columns[column].as_primitive::<IntervalMonthDayNanoType>().value(row)
}

fn of_intervals(args: &Args, value: impl Fn(usize) -> Option<Interval>) -> DfResult<ArrayRef> {
    let value = |row| match value(row) {
        Some(interval) => Ok(Some(interval)),
        None => bad("an interval is out of range"),
    };
    Ok(Arc::new(args.each::<IntervalMonthDayNanoArray, _>(value)?))
}

/// A part in millionths.
fn part(args: &Args, row: usize) -> DfResult<i128> {
    let name = args.text(0, row);
    let unit = unit(name);
    let found = match args.data_type(1) {
        DataType::Interval(_) | DataType::Duration(_) => part_of_interval(&unit, interval(args, 1, row)),
        _ => part_of_instant(&unit, args.instant(1, row)),
    };
    match found {
        Some(value) => Ok(value),
        None => bad(format_args!("`{name}` is no part of it")),
    }
}

fn truncated(args: &Args) -> DfResult<ArrayRef> {
    if matches!(args.data_type(1), DataType::Interval(_) | DataType::Duration(_)) {
        return of_intervals(args, |row| {
            let given = interval(args, 1, row);
            let (months, time) = (i64::from(given.months), intervals::micros(given));
            let to = |size: i64| intervals::of(months, given.days.into(), time - time % size);
            match unit(args.text(0, row)).as_str() {
                "year" => intervals::of(months - months % 12, 0, 0),
                "month" => intervals::of(months, 0, 0),
                "day" => intervals::of(months, given.days.into(), 0),
                "hour" => to(3_600 * SECOND),
                "minute" => to(60 * SECOND),
                "second" => to(SECOND),
                _ => None,
            }
        });
    }
    let value = |row| match begin(&unit(args.text(0, row)), args.instant(1, row)) {
        Some(instant) => Ok(Some(instant)),
        None => bad(format_args!("`{}` is no unit of time", args.text(0, row))),
    };
    let values = args.each::<TimestampMicrosecondArray, _>(value)?;
    Ok(Arc::new(values.with_data_type(args.data_type(1).clone())))
}

fn later(instant: i64, by: Interval) -> Option<i64> {
    let day = add_months(instant.div_euclid(DAY), by.months.into()) + i64::from(by.days);
    day.checked_mul(DAY)?.checked_add(instant.rem_euclid(DAY))?.checked_add(intervals::micros(by))
}

fn age(until: i64, since: i64) -> Option<Interval> {
    let (sign, since, until) = if until < since { (-1, until, since) } else { (1, since, until) };
    let (from, to) = (Parts::of(since), Parts::of(until));
    let mut months = (to.year - from.year) * 12 + to.month - from.month;
    let mut days = to.day - from.day;
    let mut time = until.rem_euclid(DAY) - since.rem_euclid(DAY);
    if time < 0 {
        time += DAY;
        days -= 1;
    }
    if days < 0 {
        days += days_in(from.year, from.month);
        months -= 1;
    }
    intervals::of(sign * months, sign * days, sign * time)
}

fn between(args: &Args) -> DfResult<ArrayRef> {
    let instant = |column: usize, row| match args.data_type(column) {
        DataType::Date32 => i64::from(args.date(column, row)) * DAY,
        _ => args.instant(column, row),
    };
    let value = |row| {
        let unit = unit(args.text(0, row));
        let number = |instant: i64| {
            let (year, month, _) = date(instant.div_euclid(DAY));
            Some(match unit.as_str() {
                "quarter" => (year * 12 + month - 1).div_euclid(3),
                "month" => year * 12 + month - 1,
                "year" => year,
                "week" => (instant.div_euclid(DAY) + 3).div_euclid(7),
                "day" => instant.div_euclid(DAY),
                "hour" => instant.div_euclid(3_600 * SECOND),
                "minute" => instant.div_euclid(60 * SECOND),
                "second" => instant.div_euclid(SECOND),
                "millisecond" => instant.div_euclid(1_000),
                "microsecond" => instant,
                _ => return None,
            })
        };
        match (number(instant(1, row)), number(instant(2, row))) {
            (Some(from), Some(until)) => Ok(Some(until - from)),
            _ => bad(format_args!("`{}` is no unit of time", args.text(0, row))),
        }
    };
    Ok(Arc::new(args.each::<Int64Array, _>(value)?))
}

fn to_char(args: &Args) -> DfResult<ArrayRef> {
    let digits = |row: usize| match args.data_type(0) {
        DataType::Decimal128(_, scale) => (args.decimal(0, row), *scale),
        _ => (super::parse::decimal(&format!("{:.15}", args.double(0, row)), 15).unwrap_or_default(), 15),
    };
    texts(args, |row| {
        let form = args.text(1, row);
        match args.data_type(0) {
            DataType::Timestamp(_, zone) => Ok(pattern::written(args.instant(0, row), zone.is_some(), form)),
            DataType::Interval(_) | DataType::Duration(_) => {
                Ok(pattern::written_interval(interval(args, 0, row), form))
            }
            _ => {
                let (value, scale) = digits(row);
                Ok(pattern::number(value, scale, form))
            }
        }
    })
}

/// Zones are known to Arrow. A local time that a zone leaves out, or has twice, is taken as standard time.
fn at_zone(args: &Args) -> DfResult<ArrayRef> {
    let local = args.data_type(1) == &TIMESTAMP;
    // It is found anew only where it is another than in the row before.
    let mut last: Option<(&str, Tz)> = None;
    let value = |row| {
        let name = args.text(0, row);
        let zone = match last {
            Some((of, zone)) if of == name => zone,
            _ => zone(name)?,
        };
        last = Some((name, zone));
        let instant = args.instant(1, row);
        let found = if local { instant_of(instant, zone) } else { local_of(instant, zone) };
        match found {
            Some(found) => Ok(Some(found)),
            None => bad(format_args!("{instant} microseconds after 1970 are out of range in `{name}`")),
        }
    };
    let values = args.each::<TimestampMicrosecondArray, _>(value)?;
    Ok(Arc::new(if local { values.with_timezone("UTC") } else { values }))
}

fn zone(name: &str) -> DfResult<Tz> {
    // What is no name counts hours to the west.
    let turned = match name.split_at_checked(1) {
        _ if ["utc", "gmt", "z"].contains(&name.to_lowercase().as_str()) => "UTC".to_string(),
        Some(("+", hours)) => format!("-{hours}"),
        Some(("-", hours)) => format!("+{hours}"),
        _ => name.to_string(),
    };
    turned.parse().or_else(|_| bad(format_args!("`{name}` is no time zone")))
}

fn local_of(instant: i64, zone: Tz) -> Option<i64> {
    let there = as_datetime_with_timezone::<TimestampMicrosecondType>(instant, zone)?;
    Some(there.naive_local().and_utc().timestamp_micros())
}

fn instant_of(local: i64, zone: Tz) -> Option<i64> {
    let instant = |local| {
        let time = as_datetime::<TimestampMicrosecondType>(local)?;
        Some(time.and_local_timezone(zone).single()?.timestamp_micros())
    };
    let hour = 3_600 * SECOND;
    instant(local).or_else(|| {
        let (before, after) = (instant(local - hour), instant(local + hour));
        before.map(|at| at + hour).max(after.map(|at| at - hour))
    })
}
