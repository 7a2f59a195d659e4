//! Promise: no output of any program shows a secret of its configuration; reports are read with a token, under an own name only.

use std::path::{Path, PathBuf};
use std::process::Command;

use marketprism_tests::broker::{Broker, free_port};
use marketprism_tests::central::{Central, Settings, TOKEN};
use marketprism_tests::clickhouse::{ClickHouse, client};
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::laid_out;
use marketprism_tests::parts;
use marketprism_tests::wait::{PATIENCE, eventually};
use marketprism_venue_sim::{Sim, SimConfig};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use reqwest::StatusCode;

/// In every secret of the configurations below, and nowhere else.
const CANARY: &str = "canary-3f9";
const READ_TOKEN: &str = "canary-3f9-read-token";

/// Everything that every text must lack.
fn assert_masked(what: &str, text: &str) {
    for secret in [CANARY, TOKEN] {
        assert!(!text.contains(secret), "{what} shows a secret:\n{text}");
    }
}

/// Files of `record`, which runs for as long as the machine needs to receive something.
fn recordings_of(edge: &Edge, folder: &Path) -> Vec<PathBuf> {
    for seconds in ["2", "10", "60"] {
        let out = folder.join(format!("recorded-{seconds}"));
        let mut record = Command::new(parts::binary("marketprism-edge"));
        record
            .arg("record")
            .args(["--for-seconds", seconds, "--config"])
            .arg(edge.folder().join("edge.toml"));
        let output = record.arg("--out").arg(&out).output().unwrap();
        assert_masked("record", &String::from_utf8_lossy(&output.stderr));
        let files = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
        let recordings: Vec<PathBuf> = files.collect();
        if !recordings.is_empty() {
            return recordings;
        }
    }
    panic!("nothing was recorded");
}

/// Configuration, output and command line of a process.
fn process_texts(folder: &Path, pid: u32) -> String {
    let logs = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let logs = logs.filter(|path| path.extension().is_some_and(|end| end == "log"));
    let texts = logs.map(|path| std::fs::read_to_string(path).unwrap());
    texts.collect::<String>() + &std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap()
}

struct SecretStack {
    central: Central,
    edge: Edge,
    _broker: Broker,
    _clickhouse: ClickHouse,
    _sim: Sim,
}

