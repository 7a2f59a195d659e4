//! Times in which edges collected nothing: listed, and reported where nothing else covers them. Pure.

use std::collections::BTreeMap;

use marketprism_schema::{DowntimeReason, GapCause};

use super::Time;
use super::completeness::TimeRuns;
use super::document::{Finding, FindingCode as Code, Level, ReportedDowntime};
use super::heatmap::LedgerSummary;
use super::sources::ledger::{EdgeDowntime, EdgeGap};

/// Most findings; the document lists more.
const FINDINGS_MAX: usize = 10;
const LASTS: i64 = i64::MAX;

/// A downtime with the pauses around it: from the last connection's end to the first frame of the next run.
#[derive(Debug, Clone)]
struct EdgePause {
    from: i64,
    to: i64,
    why: String,
    detail: String,
    streams: u64,
}

impl EdgePause {
    /// The edge itself was stopped, not only one of its streams.
    fn is_of_edge(&self) -> bool {
        [DowntimeReason::Stopped, DowntimeReason::SelfCare]
            .map(DowntimeReason::as_str)
            .contains(&self.why.as_str())
    }

    const fn meets(&self, from: i64, to: i64) -> bool {
        from <= self.to && self.from <= to
    }

    const fn widen(&mut self, from: i64, to: i64) {
        if from < self.from {
            self.from = from;
        }
        if to > self.to {
            self.to = to;
        }
    }
}

/// Newest first.
pub fn list(downtimes: &[EdgeDowntime], gaps: &[EdgeGap], ledger: &LedgerSummary) -> Vec<ReportedDowntime> {
    let mut edges: BTreeMap<&str, Vec<EdgePause>> = BTreeMap::new();
    for downtime in downtimes {
        let to = if downtime.end_ns == 0 { LASTS } else { downtime.end_ns };
        let (why, detail) = (downtime.why.clone(), downtime.detail.clone());
        let pause = EdgePause { from: downtime.begin_ns, to, why, detail, streams: downtime.streams };
        edges.entry(&downtime.edge).or_default().push(pause);
    }
    for gap in gaps.iter().filter(|gap| gap.cause == GapCause::Operator.as_str()) {
        let pauses = edges.get_mut(gap.edge.as_str()).into_iter().flatten();
        for pause in pauses.filter(|pause| pause.is_of_edge()) {
            if pause.meets(gap.from_ns, gap.to_ns) {
                pause.widen(gap.from_ns, gap.to_ns);
            }
        }
    }
    let mut listed = Vec::new();
    for (edge, mut pauses) in edges {
        pauses.sort_by(|a, b| (&a.why, &a.detail, a.from).cmp(&(&b.why, &b.detail, b.from)));
        pauses.dedup_by(|next, before| {
            let is_one = (&next.why, &next.detail) == (&before.why, &before.detail)
                && before.meets(next.from, next.to);
            if is_one {
                before.widen(next.from, next.to);
                before.streams = before.streams.max(next.streams);
            }
            is_one
        });
        listed
            .extend(pauses.iter().map(|pause| reported(edge, pause, uncovered_streams(edge, pause, ledger))));
    }
    listed.sort_by_key(|downtime| std::cmp::Reverse(downtime.from));
    listed
}

/// Of a kill: streams of which not all that it touches is compared and known. Of a stop: those with windows that nothing resolves.
fn uncovered_streams(edge: &str, pause: &EdgePause, ledger: &LedgerSummary) -> u64 {
    let (from, to) = (pause.from.div_euclid(1_000_000_000), pause.to.div_euclid(1_000_000_000));
    let count = |of: &BTreeMap<String, Vec<TimeRuns>>, is_meant: &dyn Fn((i64, i64)) -> bool| {
        let streams = of.get(edge).into_iter().flatten();
        u64::try_from(streams.filter(|runs| runs.iter().any(is_meant)).count()).unwrap_or(u64::MAX)
    };
    if pause.why != DowntimeReason::Killed.as_str() {
        return count(&ledger.idle, &|(begin, end)| begin <= to && from < end);
    }
    let (from, to) = (from.max(ledger.period.0), to.saturating_add(1).min(ledger.period.1));
    pause.streams.saturating_sub(count(&ledger.covered, &|(begin, end)| begin <= from && to <= end))
}

fn reported(edge: &str, pause: &EdgePause, uncovered_streams: u64) -> ReportedDowntime {
    let time = |ns: i64| Time(ns.div_euclid(1_000_000));
    ReportedDowntime {
        edge: edge.to_owned(),
        from: time(pause.from),
        to: (pause.to < LASTS).then(|| time(pause.to)),
        reason: pause
            .why
            .parse()
            .map_or_else(|_| pause.why.clone(), |why: DowntimeReason| why.text(&pause.detail)),
        streams: pause.streams,
        uncovered_streams,
    }
}

