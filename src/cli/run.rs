//! `driftless run`: follow the sources and keep the models fresh.

use super::{Outcome, Shared, report};
use crate::daemon::{self, Assembly};
use crate::error::{Error, Result};
use clap::Args;

#[derive(Args)]
pub struct Run {
    /// Catch up to where the sources are now, publish, and exit
    #[arg(long)]
    once: bool,
}

impl Run {
    pub fn run(&self, shared: &Shared) -> Result<Outcome> {
        let project = shared.project()?;
        let config = shared.config(&project)?;
        let selected = shared.selected(&project)?;
        if selected.is_empty() {
            return Ok(Outcome::Good);
        }
        config.check_places()?;
        super::runtime()?.block_on(async {
            let (assembly, planned, sources) = Assembly::live(&project, &config, &selected).await?;
            let refused: Vec<Error> = planned.into_iter().filter_map(|planned| planned.outcome.err()).collect();
            if !refused.is_empty() {
                refused.iter().for_each(|error| report::error(error, shared.json));
                return Ok(Outcome::Failed);
            }
            tracing::info!(models = assembly.models.len(), sources = sources.len(), once = self.once, "starting");
            let run = daemon::Run { once: self.once, observer: None };
            daemon::run(assembly, sources, &config, run, stop_signal()?).await?;
            tracing::info!("stopped");
            Ok(Outcome::Good)
        })
    }
}

/// Ends with the first SIGINT or SIGTERM.
pub fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| Error::operator("cannot listen for signals").because(e));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
