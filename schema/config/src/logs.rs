//! Log output of the binaries.

use tracing_subscriber::EnvFilter;

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error. `MARKETPRISM_LOG` filters (such as `info,marketprism_edge=debug`); `MARKETPRISM_LOG_FORMAT=json` wins over
/// the format given. Calling it twice keeps the first.
pub fn init_logs(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env("MARKETPRISM_LOG").unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn"));
    let json =
        format == LogFormat::Json || std::env::var("MARKETPRISM_LOG_FORMAT").is_ok_and(|f| f == "json");
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let outcome = if json { builder.json().try_init() } else { builder.with_ansi(ansi).try_init() };
    if let Err(error) = outcome {
        tracing::debug!(%error, "logging was already started");
    }
}