pub fn findings(listed: &[ReportedDowntime], ledger: &LedgerSummary) -> Vec<Finding> {
    let (idle, events) = (&ledger.idle, ledger.not_collected_events);
    let mut findings = Vec::new();
    let mut add = |code, level, edge: &str, text: String, remedy: &str| {
        findings.push(Finding::new(code, level, format!("edge {edge}"), text, remedy));
    };
    for downtime in listed.iter().take(FINDINGS_MAX) {
        let text = sentence(downtime);
        let was_killed = downtime.reason == DowntimeReason::Killed.words();
        if was_killed && downtime.uncovered_streams > 0 {
            let (open, all) = (downtime.uncovered_streams, downtime.streams);
            let remedy = "run a second edge for the venue: it covers kills of the first";
            let text = format!("{text} ({open} of {all} streams)");
            add(Code::EdgeKilled, Level::Unknown, &downtime.edge, text, remedy);
        } else if downtime.uncovered_streams > 0 {
            let (open, all) = (downtime.uncovered_streams, downtime.streams);
            let events = if events > 0 {
                format!("; {events} events that the venue numbered meanwhile")
            } else {
                String::new()
            };
            let text = format!("{text} ({open} of {all} streams{events})");
            let remedy = "run a second edge for the venue: it covers stops of the first";
            add(Code::LedgerNotCollected, Level::Downtime, &downtime.edge, text, remedy);
        } else {
            let text = format!("{text}; covered by another edge or by the venue's numbers");
            add(Code::LedgerCoveredDowntime, Level::Info, &downtime.edge, text, "");
        }
    }
    let is_named =
        |edge: &str| listed.iter().take(FINDINGS_MAX).any(|of| of.edge == edge && of.uncovered_streams > 0);
    for (edge, streams) in idle.iter().filter(|(edge, _)| !is_named(edge)) {
        let text = format!(
            "streams that were not collected for a time: {}, {}",
            streams.len(),
            DowntimeReason::Stopped.text("")
        );
        add(Code::LedgerNotCollected, Level::Downtime, edge, text, "");
    }
    findings
}

/// True if the edge was stopped on purpose and has not started since. A stream that was delisted or removed says nothing about its edge.
pub fn is_stopped(downtimes: &[EdgeDowntime], edge: &str) -> bool {
    downtimes.iter().any(|downtime| {
        downtime.edge == edge && downtime.end_ns == 0 && downtime.why == DowntimeReason::Stopped.as_str()
    })
}

