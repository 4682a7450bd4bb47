//! The door for people: one file for each verb, dbt's words where dbt has them.
//!
//! stdout is for data, stderr for talk. Exit codes are chosen here and nowhere else: 0 good, 1 a failure that
//! was said, 2 a call that was not understood.

mod compile;
pub mod demo;
mod list;
mod plan;
mod report;
mod run;
mod state;
mod status;
mod verify;

use crate::daemon::Config;
use crate::error::{Error, Result};
use crate::project::{Model, Options, Project};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Keeps dbt models fresh: follows Postgres and MySQL, maintains every model, commits Iceberg tables
#[derive(Parser)]
#[command(name = "driftless", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Follow the sources and keep the models fresh, until stopped
    ///
    /// Where `dbt run` builds tables anew whenever it is called, this reads what the databases change, as they
    /// change it, and commits each model's Iceberg table within `commit_every` of driftless.yml. Ctrl-C or SIGTERM
    /// stops it after a last commit; the next start goes on from there.
    Run(run::Run),
    /// Show the SQL of the models, rendered
    ///
    /// As `dbt compile`: to stdout, and to files below target/compiled. Connects to nothing.
    Compile,
    /// List the models
    ///
    /// As `dbt ls --resource-type model`. Connects to nothing.
    #[command(visible_alias = "list")]
    Ls(list::List),
    /// Show how each model is kept up to date, or why it is refused
    ///
    /// Asks the sources for their tables and changes nothing, there or here.
    Plan,
    /// Prove that what is published equals a full recompute
    ///
    /// Computes every model's SQL over the sources' rows as they were at the last commit, and compares with its
    /// Iceberg table, row by row. A running daemon does it and goes on meanwhile.
    Verify,
    /// Show each model: rows, Moment, lag, last snapshot
    Status,
    /// Show what the state takes, in memory and on disk
    ///
    /// Each source table, and each arrangement that a model is maintained by, with its rows. Asks the running
    /// daemon, or reads what the last one left.
    State,
    /// Start private databases, drive writes for a minute, watch the models, verify
    ///
    /// A small shop: its orders in Postgres, its billing in MariaDB. Both start privately below state/demo, are
    /// written to while every model is kept fresh, and are gone at the end; the Iceberg tables stay. Where the
    /// databases' programs are not installed, recorded logs of changes take their place.
    Demo(demo::Demo),
}

/// What every verb takes, as dbt's do.
#[derive(Args)]
pub struct Shared {
    /// Where dbt_project.yml and driftless.yml are
    #[arg(long, global = true, value_name = "DIR", env = "DBT_PROJECT_DIR", default_value = ".")]
    project_dir: PathBuf,
    /// Where profiles.yml is
    #[arg(long, global = true, value_name = "DIR", env = "DBT_PROFILES_DIR")]
    profiles_dir: Option<PathBuf>,
    /// The target of the profile
    #[arg(long, short = 't', global = true, env = "DBT_TARGET")]
    target: Option<String>,
    /// Variables of the project, as YAML or JSON: '{key: value}'
    #[arg(long, global = true, value_name = "YAML")]
    vars: Option<String>,
    /// Models to take: names, +name+, tag:, path:, source: … (space: union, comma: intersection)
    #[arg(long, short = 's', visible_short_alias = 'm', global = true, num_args = 1.., value_name = "MODELS")]
    select: Vec<String>,
    /// Models to leave out
    #[arg(long, global = true, num_args = 1.., value_name = "MODELS")]
    exclude: Vec<String>,
    /// Answer as JSON, one document or one line each
    #[arg(long, global = true)]
    json: bool,
    /// How much to say
    #[arg(long, global = true, value_name = "LEVEL", env = "DBT_LOG_LEVEL", default_value = "info",
        ignore_case = true, value_parser = ["none", "error", "warn", "info", "debug"])]
    log_level: String,
}

pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap's own words; --help and --version come this way too and are no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    crate::world::one_heap();
    // Two TLS providers are in the tree; every client takes the one chosen here.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // Log lines would tear the demo's live table apart, unless somebody asks for them.
    let quiet = matches!(cli.verb, Verb::Demo(_)) && cli.shared.log_level == "info";
    report::start_logging(if quiet { "warn" } else { &cli.shared.log_level });
    let shared = &cli.shared;
    let result = match &cli.verb {
        Verb::Run(run) => run.run(shared),
        Verb::Compile => compile::run(shared),
        Verb::Ls(list) => list.run(shared),
        Verb::Plan => plan::run(shared),
        Verb::Verify => verify::run(shared),
        Verb::Status => status::run(shared),
        Verb::State => state::run(shared),
        Verb::Demo(demo) => demo.run(shared),
    };
    match result {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(1),
        Err(error) => {
            report::error(&error, shared.json);
            ExitCode::from(1)
        }
    }
}

/// How a verb ended that has said all there is to say.
pub enum Outcome {
    Good,
    Failed,
}

impl Shared {
    fn project(&self) -> Result<Project> {
        let vars = match &self.vars {
            None => Default::default(),
            Some(text) => crate::project::parse_vars(text)?,
        };
        let options = Options { target: self.target.clone(), vars, profiles_dir: self.profiles_dir.clone() };
        let dir = std::path::absolute(&self.project_dir).unwrap_or_else(|_| self.project_dir.clone());
        let project = Project::load(&dir, &options)?;
        project.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(project)
    }

    fn config(&self, project: &Project) -> Result<Config> {
        Config::load(project)
    }

    /// The models that the call means; says dbt's sentence where there are none.
    fn selected<'a>(&self, project: &'a Project) -> Result<Vec<&'a Model>> {
        let selected = project.select(&self.select, &self.exclude)?;
        if selected.is_empty() && self.select.is_empty() {
            eprintln!("Nothing to do. Try checking your model configs and model specification args");
        } else if selected.is_empty() {
            let criterion = self.select.join(" ");
            eprintln!("The selection criterion '{criterion}' does not match any enabled nodes");
        }
        Ok(selected)
    }
}

/// The threads on which sources wait for their servers.
fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|e| Error::operator("no threads to run on").because(e))
}
