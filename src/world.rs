//! The only file that asks the time or the machine, rolls dice, or fails on purpose.
//!
//! Everything else is handed its time and its chance, so that a run can be repeated from a seed. It does
//! not promise a monotone wall clock: code that needs order uses [`Instant`].

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, from the wall clock.
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}

/// A clock for measuring, never set back.
pub fn instant() -> Instant {
    Instant::now()
}

/// What the process takes of the machine's memory now; 0 where the system does not say.
pub fn memory_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

/// Makes all threads share one heap. Blocks are made by one thread and given up by another: of several heaps each
/// would keep what it once needed.
pub fn one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it sets a number of the allocator, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives the system back what the heap holds and nobody uses.
pub fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it looks at free memory alone, under the allocator's own lock.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Sixteen bytes of chance, as they are in a UUID.
pub fn seed() -> [u8; 16] {
    uuid::Uuid::new_v4().into_bytes()
}

/// A name that nothing else has.
pub fn unique_name() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Dies here, as by kill -9, when `DRIFTLESS_CRASH_AT` names this point: how tests visit every place
/// between two steps of a commit.
pub fn crash_point(name: &str) {
    if std::env::var_os("DRIFTLESS_CRASH_AT").is_some_and(|at| at == name) {
        eprintln!("crash point `{name}` reached");
        std::process::abort();
    }
}
