use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;

/// Serves ClickHouse's HTTP interface from an engine inside this process. There are no users: whoever
/// reaches the port can read and write everything.
#[derive(Debug, Clone, Parser)]
#[command(name = "marketprism-clickhouse", version)]
pub struct Arguments {
    /// Directory of the data; created when missing
    #[arg(long)]
    pub data: PathBuf,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8123")]
    pub listen: SocketAddr,
    /// The engine: libchdb.so
    #[arg(long, env = "MARKETPRISM_LIBCHDB")]
    pub library: PathBuf,
    /// Queries that run at once
    #[arg(long, default_value_t = 16)]
    pub queries: usize,
    /// Queries that wait for a free thread; more are answered with 503
    #[arg(long, default_value_t = 64)]
    pub waiting: usize,
    /// Memory of the engine in MiB; 90 % of the machine's when not given
    #[arg(long)]
    pub memory_limit_mib: Option<u64>,
    /// Seconds that running requests get to end after SIGTERM or SIGINT
    #[arg(long, default_value_t = 30)]
    pub drain_seconds: u64,
    /// Allow a listening address that other machines reach, and requests for any host name
    #[arg(long)]
    pub allow_remote: bool,
}

impl Arguments {
    /// Checks the ranges; an error names the argument, its value and the allowed values.
    pub fn validate(&self) -> anyhow::Result<()> {
        if !self.listen.ip().is_loopback() && !self.allow_remote {
            bail!(
                "--listen {}: only loopback addresses are allowed, because the engine has no users; \
                 --allow-remote lifts this",
                self.listen
            );
        }
        if !(1..=256).contains(&self.queries) {
            bail!("--queries {}: allowed are 1 to 256", self.queries);
        }
        if self.waiting > 10_000 {
            bail!("--waiting {}: allowed are 0 to 10000", self.waiting);
        }
        if self.memory_limit_mib.is_some_and(|mib| !(256..=1 << 24).contains(&mib)) {
            bail!(
                "--memory-limit-mib {}: allowed are 256 to 16777216",
                self.memory_limit_mib.unwrap_or_default()
            );
        }
        if !self.library.is_file() {
            bail!("--library {}: there is no such file", self.library.display());
        }
        Ok(())
    }

    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}
