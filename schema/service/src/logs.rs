//! Log output of the binaries.

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error. `MARKETPRISM_LOG` filters (such as `info,marketprism_edge=debug`);
/// `MARKETPRISM_LOG_FORMAT=json` writes one JSON object a line. A second call changes nothing.
pub fn init_logs() {
    let filter =
        EnvFilter::try_from_env("MARKETPRISM_LOG").unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = if std::env::var("MARKETPRISM_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().try_init()
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was already started");
    }
}
