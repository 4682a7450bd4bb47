//! What went wrong, said so that somebody can act on it.
//!
//! One type crosses every folder. It answers *who must act* ([`Who`]), *what was being done*, *what is
//! wrong*, *where* ([`Place`]: file, line, column and the span of SQL), and *what to do next* (one hint).
//! Messages are lower case, without a full stop, names in backticks. How it looks on a terminal is
//! decided in `cli/report`; this file promises only that the parts are there.

use std::fmt;
use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who must act for the work to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nobody: the same call may succeed later (a connection cut, a lock held).
    Retry,
    /// The person who runs us: configuration, SQL, rights, disk.
    Operator,
    /// Somebody must look at the data: what we read is not what we wrote.
    Corrupt,
    /// We must: an invariant of ours does not hold.
    Bug,
}

/// A place in a file of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    /// Counted from 1; 0 where the whole file is meant.
    pub line: usize,
    /// Counted from 1; 0 where the whole line is meant.
    pub column: usize,
    /// The line as it stands and how many characters from `column` on to underline.
    pub excerpt: Option<(String, usize)>,
}

impl Place {
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Place { file: file.into(), line: 0, column: 0, excerpt: None }
    }

    pub fn at(file: impl Into<PathBuf>, line: usize, column: usize) -> Self {
        Place { file: file.into(), line, column, excerpt: None }
    }

    /// Shows `line` of `text`, underlined from `column` over `width` characters.
    pub fn within(file: impl Into<PathBuf>, text: &str, line: usize, column: usize, width: usize) -> Self {
        let excerpt = text.lines().nth(line.wrapping_sub(1)).map(|l| (l.to_string(), width.max(1)));
        Place { file: file.into(), line, column, excerpt }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
            if self.column > 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    who: Who,
    what: String,
    doing: Vec<String>,
    place: Option<Place>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(who: Who, what: impl Into<String>) -> Self {
        Error(Box::new(Inner { who, what: what.into(), doing: Vec::new(), place: None, hint: None, source: None }))
    }
    pub fn retry(what: impl Into<String>) -> Self {
        Self::new(Who::Retry, what)
    }
    pub fn operator(what: impl Into<String>) -> Self {
        Self::new(Who::Operator, what)
    }
    pub fn corrupt(what: impl Into<String>) -> Self {
        Self::new(Who::Corrupt, what)
    }
    pub fn bug(what: impl Into<String>) -> Self {
        Self::new(Who::Bug, what)
    }

    /// What was under way, outermost last: "publish snapshot of `orders`".
    pub fn doing(mut self, doing: impl Into<String>) -> Self {
        self.0.doing.push(doing.into());
        self
    }
    pub fn at(mut self, place: Place) -> Self {
        self.0.place.get_or_insert(place);
        self
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub fn who(&self) -> Who {
        self.0.who
    }
    pub fn what(&self) -> &str {
        &self.0.what
    }
    pub fn steps(&self) -> &[String] {
        &self.0.doing
    }
    pub fn place(&self) -> Option<&Place> {
        self.0.place.as_ref()
    }
    pub fn remedy(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}", self.0.what)?;
        for doing in &self.0.doing {
            write!(f, ", while trying to {doing}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| s.as_ref() as _)
    }
}

/// `result.doing("copy table `orders`")?` and its like.
pub trait Doing<T> {
    fn doing(self, doing: impl Into<String>) -> Result<T>;
}

impl<T> Doing<T> for Result<T> {
    fn doing(self, doing: impl Into<String>) -> Result<T> {
        self.map_err(|e| e.doing(doing))
    }
}
