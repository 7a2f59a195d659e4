//! The command `reload`: applies the configuration file of a running edge.

use std::fmt::Write as _;

use anyhow::{Context, bail};
use hyper::{Method, StatusCode};

use super::edge_client::{EdgeArguments, EdgeClient, refusal};
use crate::config::KeyChange;
use crate::limits::RELOAD_ANSWER;
use crate::reload::{FeedReload, ReloadReport, ReloadResult};

const PATH: &str = "/reload";

/// Returns the report, and true if the file is what runs now, but for what needs a restart.
pub(super) async fn reload(arguments: &EdgeArguments) -> anyhow::Result<(String, bool)> {
    let client = EdgeClient::of(arguments)?;
    let what = client.request_name(&Method::POST, PATH);
    let (status, answer) = client.send(Method::POST, PATH, Vec::new(), RELOAD_ANSWER).await?;
    if !matches!(status, StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT) {
        bail!("{what}: {status}: {}", refusal(&answer));
    }
    let report: ReloadReport =
        serde_json::from_slice(&answer).with_context(|| format!("{what}: answer not readable"))?;
    Ok((text(&report), report.result.is_current()))
}

fn text(report: &ReloadReport) -> String {
    let mut text = match report.result {
        ReloadResult::Applied => "configuration applied\n",
        ReloadResult::Unchanged => "configuration unchanged\n",
        ReloadResult::Refused => "configuration invalid, the running one stays\n",
        ReloadResult::Failed => "configuration not applied, the running one stays\n",
    }
    .to_owned();
    for error in &report.errors {
        let _ = writeln!(text, "  {error}");
    }
    write_keys(&mut text, "  ", &report.changed);
    for FeedReload { exchange, change, keys, symbols_added, symbols_removed, closed_first } in &report.feeds {
        let _ = writeln!(text, "  feed {exchange} {change}");
        for (names, what) in [
            (symbols_added, "symbols added"),
            (symbols_removed, "symbols removed"),
            (closed_first, "no overlap"),
        ] {
            if !names.is_empty() {
                let _ = writeln!(text, "    {what}: {names}");
            }
        }
        write_keys(&mut text, "    ", keys);
    }
    if report.errors.is_empty() {
        let _ = writeln!(text, "  feeds not touched: {}", report.kept);
    }
    if !report.needs_restart.is_empty() {
        text.push_str("needs a restart, until then the value before:\n");
        write_keys(&mut text, "  ", &report.needs_restart);
    }
    text
}

fn write_keys(text: &mut String, indent: &str, keys: &[KeyChange]) {
    for KeyChange { key, from, to } in keys {
        let _ = writeln!(text, "{indent}{key}: {from} -> {to}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_what_changed_what_was_refused_and_what_needs_a_restart() {
        let key = |key: &str| KeyChange { key: key.to_owned(), from: "1".to_owned(), to: "2".to_owned() };
        let feed = FeedReload {
            exchange: "a".to_owned(),
            change: "changed".to_owned(),
            keys: vec![key("feed[0].symbols")],
            symbols_added: "X-Y".to_owned(),
            closed_first: "x was not open".to_owned(),
            ..FeedReload::default()
        };
        let report = ReloadReport {
            result: ReloadResult::Applied,
            changed: vec![key("log.filter")],
            feeds: vec![feed],
            kept: 3,
            needs_restart: vec![key("nats.urls")],
            errors: Vec::new(),
        };
        assert_eq!(
            text(&report),
            "configuration applied\n  log.filter: 1 -> 2\n  feed a changed\n    symbols added: X-Y\n    no overlap: x was not open\n    feed[0].symbols: 1 -> 2\n  \
             feeds not touched: 3\nneeds a restart, until then the value before:\n  nats.urls: 1 -> 2\n"
        );
        let refused = ReloadReport::refused(ReloadResult::Refused, vec!["nats.urls is empty".to_owned()]);
        assert_eq!(text(&refused), "configuration invalid, the running one stays\n  nats.urls is empty\n");
    }
}
