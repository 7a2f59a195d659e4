//! The report over HTTP: page, token, outages, arbitrary requests.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use marketprism_tests::{parts, process::Process};
use serde_json::Value;

use super::seed;
use crate::stack::{PATIENCE, Stack};

const TOKEN: &str = "a token of the test";

async fn running(stack: &Stack, token: bool) -> Process {
    let file = stack.write("token", TOKEN);
    let config = stack.configure("");
    if token {
        let text = std::fs::read_to_string(&config).unwrap();
        let with = format!("[http]\ntoken_file = {:?}", file.to_str().unwrap());
        std::fs::write(&config, text.replace("[http]", &with)).unwrap();
    }
    stack.init(&config, &[], 0);
    let central = stack.run(&config);
    stack.is_ready().await;
    central
}

/// The document of headless Chromium after the first answer.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_fault() {
    let Some(stack) = Stack::start().await else { return };
    let Some(chromium) = parts::chromium() else { return };
    let _central = running(&stack, false).await;
    seed::healthy(&stack).await;
    stack.execute(&seed::verdict(9, "mismatch", "hot holds 3 events fewer than e1 stored")).await;
    seed::gap(&stack, 20).await;
    let profile = stack.write("profile", "");
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom"])
        .arg(format!("--user-data-dir={}.d", profile.display()))
        .arg(stack.url("/integrity?from=1h&format=html"))
        .output()
        .unwrap();
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains("Not whole"), "{page}");
    let strip =
        page.split("data-stream=\"trade.sim_spot.spot.BTC-USDT\"").nth(1).expect("the stream's strip");
    let strip = strip.split("</svg>").next().unwrap();
    assert!(
        strip.contains("data-state=\"mismatch\"") && strip.contains("data-state=\"received\""),
        "{strip}"
    );
    assert!(strip.contains("data-state=\"missing\""), "{strip}");
    assert!(page.contains("hot holds 3 events fewer than e1 stored"));
    assert!(page.contains("ids jump from 5 to 9 &lt;img src=x"), "the evidence is there, as text");
    assert!(!page.contains("<img"));
    let (before, _) = page.split_once("\">Report as JSON").expect("the link");
    let link = before.rsplit("href=\"").next().unwrap().replace("&amp;", "&");
    let (status, body) = stack.get(&link).unwrap();
    assert!(status == 200 && body.starts_with('{'), "{link}: {status} {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_need_the_token() {
    let Some(stack) = Stack::start().await else { return };
    let mut central = running(&stack, false).await;
    let post = |headers: &str, body: &str| stack.post("/repair", headers, body).unwrap();
    let json = "Content-Type: application/json\r\n";
    let (status, body) = post(json, "{}");
    assert!(status == 403 && body.contains("token_file"), "{status} {body}");
    assert!(central.terminate(PATIENCE).await.success());

    let _central = running(&stack, true).await;
    let with = |token: &str| format!("{json}Authorization: Bearer {token}\r\n");
    assert_eq!(post(json, "{}").0, 401);
    assert_eq!(post(&with("another token of it"), "{}").0, 401);
    let dry = "{\"dry_run\":true,\"from\":\"1h\"}";
    assert_eq!(post(&with(TOKEN), dry).0, 202);
    let (status, body) = post(&with(TOKEN), "{\"table\":\"x\"}");
    assert!(status == 400 && body.contains("\"field\":\"table\""), "{status} {body}");
    assert_eq!(post(&with(TOKEN), "{\"tabel\":\"trades\"}").0, 422);
    assert_eq!(post(&with(TOKEN), &format!("{{\"table\":\"{}\"}}", "x".repeat(100_000))).0, 413);
    for (path, expected) in [("/nowhere", 404), ("/integrity?table=x", 400), ("/integrity?form=json", 400)] {
        let (status, body) = stack.get(path).unwrap();
        assert_eq!(status, expected, "{body}");
        let refusal: Value = serde_json::from_str(&body).unwrap();
        assert!(refusal["error"].is_string());
    }
    assert_eq!(stack.post("/integrity", "", "").unwrap().0, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_survives_clickhouse() {
    let Some(mut stack) = Stack::start().await else { return };
    let _central = running(&stack, false).await;
    stack.engine.kill();
    let started = Instant::now();
    let (status, body) = stack.get("/integrity").unwrap();
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let report: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &report["verdict"]), (200, &Value::from("cannot_tell")), "{:#}", report["findings"]);
    assert!(report["unanswered"][0]["part"].as_str().unwrap().contains("clickhouse hot"), "{report:#}");
    assert!(!report["broker"].as_array().unwrap().is_empty(), "the broker is still asked");
    let (status, body) = stack.get("/overview").unwrap();
    assert!(status == 200 && body.contains("watermarks"), "{body}");
}

/// Schemathesis generates requests from the OpenAPI document.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_client_sends_breaks_it() {
    let Some(stack) = Stack::start().await else { return };
    let of_python = std::env::var_os("MARKETPRISM_PYTHON").map(PathBuf::from);
    let of_python =
        of_python.map(|python| python.with_file_name("schemathesis")).filter(|file| file.is_file());
    let Some(schemathesis) = parts::program("MARKETPRISM_SCHEMATHESIS", &["schemathesis"]).or(of_python)
    else {
        eprintln!("SKIPPED: no schemathesis; name it with MARKETPRISM_SCHEMATHESIS");
        return;
    };
    let _central = running(&stack, true).await;
    seed::healthy(&stack).await;
    let output = Command::new(schemathesis)
        .args(["run", "--checks", "not_a_server_error,status_code_conformance,content_type_conformance"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--request-timeout", "20"])
        .args(["--header", &format!("Authorization: Bearer {TOKEN}"), "--seed", "7", "--no-color"])
        .arg(stack.url("/openapi.json"))
        .current_dir(stack.write("schemathesis", "").parent().unwrap())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stack.get("/health").unwrap().0, 200);
}
