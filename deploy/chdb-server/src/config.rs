use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Parser;

use crate::limits::MEMORY_PERCENT;
use crate::memory;

/// Serves ClickHouse's HTTP interface from an engine inside this process, to one user, `default`. Statements that
/// reach files, the network or programs are refused.
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
    /// File of the password, on its first line; created with a random one, mode 600; <DATA>/password when not given
    #[arg(long)]
    pub password_file: Option<PathBuf>,
    /// Queries that run at once, in addition to 4 inserts and 2 reads of the running queries
    #[arg(long, default_value_t = 16)]
    pub queries: usize,
    /// Queries that wait for a free thread; more are answered with 503
    #[arg(long, default_value_t = 64)]
    pub waiting: usize,
    /// Memory of the engine in MiB; --memory-percent of the machine's or cgroup's when not given
    #[arg(long)]
    pub memory_limit_mib: Option<u64>,
    /// Share of the memory of the machine or of its cgroup, whichever is less
    #[arg(long, default_value_t = MEMORY_PERCENT)]
    pub memory_percent: u64,
    /// Seconds that running requests get to end after SIGTERM or SIGINT
    #[arg(long, default_value_t = 30)]
    pub drain_seconds: u64,
    /// Allow a listening address that other machines reach, and requests for any host name
    #[arg(long)]
    pub allow_remote: bool,
    /// Origin of web pages that may send requests and read the answers, such as `https://grafana.example`; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Further right of the user, such as `READ ON REMOTE`; may be given several times
    #[arg(long, value_name = "RIGHT")]
    pub grant: Vec<String>,
    /// Run without Landlock and seccomp, for kernels on which they do not work
    #[arg(long)]
    pub no_sandbox: bool,
}

impl Arguments {
    /// Checks the ranges; an error names the argument, its value and the allowed values.
    pub fn validate(&self) -> anyhow::Result<()> {
        if !self.listen.ip().is_loopback() && !self.allow_remote {
            bail!(
                "--listen {}: only loopback addresses are allowed, because passwords and data would pass the \
                 network in the clear; --allow-remote lifts this",
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
        if !(1..=100).contains(&self.memory_percent) {
            bail!("--memory-percent {}: allowed are 1 to 100", self.memory_percent);
        }
        let is_right = |right: &String| {
            right.bytes().all(|b| b.is_ascii_alphabetic() || b == b' ' || b == b'*' || b == b'.')
        };
        if let Some(right) = self.grant.iter().find(|right| right.is_empty() || !is_right(right)) {
            bail!(
                "--grant {right:?}: allowed are ClickHouse's names of rights, `RIGHT` or `RIGHT ON OBJECT`"
            );
        }
        if let Some(origin) = self.allow_origin.iter().find(|origin| !is_origin(origin)) {
            bail!(
                "--allow-origin {origin:?}: allowed is http://HOST[:PORT] or https://HOST[:PORT], without a path"
            );
        }
        if !self.library.is_file() {
            bail!("--library {}: there is no such file", self.library.display());
        }
        Ok(())
    }

    /// Bytes.
    pub fn memory_limit(&self) -> anyhow::Result<u64> {
        match self.memory_limit_mib {
            Some(mib) => Ok(mib << 20),
            None => Ok(memory::available()? / 100 * self.memory_percent),
        }
    }

    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

/// As browsers write it.
fn is_origin(text: &str) -> bool {
    let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    authority.is_some_and(|authority| {
        !authority.is_empty()
            && authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
    })
}
