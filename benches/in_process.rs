//! A daemon in the process of a bench, which is told of every Moment.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

use driftless::daemon::{Assembly, Config, Observed, Run};
use driftless::project::{Options, Project};

pub struct InProcess {
    pub observed: Receiver<Observed>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl InProcess {
    /// Runs the models of these names, or all where none is named, and waits for the first publication.
    pub fn start(dir: &Path, names: &'static [&'static str]) -> InProcess {
        driftless::world::one_heap();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (observer, observed) = channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let dir = dir.to_path_buf();
        let thread = std::thread::spawn(move || {
            let project = Project::load(&dir, &Options::default()).expect("the project loads");
            let config = Config::load(&project).expect("the configuration loads");
            let named = |name: &str| names.is_empty() || names.contains(&name);
            let models: Vec<_> = project.models.iter().filter(|model| named(&model.name)).collect();
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
            runtime.block_on(async {
                let (assembly, _, sources) = Assembly::live(&project, &config, &models).await.expect("it compiles");
                let run = Run { once: false, observer: Some(observer) };
                let stop = async { drop(stopped.await) };
                driftless::daemon::run(assembly, sources, &config, run, stop).await.expect("it runs");
            });
        });
        while !matches!(observed.recv().expect("the daemon runs"), Observed::Published { .. }) {}
        InProcess { observed, stop, thread }
    }

    pub fn finish(self) {
        let _ = self.stop.send(());
        self.thread.join().expect("the daemon stops");
    }
}

/// What stands behind `name` on the command line.
pub fn setting(name: &str, default: &str) -> String {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1).unwrap_or_else(|| default.to_string())
}
