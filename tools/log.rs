//! The log, for which RUST_LOG asks: what is done, and how long it takes, also by libraries.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Begins a log to standard error if RUST_LOG asks for one, such as RUST_LOG=debug.
pub fn start() {
    let Ok(filter) = EnvFilter::try_from_default_env() else { return };
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Another log that was begun before stays.
    let _ = log.with_ansi(colour).with_target(true).finish().try_init();
}
