//! Servers behind the address of ClickHouse: of several replicas behind a balancer one may lag, and a lookup there misses rows that another one
//! has, so that they would be stored twice.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use marketprism_config::MaskedUrl;

use super::check::{Check, CheckStatus};
use crate::report::Sources;
use crate::report::document::FindingCode as Code;
use crate::storage::Storage;

/// Queries at once, each on a connection of its own.
const QUERIES: usize = 8;

/// Name, identity and first disk of the server that answers.
const IDENTITY: &str =
    "SELECT concat(hostName(), ' ', toString(serverUUID()), ' ', min(path)) AS server FROM system.disks";

pub async fn one_server(sources: &Sources, role: &str, storage: &Storage, url: &MaskedUrl) -> Option<Check> {
    let asked = (0..QUERIES).map(|_| sources.rows::<String>(storage, IDENTITY));
    let answers = join_all(asked).await;
    // Another check reports an address that does not answer.
    let servers: BTreeSet<String> = answers.into_iter().flatten().flatten().collect();
    let text = || {
        let servers = servers.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        format!("{url} leads to several servers: {servers}; allowed is one")
    };
    let check = || {
        let remedy = "give the address of one server, or let the balancer keep to one while it answers";
        Check::new(
            Code::ClickhouseSeveralServers,
            format!("clickhouse {role}"),
            CheckStatus::Warn,
            text(),
            remedy,
        )
    };
    (servers.len() > 1).then(check)
}