/// A system whose parts know secrets in all their places: broker, hot server, an unreachable cold server, tokens, venue.
async fn start(folder: &Path) -> SecretStack {
    let file = |name: &str, text: &str| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let users = format!("authorization {{ user: edge, password: \"{CANARY}-broker\" }}");
    let broker = Broker::with_settings(folder, &users).await;
    let clickhouse = laid_out::hot_engine(folder).await;
    let sim = SimConfig { symbols: vec!["BTCUSDT".to_owned()], rate: 50, ..SimConfig::default() };
    let sim = Sim::start(sim).await.unwrap();
    let nats = format!("urls = [\"nats://edge:{CANARY}-broker@127.0.0.1:{}\"]", broker.port());
    let cold = format!("http://ann:{CANARY}-cold@127.0.0.1:{}/?api_key={CANARY}", free_port());
    let more = format!("read_token_file = {:?}\n", file("read-token", READ_TOKEN));
    let settings = Settings { cold: Some(&cold), more: &more, ..Settings::impatient(&nats, "") };
    let hot = clickhouse.url();
    // Cold does not answer.
    let central = Central::prepared(folder, &Settings { hot: &hot, ..settings });
    let address = format!("venue:{CANARY}-venue@{}", sim.addr());
    let feed = Feed::simulated("binance_spot", &address, &["BTC-USDT"]);
    let edge = Edge::start(folder, &nats, &[feed]).await;
    SecretStack { central, edge, _broker: broker, _clickhouse: clickhouse, _sim: sim }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_output_shows_a_secret_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = start(folder.path()).await;
    stack.central.start_without_waiting();
    let url = stack.central.url("/integrity");
    let report = eventually("central reports", || async {
        let answer = client().get(&url).bearer_auth(READ_TOKEN).send().await.map_err(|e| e.to_string())?;
        let text = answer.error_for_status().map_err(|e| e.to_string())?.text().await.unwrap();
        if text.contains("cold") { Ok(text) } else { Err(text) }
    })
    .await;
    assert!(report.contains("http://***@127.0.0.1:") || report.contains("unreachable"), "{report}");
    for path in [
        "/health",
        "/ready",
        "/metrics",
        "/coverage",
        "/overview",
        "/",
        "/integrity",
        "/repair",
        "/openapi.json",
    ] {
        for kind in ["application/json", "text/html"] {
            let request =
                client().get(stack.central.url(path)).bearer_auth(READ_TOKEN).header("Accept", kind);
            assert_masked(path, &request.send().await.unwrap().text().await.unwrap());
        }
    }
    for command in ["integrity", "status", "diagnose", "init", "repair"] {
        let forms: &[&[&str]] = match command {
            "init" | "repair" => &[&[command]],
            _ => &[&[command], &[command, "--json"]],
        };
        for form in forms {
            let (_, said, errors) = stack.central.ask(form).await;
            assert_masked(command, &format!("{said}{errors}"));
        }
    }
    let diagnosis = stack.central.ask(&["diagnose"]).await.1;
    assert!(diagnosis.contains("nats://127.0.0.1:"), "{diagnosis}");

    eventually("the edge collects", || stack.edge.get("/ready")).await;
    for path in ["/health", "/ready", "/metrics", "/coverage", "/adapters"] {
        let text = match stack.edge.get(path).await {
            Ok(text) | Err(text) => text,
        };
        assert_masked(path, &text);
    }
    let (passes, text) = stack.edge.check();
    assert!(passes && text.contains("nats://127.0.0.1:"), "{text}");
    assert_masked("check", &text);
    for path in recordings_of(&stack.edge, folder.path()) {
        assert_masked("a recording", &std::fs::read_to_string(path).unwrap());
    }

    stack.edge.process().terminate(PATIENCE).await;
    let (edge, central) = (stack.edge.folder().to_owned(), folder.path().join("central"));
    stack.edge.restart().await;
    assert_masked("the edge's log", &process_texts(&edge, stack.edge.process().pid()));
    assert_masked("central's log", &process_texts(&central, stack.central.process().pid()));
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_read_over_tls_with_a_token_and_under_an_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut stack = start(folder.path()).await;
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let https = write_certificate(&certificate, &key);
    let port = stack.central.port();
    let variables = [
        ("MARKETPRISM_HTTP__LISTEN", format!("0.0.0.0:{port}")),
        ("MARKETPRISM_HTTP__TLS_CERT_FILE", certificate.display().to_string()),
        ("MARKETPRISM_HTTP__TLS_KEY_FILE", key.display().to_string()),
        ("MARKETPRISM_HTTP__ALLOWED_HOSTS", "reports.example".to_owned()),
    ];
    stack.central.set_variables(&variables);
    stack.central.start_without_waiting();
    let get = |path: &str| https.get(format!("https://localhost:{port}{path}"));
    let health = eventually("central answers over TLS", || async {
        get("/health").send().await.map_err(|error| error.to_string())
    })
    .await;
    let health = health.text().await.unwrap();
    assert!(health.contains("\"status\"") && !health.contains("reasons"), "{health}");
    assert!(
        get("/health")
            .bearer_auth(READ_TOKEN)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("reasons")
    );

    for path in ["/integrity", "/", "/metrics", "/overview", "/coverage", "/openapi.json", "/repair", "/x"] {
        let answer = get(path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(
            answer
                .headers()
                .get_all("www-authenticate")
                .iter()
                .any(|way| way == "Basic realm=\"MarketPrism\"")
        );
    }
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status();
    assert_eq!(status(get("/coverage").bearer_auth(READ_TOKEN)).await, StatusCode::OK);
    assert_eq!(status(get("/coverage").bearer_auth(TOKEN)).await, StatusCode::OK);
    assert_eq!(status(get("/coverage").basic_auth("any", Some(READ_TOKEN))).await, StatusCode::OK);
    assert_eq!(status(get("/coverage").bearer_auth("wrong")).await, StatusCode::UNAUTHORIZED);
    let repair = https.post(format!("https://localhost:{port}/repair")).bearer_auth(READ_TOKEN);
    assert_eq!(status(repair).await, StatusCode::UNAUTHORIZED, "the read token changes something");
    for (host, expected) in [
        ("evil.example", StatusCode::FORBIDDEN),
        ("reports.example", StatusCode::OK),
        ("central:8085", StatusCode::OK),
    ] {
        let request = get("/coverage").bearer_auth(READ_TOKEN).header("Host", host);
        assert_eq!(status(request).await, expected, "{host}");
    }
    renewed_certificates_are_served(&mut stack, &certificate, &key).await;
}

/// By central, which runs, and by an edge.
async fn renewed_certificates_are_served(stack: &mut SecretStack, certificate: &Path, key: &Path) {
    stack.edge.set_variable("MARKETPRISM_HTTP__TOKEN", TOKEN);
    stack.edge.set_variable("MARKETPRISM_HTTP__TLS_CERT_FILE", &certificate.display().to_string());
    stack.edge.set_variable("MARKETPRISM_HTTP__TLS_KEY_FILE", &key.display().to_string());
    let urls =
        [stack.central.port(), stack.edge.port()].map(|port| format!("https://localhost:{port}/health"));
    for round in ["the edge's certificate", "a renewed certificate"] {
        // Trusts this certificate alone.
        let https = write_certificate(certificate, key);
        if round == "the edge's certificate" {
            // It would refuse to start between the two writes.
            stack.edge.start_without_waiting();
        }
        for url in &urls {
            eventually(&format!("{url} serves {round}"), || async {
                https.get(url).send().await.map(drop).map_err(|error| format!("{error:?}"))
            })
            .await;
        }
    }
    let edge = &stack.edge;
    let (status, text) = asked(edge, "reload", certificate, key).await;
    assert!(status == Some(0) && text.contains("configuration unchanged"), "{text}");
    // As the images and the probes ask: an answer, be it healthy or not. Cold does not answer.
    let (status, text) = asked(edge, "health", certificate, key).await;
    assert!(matches!(status, Some(0 | 1)) && text.contains("\"status\""), "{text}");
    let (status, text, errors) = stack.central.ask(&["health"]).await;
    assert!(matches!(status, Some(0 | 1)) && text.contains("\"status\""), "{text}{errors}");
    let other = certificate.with_file_name("other.pem");
    let of_others = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert;
    std::fs::write(&other, of_others.pem()).unwrap();
    let (status, text) = asked(edge, "reload", &other, key).await;
    assert!(status == Some(2) && text.contains("the authority's file with ca_file"), "{text}");
}

/// Status and output of a command to an edge, which has the certificate of its configuration and no `--ca-file`.
async fn asked(edge: &Edge, command: &str, certificate: &Path, key: &Path) -> (Option<i32>, String) {
    let mut asking = tokio::process::Command::new(parts::binary("marketprism-edge"));
    asking.arg(command).arg("--config").arg(edge.folder().join("edge.toml"));
    asking.env("MARKETPRISM_HTTP__TOKEN", TOKEN).env("MARKETPRISM_HTTP__TLS_CERT_FILE", certificate);
    let output = asking.env("MARKETPRISM_HTTP__TLS_KEY_FILE", key).output().await.unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// A new certificate for localhost, and a client that trusts no other.
fn write_certificate(certificate: &Path, key: &Path) -> reqwest::Client {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(certificate, cert.pem()).unwrap();
    std::fs::write(key, signing_key.serialize_pem()).unwrap();
    let trusted = reqwest::Certificate::from_pem(cert.pem().as_bytes()).unwrap();
    reqwest::Client::builder().no_proxy().add_root_certificate(trusted).build().unwrap()
}
