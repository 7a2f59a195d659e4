//! Promise: kept raw frames are normalized again by another version of the adapter, and its events win: each row once in hot and cold, every window
//! verified, the correction in the report. A killed command is repeated, and a span that is not kept is refused.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::Ordering;

use marketprism_broken_adapters::SwapFault;
use marketprism_tests::broker::Broker;
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::clickhouse::ClickHouse;
use marketprism_tests::edge::{Edge, Feed};
use marketprism_tests::laid_out;
use marketprism_tests::parts;
use marketprism_tests::wait::eventually;
use serde_json::Value;

use crate::swaps::SoundVenue;

const AUDITS: &str = "[audit]\nwindow_seconds = 2\nsettle_ms = 300";
const SHORT: &str = "[batch]\nmax_age_ms = 200\n[replication]\nwindow_seconds = 2\nsafety_lag_seconds = 1\ninterval_ms = 500\nrecheck_seconds = 3\n\
                     [ledger]\nwindow_seconds = 2\ninterval_ms = 1000\n";

struct KeptFrames {
    edge: Edge,
    clickhouse: ClickHouse,
    folder: PathBuf,
    from: String,
    to: String,
    /// Trades of the span.
    ids: Range<u64>,
}

impl KeptFrames {
    /// Arguments for a version with this fault.
    fn arguments(&self, fault: SwapFault, more: &[&str]) -> tokio::process::Command {
        let built = std::fs::read(parts::adapter("broken-adapters")).unwrap();
        let file = self.folder.join(format!("{}.wasm", fault.name()));
        std::fs::write(&file, fault.put(&built).unwrap()).unwrap();
        let mut command = tokio::process::Command::new(parts::binary("marketprism-edge"));
        command.arg("renormalize").arg("--config").arg(self.edge.folder().join("edge.toml"));
        command.args(["--exchange", "sound", "--from", &self.from, "--to", &self.to, "--adapter"]).arg(file);
        command.args(more);
        command
    }