fn sentence(downtime: &ReportedDowntime) -> String {
    let text = |time: Time| time.to_string().get(..19).map(|text| text.replace('T', " ")).unwrap_or_default();
    let (from, reason) = (text(downtime.from), &downtime.reason);
    match downtime.to {
        None => format!("not collected since {from}, {reason}"),
        Some(to) => {
            let to_text = text(to);
            let to_text =
                if to_text.get(..10) == from.get(..10) { to_text.get(11..) } else { Some(to_text.as_str()) };
            format!("not collected {from} to {}, {reason}", to_text.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    /// 2026-11-28 21:21:43 UTC.
    const STOP: i64 = 1_795_900_903 * SECOND;

    fn downtime(edge: &str, end_ns: i64) -> EdgeDowntime {
        let (edge, why) = (edge.into(), "stopped".into());
        EdgeDowntime { edge, begin_ns: STOP, end_ns, why, detail: String::new(), streams: 2 }
    }

    fn pause(from_ns: i64, to_ns: i64) -> EdgeGap {
        EdgeGap {
            stream: marketprism_schema::StreamId::parse("trade.sim_spot.spot.A-B").unwrap(),
            edge: "e1".into(),
            window_ms: STOP / 1_000_000,
            run: 1,
            kind: "start".into(),
            cause: "operator".into(),
            from_ns,
            to_ns,
            from_sequence: None,
            to_sequence: None,
            missing: None,
        }
    }

    fn idle() -> LedgerSummary {
        let window = STOP / SECOND / 60 * 60;
        let idle = BTreeMap::from([("e1".to_owned(), vec![[(window, window + 60)].into_iter().collect()])]);
        LedgerSummary { idle, not_collected_events: 7, ..LedgerSummary::default() }
    }

    #[test]
    fn a_stop_is_reported_from_the_last_connection_to_the_first_frame() {
        let gaps = [pause(STOP - 2 * SECOND, STOP), pause(STOP + 46 * SECOND, STOP + 48 * SECOND)];
        let listed = list(&[downtime("e1", STOP + 46 * SECOND)], &gaps, &idle());
        let [finding] = &findings(&listed, &idle())[..] else { panic!("{listed:?}") };
        assert_eq!((finding.level, finding.subject.as_str()), (Level::Downtime, "edge e1"));
        let text = "not collected 2026-11-28 21:21:41 to 21:22:31, stopped by operator (1 of 2 streams; 7 events that the venue numbered meanwhile)";
        assert_eq!(finding.text, text);
    }

    #[test]
    fn a_covered_stop_is_a_note_and_one_that_lasts_has_no_end() {
        let listed = list(&[downtime("e1", 0)], &[], &LedgerSummary::default());
        let [finding] = &findings(&listed, &LedgerSummary::default())[..] else { panic!("{listed:?}") };
        assert_eq!(finding.level, Level::Info);
        assert!(
            finding.text.starts_with("not collected since 2026-11-28 21:21:43, stopped"),
            "{}",
            finding.text
        );
    }

    #[test]
    fn a_restart_by_self_care_is_reported_with_the_limit_that_was_passed_and_excuses_no_silence() {
        let detail = "memory 612 MB above 600 MB".to_owned();
        let care = |end_ns| EdgeDowntime {
            why: "self_care".into(),
            detail: detail.clone(),
            ..downtime("e1", end_ns)
        };
        let gaps = [pause(STOP - 2 * SECOND, STOP)];
        let listed = list(&[care(STOP + 3 * SECOND)], &gaps, &idle());
        let [finding] = &findings(&listed, &idle())[..] else { panic!("{listed:?}") };
        let text = "not collected 2026-11-28 21:21:41 to 21:21:46, restarted by self-care: memory 612 MB above 600 MB (1 of 2 streams; 7 events that the venue numbered meanwhile)";
        assert_eq!((finding.level, finding.text.as_str()), (Level::Downtime, text));
        assert!(!is_stopped(&[care(0)], "e1"), "it should be running again");
    }

    #[test]
    fn a_kill_is_reported_with_its_times_and_excuses_nothing() {
        let killed = EdgeDowntime { why: "killed".into(), ..downtime("e1", STOP + 46 * SECOND) };
        let window = STOP / SECOND / 60 * 60;
        let covered = |streams: &[i64]| {
            let runs = streams.iter().map(|end| [(window - 60, *end)].into_iter().collect()).collect();
            let covered = BTreeMap::from([("e1".to_owned(), runs)]);
            LedgerSummary { covered, period: (window - 600, window + 600), ..LedgerSummary::default() }
        };
        // The second stream has no final verdict, or a mismatch, in the window of the end.
        let ledger = covered(&[window + 120, window + 60]);
        let listed = list(std::slice::from_ref(&killed), &[], &ledger);
        let [finding] = &findings(&listed, &ledger)[..] else { panic!("{listed:?}") };
        assert_eq!((finding.code, finding.level), (Code::EdgeKilled, Level::Unknown));
        assert_eq!(
            finding.text,
            "not collected 2026-11-28 21:21:43 to 21:22:29, edge killed (1 of 2 streams)"
        );
        let level = |ledger: &LedgerSummary| {
            findings(&list(std::slice::from_ref(&killed), &[], ledger), ledger)[0].level
        };
        assert_eq!(level(&LedgerSummary::default()), Level::Unknown, "nothing is compared yet");
        assert_eq!(level(&covered(&[window + 120, window + 120])), Level::Info);
    }

    #[test]
    fn only_a_stop_that_lasts_excuses_a_silent_edge() {
        let is_excused = |downtime: EdgeDowntime| is_stopped(&[downtime], "e1");
        assert!(is_excused(downtime("e1", 0)));
        assert!(!is_excused(downtime("e2", 0)), "another edge");
        assert!(!is_excused(downtime("e1", STOP + SECOND)), "started again");
        for reason in [DowntimeReason::Delisted, DowntimeReason::Removed] {
            let of_stream = EdgeDowntime { why: reason.as_str().to_owned(), ..downtime("e1", 0) };
            assert!(!is_excused(of_stream), "the end of a stream");
        }
    }

    #[test]
    fn idle_windows_that_no_listed_stop_names_are_reported_all_the_same() {
        let found = findings(&[], &idle());
        assert_eq!((found.len(), found[0].level), (1, Level::Downtime));
    }
}
