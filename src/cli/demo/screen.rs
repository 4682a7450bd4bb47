//! The live table: redrawn in place on a terminal, a line now and then elsewhere.

use crate::cli::report;
use crate::daemon::status::{Phase, Status};
use std::io::{IsTerminal, Write};
use std::time::Duration;

const LINE_EVERY: Duration = Duration::from_secs(5);

pub struct Screen {
    terminal: bool,
    /// Lines on the terminal that the next picture takes the place of.
    shown: usize,
    next_line: Duration,
}

/// What the daemon cannot know of the demo.
pub struct Progress {
    /// Since the writes began.
    pub elapsed: Duration,
    pub written: u64,
}

impl Screen {
    /// Where stdout is for a machine, nothing but lines on stderr.
    pub fn new(json: bool) -> Screen {
        Screen { terminal: std::io::stdout().is_terminal() && !json, shown: 0, next_line: Duration::ZERO }
    }

    /// To be called every second.
    pub fn draw(&mut self, status: &Status, progress: &Progress) {
        if self.terminal {
            let text = table(status, progress);
            let up = if self.shown > 0 { format!("\x1b[{}A\x1b[J", self.shown) } else { String::new() };
            self.shown = text.lines().count();
            let mut stdout = std::io::stdout();
            let _ = write!(stdout, "{up}{text}").and_then(|()| stdout.flush());
        } else if progress.elapsed >= self.next_line {
            self.next_line = progress.elapsed + LINE_EVERY;
            eprintln!("{}", line(status, progress));
        }
    }

    /// What was drawn stays.
    pub fn leave(&mut self) {
        self.shown = 0;
    }
}

fn table(status: &Status, progress: &Progress) -> String {
    let lag = status.lag_ms.map_or("-".into(), |ms| format!("{ms} ms"));
    let rows: Vec<Vec<String>> = status
        .models
        .iter()
        .map(|model| {
            let published = model.published.as_ref();
            vec![
                model.name.clone(),
                model.rows.to_string(),
                format!("{:.0}", model.changes_per_s),
                status.moment.to_string(),
                lag.clone(),
                published.map_or("-".into(), |p| p.moment.to_string()),
                published.map_or("-".into(), |p| p.snapshot_id.to_string()),
            ]
        })
        .collect();
    let headers = ["model", "rows", "changes/s", "Moment", "lag", "published", "last snapshot"];
    format!("{}\n\n{}", line(status, progress), report::table(&headers, &rows))
}

fn line(status: &Status, progress: &Progress) -> String {
    let (seconds, written) = (progress.elapsed.as_secs(), progress.written);
    let doing = match status.phase {
        Phase::Copying => format!("first copy, {} rows so far", status.rows_copied),
        _ => {
            let changes: f64 = status.models.iter().map(|model| model.changes_per_s).sum();
            let lag = status.lag_ms.map_or("-".into(), |ms| format!("{ms} ms"));
            format!("Moment {}, lag {lag}, {changes:.0} changes/s in {} models", status.moment, status.models.len())
        }
    };
    format!("{seconds:>4} s  {written} transactions written; {doing}")
}
