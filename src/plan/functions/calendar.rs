//! Days, and times of day, in the calendar that Postgres has: the Gregorian, at all times.

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;

/// A timestamp in parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Parts {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub micro: i64,
}

impl Parts {
    /// Of microseconds since 1970.
    pub fn of(instant: i64) -> Parts {
        let (year, month, day) = date(instant.div_euclid(DAY));
        let time = instant.rem_euclid(DAY);
        let (seconds, micro) = (time / SECOND, time % SECOND);
        Parts { year, month, day, hour: seconds / 3_600, minute: seconds / 60 % 60, second: seconds % 60, micro }
    }

    /// Microseconds since 1970, if there is such a day and such a time.
    pub fn instant(&self) -> Option<i64> {
        let days = checked_days(self.year, self.month, self.day)?;
        let time = self.hour * 3_600 + self.minute * 60 + self.second;
        let fits = (0..24).contains(&self.hour) || (self.hour == 24 && time == 86_400 && self.micro == 0);
        if !fits || !(0..60).contains(&self.minute) || !(0..=60).contains(&self.second) {
            return None;
        }
        days.checked_mul(DAY)?.checked_add(time * SECOND + self.micro)
    }
}

/// Days since 1970 of a day that there is.
pub(super) fn checked_days(year: i64, month: i64, day: i64) -> Option<i64> {
    let known = (-4713..300_000).contains(&year) && (1..=12).contains(&month) && day >= 1;
    (known && day <= days_in(year, month)).then(|| days(year, month, day))
}

pub(super) fn days_in(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days(next_year, next, 1) - days(year, month, 1)
}

/// Days since 1970. The year begins in March here, so that a leap day is its last.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// Year, month and day.
pub(super) fn date(since_1970: i64) -> (i64, i64, i64) {
    let mut year = 1970 + (since_1970 * 400).div_euclid(146_097);
    while days(year, 1, 1) > since_1970 {
        year -= 1;
    }
    while days(year + 1, 1, 1) <= since_1970 {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= since_1970).unwrap_or(1);
    (year, month, since_1970 - days(year, month, 1) + 1)
}

/// 1 for Monday to 7 for Sunday.
pub(super) fn weekday(since_1970: i64) -> i64 {
    (since_1970 + 3).rem_euclid(7) + 1
}

/// Year and week as ISO 8601 counts them: a week belongs to the year of its Thursday.
pub(super) fn iso_week(since_1970: i64) -> (i64, i64) {
    let thursday = since_1970 - weekday(since_1970) + 4;
    let (year, _, _) = date(thursday);
    (year, (thursday - days(year, 1, 1)) / 7 + 1)
}

pub(super) fn date_text(since_1970: i64) -> String {
    let (year, month, day) = date(since_1970);
    if year < 1 { format!("{:04}-{month:02}-{day:02} BC", 1 - year) } else { format!("{year:04}-{month:02}-{day:02}") }
}

pub(super) fn time_text(micros: i64) -> String {
    let (seconds, micro) = (micros / SECOND, micros % SECOND);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if micro == 0 { text } else { format!("{text}.{micro:06}").trim_end_matches('0').to_string() }
}

pub(super) fn timestamp_text(instant: i64, zone: &str) -> String {
    let day = date_text(instant.div_euclid(DAY));
    let time = time_text(instant.rem_euclid(DAY));
    match day.strip_suffix(" BC") {
        Some(day) => format!("{day} {time}{zone} BC"),
        None => format!("{day} {time}{zone}"),
    }
}

/// So many months later; the day is kept, or becomes the month's last.
pub(super) fn add_months(since_1970: i64, months: i64) -> i64 {
    let (year, month, day) = date(since_1970);
    let number = year * 12 + month - 1 + months;
    let (year, month) = (number.div_euclid(12), number.rem_euclid(12) + 1);
    days(year, month, 1) + day.min(days_in(year, month)) - 1
}
