//! The integrity report of a period, as central's command line gives it.

use std::time::Duration;

use marketprism_tests::wait::until;
use serde_json::Value;

use crate::system::System;

/// Limit for the last window to be compared, and for a copy to cold.
const PATIENCE: Duration = Duration::from_secs(150);

/// Milliseconds since 1970, hot's clock.
pub async fn now_ms(system: &System) -> u64 {
    let query = "SELECT toUnixTimestamp64Milli(now64(3, 'UTC'))";
    until("hot tells the time", Duration::from_secs(60), || system.hot.number(query)).await
}

/// Waits until no window of the period is open and no table of cold lags.
pub async fn closed(system: &System, from_ms: u64, to_ms: u64) -> Value {
    until("every window is compared", PATIENCE, || async {
        let report = once(system, from_ms, to_ms).await?;
        let is_open = report["windows"]["open"] != 0;
        if is_open {
            Err(format!("{}: windows {}", report["summary"], report["windows"]))
        } else {
            Ok(report)
        }
    })
    .await
}

pub async fn once(system: &System, from_ms: u64, to_ms: u64) -> Result<Value, String> {
    let (from, to) = (text(system, from_ms).await?, text(system, to_ms).await?);
    let (code, text, errors) =
        system.central.ask(&["integrity", "--json", "--from", &from, "--to", &to]).await;
    serde_json::from_str(&text).map_err(|error| format!("exit {code:?}, {error}: {text}{errors}"))
}

async fn text(system: &System, ms: u64) -> Result<String, String> {
    let query = format!("SELECT formatDateTime(toDateTime({}, 'UTC'), '%Y-%m-%dT%H:%i:%SZ')", ms / 1_000);
    Ok(system.hot.text(&query).await?.trim().to_owned())
}

/// Verdict, and the codes of the findings that made it.
pub fn words(report: &Value) -> String {
    let findings = report["findings"].as_array().map_or(&[][..], Vec::as_slice);
    let severe =
        findings.iter().filter(|finding| matches!(finding["level"].as_str(), Some("fail" | "unknown")));
    let texts =
        severe.map(|finding| format!("[{}] {}: {}", finding["code"], finding["subject"], finding["text"]));
    format!("{}: {}", report["verdict"], texts.collect::<Vec<_>>().join("; "))
}
