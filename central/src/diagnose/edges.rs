//! Checks of what the stores do not show: edges, asked over the broker, and this configuration's listener.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clickhouse::Row;
use futures_util::StreamExt as _;
use marketprism_schema::{EDGE_STATUS_SUBJECT, EdgeDisk, EdgeHeartbeat, with_unknown_names};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::check::{Check, CheckStatus};
use crate::fleet::EdgeLife;
use crate::limits::{EDGES_ANSWER_WAIT, EDGES_LATE_ANSWER_WAIT, EDGES_MAX, LISTENER_ANSWER_WAIT};
use crate::report::document::FindingCode as Code;
use crate::report::sources::edges as source;
use crate::report::{Sources, edge_findings};
use crate::role::Role;
use crate::time::Time;
use crate::{clock, sql};

/// An edge with an audit of this age must answer.
const PUBLISHED_LATELY_MS: i64 = 10 * 60_000;
/// Status of a message without a subscriber.
const NO_RESPONDERS: u16 = 503;

#[derive(Debug, Row, Deserialize)]
struct AuditingEdge {
    edge: String,
}

/// Asks all edges at once.
pub async fn edges(sources: &Sources) -> Vec<Check> {
    let known = known_edges(sources).await;
    let asked = sources.broker_answer(ask(sources, &known)).await;
    let answers = match asked {
        Ok(answers) => answers,
        Err(reason) => return vec![Check::unavailable("edges", reason, "")],
    };
    let answered: BTreeSet<&str> = answers.iter().flatten().map(|status| status.edge.as_str()).collect();
    let silent = known.iter().filter(|edge| !answered.contains(edge.as_str()));
    let silent = silent.map(|edge| {
        let seconds = EDGES_ANSWER_WAIT.as_secs();
        let text = format!("no answer within {seconds} s, although its audits are at most 10 minutes old");
        let remedy = "check that it runs and that its user of the broker may subscribe `edge_status`";
        Check::new(Code::EdgeNoAnswer, format!("edge {edge}"), CheckStatus::Warn, text, remedy)
    });
    let mut checks: Vec<Check> = answers.iter().flat_map(answer_checks).chain(silent).collect();
    if checks.is_empty() {
        let text = "no edge answers, and none published lately";
        checks.push(Check::new(Code::EdgeNoAnswer, "edges", CheckStatus::Warn, text, "start an edge"));
    }
    checks
}

/// Edges whose heartbeats do not come any more.
pub async fn heartbeats(sources: &Sources) -> Vec<Check> {
    const NAME: &str = "heartbeats";
    let edges = match source::edges(sources).await {
        Err(reason) => return vec![Check::unavailable(NAME, reason, "")],
        Ok(edges) => edges,
    };
    let findings = edge_findings(&edges);
    if findings.is_empty() {
        let count = |life| edges.iter().filter(|edge| edge.state == life).count();
        let (running, stopped) = (count(EdgeLife::Running), count(EdgeLife::Stopped));
        return vec![Check::ok(NAME, format!("{running} edges running, {stopped} stopped, none silent"))];
    }
    findings.into_iter().map(Check::from).collect()
}

/// Edges that published an audit lately; none if hot does not answer, which another check reports.
async fn known_edges(sources: &Sources) -> BTreeSet<String> {
    let since = sql::millis(clock::now_ns() / 1_000_000 - PUBLISHED_LATELY_MS);
    let query = format!(
        "SELECT DISTINCT toString(edge) AS edge FROM {}.audits WHERE window_start >= {since} LIMIT {EDGES_MAX}",
        sources.hot.database
    );
    let rows = sources.rows::<AuditingEdge>(&sources.hot, &query).await.unwrap_or_default();
    rows.into_iter().map(|row| row.edge).collect()
}

type EdgeAnswer = Result<EdgeHeartbeat, String>;

/// Every answer that comes in time; once all known edges have answered, only a moment more for others.
async fn ask(sources: &Sources, known: &BTreeSet<String>) -> anyhow::Result<Vec<EdgeAnswer>> {
    let client = &sources.broker.client;
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await?;
    client.publish_with_reply(EDGE_STATUS_SUBJECT, inbox, bytes::Bytes::new()).await?;
    client.flush().await?;
    let mut deadline = Instant::now() + EDGES_ANSWER_WAIT;
    let (mut answers, mut missing) = (Vec::new(), known.clone());
    while let Ok(Some(message)) = timeout_at(deadline, messages.next()).await {
        if message.status.is_some_and(|status| status.as_u16() == NO_RESPONDERS) || answers.len() >= EDGES_MAX
        {
            break;
        }
        let (answer, _unknown) = with_unknown_names(|| EdgeHeartbeat::decode(&message.payload));
        let answer = answer.map_err(|error| error.to_string());
        if let Ok(status) = &answer {
            missing.remove(&status.edge);
        }
        answers.push(answer);
        if missing.is_empty() && !known.is_empty() {
            deadline = deadline.min(Instant::now() + EDGES_LATE_ANSWER_WAIT);
        }
    }
    Ok(answers)
}

