//! The integrity report of a period, as central's command line gives it.

use std::time::{Duration, Instant};

use marketprism_tests::central::Central;
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::wait::until;
use serde_json::Value;

/// Limit for the last window to be compared, and for a copy to cold.
const PATIENCE: Duration = Duration::from_secs(150);

/// Central, and the hot server for times.
#[derive(Debug, Clone, Copy)]
pub struct Reporter<'a> {
    pub central: &'a Central,
    pub hot: &'a ClickHouse,
}

impl Reporter<'_> {
    /// Milliseconds since 1970, hot's clock.
    pub async fn now_ms(self) -> u64 {
        let query = "SELECT toUnixTimestamp64Milli(now64(3, 'UTC'))";
        until("hot tells the time", Duration::from_secs(60), || self.hot.number(query)).await
    }

    /// Waits until no window of the period is open.
    pub async fn closed(self, from_ms: u64, to_ms: u64) -> Value {
        self.closed_with(from_ms, to_ms, |_| true).await.unwrap_or_else(|report| {
            panic!(
                "not within {PATIENCE:?}: every window is compared; last seen: {}: {}",
                report["summary"], report["windows"]
            )
        })
    }

    /// Waits until no window is open and the report is accepted; the last report after that.
    pub async fn closed_with(
        self,
        from_ms: u64,
        to_ms: u64,
        accepts: impl Fn(&Value) -> bool,
    ) -> Result<Value, Value> {
        let began = Instant::now();
        loop {
            let asked = Instant::now();
            let report = self.once(from_ms, to_ms).await;
            if let Ok(report) = &report
                && report["windows"]["open"] == 0
                && accepts(report)
            {
                return Ok(report.clone());
            }
            if began.elapsed() > PATIENCE {
                return Err(report.unwrap_or_else(|error| panic!("{error}")));
            }
            // A report is load for what is reported.
            tokio::time::sleep(2 * asked.elapsed()).await;
        }
    }

    async fn once(self, from_ms: u64, to_ms: u64) -> Result<Value, String> {
        let (from, to) = (self.text(from_ms).await?, self.text(to_ms).await?);
        let (code, text, errors) =
            self.central.ask(&["integrity", "--json", "--from", &from, "--to", &to]).await;
        serde_json::from_str(&text).map_err(|error| format!("exit {code:?}, {error}: {text}{errors}"))
    }

    async fn text(self, ms: u64) -> Result<String, String> {
        let query = format!("SELECT formatDateTime(toDateTime({}, 'UTC'), '%Y-%m-%dT%H:%i:%SZ')", ms / 1_000);
        Ok(self.hot.text(&query).await?.trim().to_owned())
    }
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

/// Ids in hot's tables of trades and books; an error is an outage.
pub async fn hot_ids(hot: &ClickHouse) -> Result<std::collections::HashSet<u128>, String> {
    let mut ids = std::collections::HashSet::new();
    for table in TABLES {
        let text = hot.text(&format!("SELECT toString(event_id) FROM marketprism_hot.{table}")).await?;
        ids.extend(text.lines().map(|line| line.parse::<u128>().unwrap()));
    }
    Ok(ids)
}

pub const TABLES: [&str; 2] = ["trades", "orderbooks"];

/// Rows of a server's tables that are stored twice, by table.
pub async fn doubled(server: &ClickHouse, database: &str) -> Vec<(&'static str, u64)> {
    let mut found = Vec::new();
    for table in TABLES {
        let query = format!("SELECT count() - uniqExact(event_id) FROM {database}.{table}");
        found.push((table, server.number(&query).await.unwrap()));
    }
    found.retain(|(_, count)| *count > 0);
    found
}