    async fn renormalize(&self, fault: SwapFault, more: &[&str]) -> (Option<i32>, String) {
        let output = self.arguments(fault, more).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// Ids and sides of the trades of a side, all of them or those of the span.
    async fn trades(&self, database: &str) -> Result<Vec<(u64, bool)>, String> {
        let (from, to) = (&self.from, &self.to);
        let within = format!(
            "received_at >= parseDateTime64BestEffort('{from}', 9, 'UTC') AND received_at < parseDateTime64BestEffort('{to}', 9, 'UTC')"
        );
        let query = format!(
            "SELECT groupArray((toUInt64(trade_id), side = 'sell')) FROM (SELECT trade_id, side FROM {database}.trades WHERE {within} \
             ORDER BY toUInt64(trade_id)) FORMAT JSONCompact"
        );
        let answer: Value =
            serde_json::from_str(&self.clickhouse.text(&query).await?).map_err(|error| error.to_string())?;
        let trades = answer["data"][0][0].as_array().unwrap().iter();
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        Ok(trades
            .map(|one| (number(&one[0]).unwrap(), number(&one[1]) == Some(1) || one[1] == true))
            .collect())
    }

    /// Waits until both sides have these trades in the span.
    async fn reach(&self, expected: &[(u64, bool)]) {
        for database in ["marketprism_hot", "marketprism_cold"] {
            eventually("the rows are corrected", || async {
                let found = self.trades(database).await?;
                let (rows, corrected) = (found.len(), found.iter().filter(|(_, is_sell)| *is_sell).count());
                if found == expected {
                    Ok(())
                } else {
                    Err(format!("{database}: {rows} rows, {corrected} sells"))
                }
            })
            .await;
        }
    }

    async fn all_windows_are_verified(&self) {
        eventually("every window is verified", || async {
            let query = "SELECT countIf(state != 'verified'), countIf(reason LIKE '%changed by correction%') FROM \
                         marketprism_cold.window_log FINAL WHERE table_name = 'trades' FORMAT TSV";
            let found = self.clickhouse.text(query).await?;
            let (unsound, named) = found.trim().split_once('\t').unwrap();
            if unsound == "0" && named != "0" { Ok(()) } else { Err(found) }
        })
        .await;
    }
}

async fn time_of(clickhouse: &ClickHouse, trade: u64) -> String {
    let query = format!(
        "SELECT concat(replaceOne(toString(received_at), ' ', 'T'), 'Z') FROM marketprism_hot.trades WHERE trade_id = '{trade}'"
    );
    eventually("the trade is in hot", || async {
        let time = clickhouse.text(&query).await?;
        if time.trim().is_empty() {
            Err(format!("trade {trade} is not there"))
        } else {
            Ok(time.trim().to_owned())
        }
    })
    .await
}

/// Trades of which those in the middle are marked for the faults. Hot and cold have all; the frames are kept beyond the span.
async fn collect(venue: &SoundVenue, path: &Path, broker: &Broker) -> (KeptFrames, Vec<u64>, Central) {
    let clickhouse = laid_out::engine(path).await;
    let (nats, hot) = (broker.nats(), clickhouse.url());
    let central =
        Central::with_settings(path, &Settings { more: SHORT, ..Settings::plain(&nats, &hot) }).await;
    let feed = Feed { extra: "raw = { enabled = true }".to_owned(), ..venue.feed() };
    let edge = Edge::start(path, &format!("{nats}\n{AUDITS}"), &[feed]).await;
    let sent = |more: u64| {
        let least = venue.sent() + more;
        eventually("trades are sent", move || async move {
            if venue.sent() >= least { Ok(()) } else { Err(venue.sent().to_string()) }
        })
    };
    sent(60).await;
    venue.is_marked.store(true, Ordering::SeqCst);
    // The frame at hand may be written without the mark.
    let first = venue.sent() + 2;
    sent(60).await;
    let last = venue.sent();
    venue.is_marked.store(false, Ordering::SeqCst);
    sent(60).await;
    venue.pause();
    let ids = 20..venue.sent() - 20;
    let (from, to) = (time_of(&clickhouse, ids.start).await, time_of(&clickhouse, ids.end).await);
    let kept = KeptFrames { edge, clickhouse, folder: path.to_owned(), from, to, ids };
    eventually("every trade of the span is in hot", || async {
        let found = kept.trades("marketprism_hot").await?;
        let is_whole = found.iter().map(|(id, _)| *id).eq(kept.ids.clone());
        if is_whole { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    eventually("the frames are kept and compared", || async {
        let (status, text) = kept.renormalize(SwapFault::WrongSide, &["--dry-run"]).await;
        if status == Some(0) { Ok(()) } else { Err(text) }
    })
    .await;
    (kept, (first..=last).collect(), central)
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_frames_are_normalized_again_and_the_new_rows_win_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, venue) = (Broker::start(folder.path()).await, SoundVenue::start().await);
    let (kept, marked, central) = collect(&venue, folder.path(), &broker).await;
    let refused = KeptFrames { from: "2020-01-01T00:00:00Z".to_owned(), ..kept };
    let (status, text) = refused.renormalize(SwapFault::WrongSide, &[]).await;
    assert!(status == Some(2) && text.contains("where the raw frames in"), "{text}");
    let kept = KeptFrames { from: time_of(&refused.clickhouse, 20).await, ..refused };
    let (status, text) = kept.renormalize(SwapFault::None, &[]).await;
    assert!(status == Some(2) && text.contains("there is nothing to correct"), "{text}");

    // Killed at whatever point, and repeated.
    let mut killed = kept.arguments(SwapFault::WrongSide, &[]).stdout(Stdio::null()).spawn().unwrap();
    eventually("events of the correction arrive, or it ends", || async {
        let count = "SELECT count() FROM marketprism_hot.corrected_events WHERE kind = 'changed'";
        let found = kept.clickhouse.number(count).await?;
        if found > 0 { Ok(()) } else { Err("none".to_owned()) }
    })
    .await;
    let _ = killed.start_kill();
    killed.wait().await.unwrap();
    let (status, text) = kept.renormalize(SwapFault::WrongSide, &[]).await;
    assert!(status == Some(0) && text.contains(" changed, 0 added, 0 withdrawn; digest "), "{text}");
    let is_wrong = |id: u64| marked.contains(&id);
    // Those that were sent while the mark was set or removed may have it or not.
    let changed: Vec<(u64, bool)> = eventually("hot is corrected", || async {
        let found = kept.trades("marketprism_hot").await?;
        let is_done = found.iter().all(|(id, is_sell)| !is_wrong(*id) || *is_sell);
        if is_done { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await;
    assert!(changed.iter().map(|(id, _)| *id).eq(kept.ids.clone()), "each once: {changed:?}");
    kept.reach(&changed).await;
    kept.all_windows_are_verified().await;
    is_reported(&central, "changed").await;

    // The stored rows are those of the version that won.
    let won = kept.folder.join(format!("{}.wasm", SwapFault::WrongSide.name()));
    let (status, text) = kept.renormalize(SwapFault::Silent, &["--against", won.to_str().unwrap()]).await;
    assert!(status == Some(0) && text.contains("0 changed, 0 added, "), "{text}");
    let left: Vec<(u64, bool)> = changed.iter().copied().filter(|(_, is_sell)| !is_sell).collect();
    kept.reach(&left).await;
    kept.all_windows_are_verified().await;
    is_reported(&central, "withdrawn").await;
    eventually("the audits agree with what is left", || async {
        let (_, text, _) = central.ask(&["integrity", "--verify", "--json"]).await;
        let report: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let windows = &report["windows"];
        let is_sound = windows["mismatch"] == 0 && windows["verified"].as_u64() > Some(0);
        if is_sound { Ok(()) } else { Err(format!("{windows} {}", report["findings"])) }
    })
    .await;
    venue.stop();
}

/// The report has the correction as carried out, with both digests, and names the edge.
async fn is_reported(central: &Central, kind: &str) {
    eventually("the correction is in the report", || async {
        let report: Value = serde_json::from_str(&central.get("/integrity?from=1h").await?).unwrap();
        let items = report["corrections"]["items"].as_array().unwrap();
        let one = items.iter().find(|one| one[kind].as_u64() > Some(0)).ok_or(format!("{items:?}"))?;
        let rows = if kind == "changed" { "replaced" } else { kind };
        let is_done = one["state"] == "applied"
            && one["applied"][rows] == one[kind]
            && one["old_digest"] != one["new_digest"]
            && one["edge"] == "edge-test";
        if is_done { Ok(()) } else { Err(one.to_string()) }
    })
    .await;
}
