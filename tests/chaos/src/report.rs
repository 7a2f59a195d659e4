//! The integrity report of a period, as central's command line gives it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer::AckPolicy, consumer::pull};
use futures_util::StreamExt as _;
use marketprism_schema::WireForm;
use marketprism_tests::broker::Broker;
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
        until("hot answers the time", Duration::from_secs(60), || self.hot.number(query)).await
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

    pub async fn once(self, from_ms: u64, to_ms: u64) -> Result<Value, String> {
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

/// Subject and text of a finding.
pub fn finding(report: &Value, code: &str) -> Option<String> {
    let findings = report["findings"].as_array()?;
    let found = findings.iter().find(|finding| finding["code"] == code)?;
    Some(format!("{}: {}", found["subject"], found["text"]))
}

/// Number, and the causes.
pub fn lost_messages(report: &Value) -> String {
    let losses = report["losses"]["items"].as_array().map_or(&[][..], Vec::as_slice);
    let count: u64 = losses.iter().filter_map(|loss| loss["messages"].as_u64()).sum();
    let texts = losses.iter().map(|loss| format!("; {}: {}", loss["cause"], loss["evidence"]));
    format!("{count}{}", texts.collect::<String>())
}

/// Event ids of everything that the broker still holds; what is sent again has no message id.
pub async fn broker_ids(broker: &Broker) -> HashSet<u128> {
    let context = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    let mut ids = HashSet::new();
    for name in ["MARKET_DATA", "ORDERBOOK_SNAP"] {
        let mut stream = context.get_stream(name).await.unwrap();
        let count = stream.info().await.unwrap().state.messages;
        let config = pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
        let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        for _ in 0..count {
            let message = messages.next().await.unwrap().unwrap();
            let form = message.headers.as_ref().and_then(|headers| headers.get("Content-Type"));
            let form = form.map(|form| form.as_str()).unwrap_or_default();
            let form = WireForm::of_message(form, &message.payload);
            let events = form.unwrap().decode_all(&message.payload).unwrap();
            ids.extend(events.iter().map(|event| event.header.event_id.0));
        }
    }
    ids
}

/// Ids in hot's tables of trades and books; an error is an outage.
pub async fn hot_ids(hot: &ClickHouse) -> Result<HashSet<u128>, String> {
    let mut ids = HashSet::new();
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
