//! The binary: one call into the door for people.

fn main() -> std::process::ExitCode {
    driftless::cli::main()
}
