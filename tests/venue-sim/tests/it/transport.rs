//! TLS with an authority of its own, and the program itself.

use std::process::Stdio;
use std::sync::Arc;

use futures_util::StreamExt as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::client::{SOON, Ws, start};

#[tokio::test]
async fn tls_works_with_the_written_authority_only() {
    let dir = tempfile::tempdir().expect("folder");
    let sim = start(|config| config.tls_dir = Some(dir.path().join("tls"))).await;
    let connect = |roots: rustls::RootCertStore, name: &'static str| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = sim.addr();
        async move {
            let tcp = TcpStream::connect(address).await.expect("connects");
            TlsConnector::from(Arc::new(config)).connect(name.try_into().expect("name"), tcp).await
        }
    };
    assert!(connect(rustls::RootCertStore::empty(), "localhost").await.is_err());
    for name in ["localhost", "127.0.0.1"] {
        let mut roots = rustls::RootCertStore::empty();
        let pem = sim.ca_file().expect("TLS").to_owned();
        assert_eq!(pem, dir.path().join("tls/ca.pem"));
        roots.add(CertificateDer::from_pem_file(pem).expect("PEM")).expect("authority");
        let tls = connect(roots, name).await.expect("trusted");
        let url = format!("{}/ws/btcusdt@trade", sim.ws_base("binance_spot"));
        assert!(url.starts_with("wss://"));
        let (mut ws, _) = tokio_tungstenite::client_async(url, tls).await.expect("websocket");
        let frame = timeout(SOON, ws.next()).await.expect("in time").expect("open").expect("frame");
        assert!(frame.to_text().expect("text").contains("\"trade\""));
    }
}

#[tokio::test]
async fn the_program_serves_and_ends_on_a_signal() {
    for signal in ["TERM", "INT", "HUP"] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_marketprism-venue-sim"));
        let (mut child, address) = started(&mut command).await;
        let mut ws = Ws::open(&format!("ws://{address}/binance_spot/ws/foousdc@trade")).await;
        assert_eq!(ws.json().await["s"], "FOOUSDC");
        send(signal, &child);
        let status = timeout(SOON, child.wait()).await.expect("in time").expect("waited");
        assert!(status.success(), "{signal}: {status}");
    }
}

/// `nohup` starts programs with SIGHUP ignored.
#[tokio::test]
async fn a_hangup_that_is_ignored_at_the_start_stays_ignored() {
    let mut command = tokio::process::Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_marketprism-venue-sim"));
    let (mut child, address) = started(&mut command).await;
    send("HUP", &child);
    let mut ws = Ws::open(&format!("ws://{address}/binance_spot/ws/foousdc@trade")).await;
    assert_eq!(ws.json().await["s"], "FOOUSDC");
    send("TERM", &child);
    let status = timeout(SOON, child.wait()).await.expect("in time").expect("waited");
    assert!(status.success(), "{status}");
}

/// The program with its address.
async fn started(command: &mut tokio::process::Command) -> (tokio::process::Child, String) {
    let mut child = command
        .args(["--listen", "127.0.0.1:0", "--exchange", "binance_spot", "--symbols", "BTCUSDT,FOOUSDC"])
        .args(["--seed", "5", "--rate", "200"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let line = timeout(SOON, lines.next_line()).await.expect("in time").expect("read").expect("line");
    let address = line.strip_prefix("listening on ").expect(&line).to_owned();
    (child, address)
}

fn send(signal: &str, child: &tokio::process::Child) {
    let id = child.id().expect("running").to_string();
    let sent = std::process::Command::new("kill").args([&format!("-{signal}"), &id]).status().expect("kill");
    assert!(sent.success());
}
