//! What a part is.

use crate::process::Program;

/// The broker.
pub const NATS: &str = "nats-server";
/// The tables; the cold ones too unless they are apart.
pub const CLICKHOUSE: &str = "clickhouse";
/// The cold tables where they are apart.
pub const CLICKHOUSE_COLD: &str = "clickhouse-cold";
/// From the broker into the tables.
pub const CENTRAL: &str = "central";
/// The venues, where the real ones are not to be reached.
pub const SIMULATOR: &str = "venue-sim";
/// From the venues into the broker.
pub const EDGE: &str = "edge";

/// Sources first, so that what is on the way arrives before its receiver ends.
pub const STOP_ORDER: [&str; 6] = [EDGE, SIMULATOR, CENTRAL, CLICKHOUSE_COLD, CLICKHOUSE, NATS];

/// A part that is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSpec {
    /// One of the names of this module.
    pub name: &'static str,
    /// What is run.
    pub program: Program,
    /// Where it listens, for people.
    pub address: String,
    /// Ports that it takes, on loopback.
    pub ports: Vec<PortUse>,
    /// How to see that it has started.
    pub ready: Ready,
    /// What it is started for.
    pub note: String,
}

/// A port that a part takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortUse {
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The variable that moves it.
    pub variable: String,
}

/// How to see that a part has started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It answers with status 200 there.
    Healthy(String),
    /// It answers there, with any status.
    Answers(String),
    /// Its output has a line that starts so; the rest of the line is its address.
    Line(&'static str),
}

/// Where a part tells how it is.
pub(super) fn health_url(part: &str, ports: &[u16]) -> Option<String> {
    let (port, path) = match part {
        NATS => (ports.get(1)?, "/healthz"),
        CLICKHOUSE | CLICKHOUSE_COLD => (ports.first()?, "/ping"),
        CENTRAL | EDGE => (ports.first()?, "/health"),
        SIMULATOR => (ports.first()?, "/sim/state"),
        _ => return None,
    };
    Some(format!("http://127.0.0.1:{port}{path}"))
}