fn answer_checks(answer: &EdgeAnswer) -> Vec<Check> {
    let status = match answer {
        Ok(status) => status,
        Err(reason) => {
            return vec![Check::unavailable("edges", reason.clone(), "run one version of edge and central")];
        }
    };
    let EdgeHeartbeat { edge, region, program_version, host, started, data_dir, .. } = status;
    let name = format!("edge {edge}");
    let since = Time(started / 1_000_000);
    let text = format!("{} on {host} in {region}, version {program_version}, since {since}", status.status);
    let mut checks = Vec::new();
    if status.reasons.is_empty() {
        checks.push(Check::ok(name.clone(), text));
    } else {
        let found = if status.status == "unhealthy" { CheckStatus::Fail } else { CheckStatus::Warn };
        let text = format!("{text}: {}", status.reasons.join("; "));
        let remedy = "read its /coverage and its log";
        checks.push(Check::new(Code::EdgeUnhealthy, name.clone(), found, text, remedy));
    }
    if let Some(EdgeDisk { free_bytes, total_bytes }) = status.disk {
        let text = format!("{} of {} MiB free in {data_dir}", free_bytes >> 20, total_bytes >> 20);
        let name = format!("{name} disk");
        checks.push(if free_bytes < total_bytes / 10 {
            Check::new(Code::EdgeLowDisk, name, CheckStatus::Warn, text, "free disk space there")
        } else {
            Check::ok(name, text)
        });
    }
    checks
}

/// Asks the address of this configuration, as an operator's monitoring would.
pub async fn listener(sources: &Sources) -> Check {
    let http = &sources.config.http;
    let address = reachable(http.address(Role::All));
    let name = format!("port {address}");
    let answered =
        match timeout(LISTENER_ANSWER_WAIT, first_line(address, http.tls_cert_file.is_some())).await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", LISTENER_ANSWER_WAIT.as_secs())),
        };
    match answered {
        Ok(line) if line.is_empty() || line.starts_with("HTTP/1.1 ") => Check::ok(name, "answers"),
        Ok(line) => {
            let text = format!("another program answers: {line:?}");
            let remedy = "stop that program, or change http.listen";
            Check::new(Code::CentralNoListener, name, CheckStatus::Warn, text, remedy)
        }
        Err(reason) => {
            let remedy = "start a central with this configuration here, or run this command where it runs";
            Check::new(Code::CentralNoListener, name, CheckStatus::Warn, reason, remedy)
        }
    }
}

/// The address at which this machine reaches a listener.
pub const fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Begin of the answer to a request; empty where TLS is spoken, which is not looked into.
async fn first_line(address: SocketAddr, is_tls: bool) -> std::io::Result<String> {
    const LINE_BYTES: usize = 32;
    let mut stream = TcpStream::connect(address).await?;
    if is_tls {
        return Ok(String::new());
    }
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = [0; LINE_BYTES];
    let read = stream.read(&mut answer).await?;
    let answer = String::from_utf8_lossy(answer.get(..read).unwrap_or_default());
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::fleet::fixtures::heartbeat;

    fn status(word: &str, reasons: &[&str], free_bytes: u64) -> EdgeAnswer {
        Ok(EdgeHeartbeat {
            status: word.into(),
            reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            disk: Some(EdgeDisk { free_bytes, total_bytes: 100 << 20 }),
            ..heartbeat("e1")
        })
    }

    #[test]
    fn an_edge_s_own_reasons_and_its_full_disk_become_checks() {
        let of = |answer: &EdgeAnswer| -> Vec<_> {
            answer_checks(answer).into_iter().map(|check| (check.found, check.text)).collect()
        };
        let room = (CheckStatus::Ok, "50 of 100 MiB free in /d".to_owned());
        let text = |text: &str| {
            format!("{text} on h in r, version 1, since {}", Time(heartbeat("e1").started / 1_000_000))
        };
        assert_eq!(of(&status("healthy", &[], 50 << 20)), [(CheckStatus::Ok, text("healthy")), room.clone()]);
        let unhealthy = (CheckStatus::Fail, format!("{}: a; b", text("unhealthy")));
        let full = (CheckStatus::Warn, "9 of 100 MiB free in /d".to_owned());
        assert_eq!(of(&status("unhealthy", &["a", "b"], 9 << 20)), [unhealthy, full]);
        assert_eq!(of(&status("degraded", &["a"], 50 << 20))[0].0, CheckStatus::Warn);
        assert_eq!(of(&Err("heartbeat: version 2".into()))[0].0, CheckStatus::Unknown);
    }

    #[tokio::test]
    async fn a_port_is_identified_by_what_answers_there() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = server.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut client, _) = server.accept().await.unwrap();
            assert!(client.read(&mut [0; 256]).await.unwrap() > 0);
            client.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        });
        assert_eq!(first_line(address, false).await.unwrap(), "SSH-2.0-x");
        served.await.unwrap();
        assert!(first_line(address, false).await.is_err(), "nobody listens any more");
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()).to_string(), "127.0.0.1:1");
    }
}
