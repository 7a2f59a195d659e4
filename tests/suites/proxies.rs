//! Promise: sockets and requests of a feed pass the same proxy, and none goes around it.

use std::process::Command;

use marketprism_tests::broker::free_port;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::parts;
use marketprism_tests::process::Process;
use marketprism_tests::wait::{becomes, eventually};
use marketprism_venue_sim::Sim;

use crate::{SYMBOLS, two_symbols};

const SOCKS: &str = "binance_spot";
const HTTP: &str = "binance_derivatives";

/// A program of others (PyPI), for HTTP and SOCKS 5 on one port, which notes every target.
fn start_proxy(port: u16, folder: &std::path::Path) -> Process {
    let mut command = Command::new(parts::python());
    command
        .args(["-u", "-m", "pproxy", "-v", "-l"])
        .arg(format!("http+socks5://127.0.0.1:{port}#ann:secret"));
    Process::start("proxy", &mut command, folder)
}

async fn collects(edge: &Edge, exchange: &str) {
    let before = edge.metric("marketprism_edge_frames_total", exchange).await;
    edge.reaches("marketprism_edge_frames_total", exchange, before + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_to_a_venue_passes_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let sim = Sim::start(two_symbols(100)).await.unwrap();
    sim.resume();
    let (port, address) = (free_port(), sim.addr().to_string());
    let mut socks = Feed::simulated(SOCKS, &address, &SYMBOLS);
    socks.extra = format!("proxy = \"socks5h://127.0.0.1:{port}\"\nproxy_user = \"ann\"\n");
    let feeds = [socks, Feed::simulated(HTTP, &address, &SYMBOLS)];
    let nats = format!("urls = [\"nats://127.0.0.1:{}\"]", free_port());
    let mut edge = Edge::prepared(folder.path(), &nats, &feeds)
        .with_variable("MARKETPRISM_FEED__0__PROXY_PASSWORD", "secret")
        .with_variable("HTTP_PROXY", &format!("http://ann:secret@127.0.0.1:{port}"));
    let (passes, shown) = edge.check();
    assert!(passes && !shown.contains("secret"), "{shown}");
    for (scheme, way) in [
        ("ws", format!("socks5h://***@127.0.0.1:{port} (feed[0].proxy)")),
        ("http", format!("socks5h://***@127.0.0.1:{port} (feed[0].proxy)")),
        ("ws", format!("http://***@127.0.0.1:{port} (HTTP_PROXY)")),
        ("http", format!("http://***@127.0.0.1:{port} (HTTP_PROXY)")),
    ] {
        let is_shown = shown.lines().any(|line| {
            line.trim_start().starts_with(&format!("{scheme}://{address}/")) && line.ends_with(&way)
        });
        assert!(is_shown, "{scheme} {way} is not in\n{shown}");
    }

    // Nothing reaches the venue before the proxy runs.
    edge.restart().await;
    eventually("both feeds miss the proxy", || async {
        let log = std::fs::read_to_string(edge.folder().join("edge.log")).unwrap();
        let missed = [SOCKS, HTTP].iter().all(|exchange| {
            log.lines().any(|line| line.contains(exchange) && line.contains("cannot reach the proxy"))
        });
        if missed { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(sim.connections().is_empty());
    let mut proxy = start_proxy(port, folder.path());
    collects(&edge, SOCKS).await;
    collects(&edge, HTTP).await;
    let noted = proxy.output();
    for form in ["socks5", "http"] {
        let passed = noted.lines().any(|line| line.starts_with(form) && line.contains(&address));
        assert!(passed, "{form} carried nothing to {address}:\n{noted}");
    }
    // A socket that went around the proxy would outlive it.
    proxy.kill();
    becomes("every socket is closed", || async { sim.connections() }, Vec::is_empty).await;
    let log = std::fs::read_to_string(edge.folder().join("edge.log")).unwrap();
    assert!(!log.contains("secret"), "{log}");
}
