use crate::process::Program;

pub const NATS: &str = "nats-server";
/// Hot tables, and the cold ones unless they are apart.
pub const CLICKHOUSE: &str = "clickhouse";
/// Cold tables if they are apart.
pub const CLICKHOUSE_COLD: &str = "clickhouse-cold";
/// Broker to tables.
pub const CENTRAL: &str = "central";
/// Stands in for unreachable venues.
pub const SIMULATOR: &str = "venue-sim";
/// Venues to broker.
pub const EDGE: &str = "edge";

/// Sources first, so that data in flight arrives before its receiver ends.
pub const STOP_ORDER: [&str; 6] = [EDGE, SIMULATOR, CENTRAL, CLICKHOUSE_COLD, CLICKHOUSE, NATS];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSpec {
    /// One of the names of this module.
    pub name: &'static str,
    pub program: Program,
    pub address: String,
    pub ports: Vec<PortUse>,
    pub ready: ReadyCheck,
    pub note: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortUse {
    pub port: u16,
    pub variable: String,
}

/// Condition for a started part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadyCheck {
    /// The URL answers with status 200.
    Healthy(String),
    /// The URL answers with any status.
    Answers(String),
    /// Its output has a line with this start; the rest of the line is its address.
    Line(&'static str),
}

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
