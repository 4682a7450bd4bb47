//! What the tests stand on: private database servers, traffic with a seed, readers of Iceberg tables, the
//! built binary on a project of its own, and one comparison.
//!
//! Nothing here is shared between test processes but two things in the cache directory that are only ever
//! made whole: freshly initialised data directories, copied at each start, and the Python environments of
//! `make setup`. Whatever a test starts ends with it, even if it dies by kill -9: see `keeper`.
#![allow(dead_code, reason = "each test binary compiles all of this and uses a part")]

pub mod compare;
pub mod driftless;
pub mod keeper;
pub mod mariadb;
pub mod postgres;
pub mod readers;
pub mod shop;
pub mod traffic;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The top of the repository, which is the example project as well.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where `make setup` puts what outlives a run.
pub fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("driftless");
    std::fs::create_dir_all(&cache).expect("the cache directory can be made");
    cache
}

/// Asks again and again until there is an answer; panics with `what` at the deadline.
pub fn wait_for<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
