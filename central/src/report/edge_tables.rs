//! Edges, their changes and corrections as text for the terminal.

use super::Time;
use super::document::{ReportedChange, ReportedCorrection, TruncatedList};
use super::terminal::{Paint, cells, or_dash, text_table};
use crate::fleet::{FleetAdapter, FleetEdge, FleetSwap};

/// Digits of a digest that are shown.
const DIGEST_SHOWN: usize = 12;
/// Most changes and corrections shown; `--json` has more.
const CHANGES_SHOWN: usize = 15;

pub fn edges(edges: &[FleetEdge], paint: Paint, out: &mut String) {
    let row = |edge: &FleetEdge| {
        let running = edge.feeds.iter().filter(|feed| feed.state == "running").count();
        let feeds = format!("{running}/{}", edge.feeds.len());
        let streams: u64 = edge.feeds.iter().map(|feed| feed.streams).sum();
        let newest = edge.feeds.iter().filter_map(|feed| feed.newest_event).max();
        let journal = edge.journal.as_ref();
        let (mib, waiting) =
            (journal.map(|journal| journal.bytes >> 20), journal.map(|journal| journal.waiting));
        let millis = |us: i64| us as f64 / 1_000.0;
        let clock = edge.clock.as_ref().map(|clock| {
            let error = i64::try_from(clock.error_us).unwrap_or(i64::MAX);
            format!("{:.1} +-{:.1}", millis(clock.offset_us), millis(error))
        });
        let free = edge.disk_free_bytes.map(|bytes| bytes >> 20);
        cells![
            edge.edge,
            edge.region,
            edge.state.as_str(),
            edge.status,
            edge.heartbeat_age_seconds,
            edge.program_version,
            or_dash(edge.started),
            feeds,
            streams,
            or_dash(newest),
            or_dash(mib),
            or_dash(waiting),
            or_dash(free),
            or_dash(clock)
        ]
    };
    let columns = "edge,region,state,health,heartbeat s,version,started,feeds,streams,newest event,journal MiB,waiting,free MiB,clock ms";
    text_table("edges", columns, edges.iter().map(row), paint, out);
    let row = |(edge, adapter): (&FleetEdge, &FleetAdapter)| {
        let FleetAdapter { adapter, version, digest, state, exchanges, last_swap } = adapter;
        let last = last_swap.as_ref().map(swap_text);
        cells![edge.edge, adapter, version, short(digest), state, exchanges.join(" "), or_dash(last)]
    };
    let adapters = edges.iter().flat_map(|edge| edge.adapters.iter().map(move |adapter| (edge, adapter)));
    let columns = "edge,adapter,version,digest,state,exchanges,last change";
    text_table("adapters of the edges", columns, adapters.map(row), paint, out);
}

/// Result, target, time, and the reason if there is one.
fn swap_text(swap: &FleetSwap) -> String {
    let FleetSwap { outcome, to, digest, ended, started, cause, .. } = swap;
    let to = to.as_deref().unwrap_or_else(|| short(digest));
    let at: Time = ended.unwrap_or(*started);
    let cause = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{outcome} {to} at {at}{cause}")
}

pub fn changes(changes: &TruncatedList<ReportedChange>, paint: Paint, out: &mut String) {
    let row = |change: &ReportedChange| {
        let ReportedChange { at, edge, kind, subject, why, from, to, outcome, cause, .. } = change;
        cells![at, edge, kind, subject, from, to, outcome, why, cause]
    };
    let title = format!("changes of the edges ({} in all, the newest first)", changes.total);
    let columns = "at,edge,kind,what,from,to,outcome,why,cause";
    text_table(&title, columns, changes.items.iter().take(CHANGES_SHOWN).map(row), paint, out);
}

pub fn corrections(corrections: &TruncatedList<ReportedCorrection>, paint: Paint, out: &mut String) {
    let row = |one: &ReportedCorrection| {
        let ReportedCorrection { at, edge, exchange, data_type, from, to, old_adapter, new_adapter, .. } =
            one;
        let applied = one.applied.as_ref();
        cells![
            at,
            one.correction,
            edge,
            exchange,
            data_type,
            from,
            to,
            old_adapter,
            new_adapter,
            one.old_digest,
            one.new_digest,
            one.changed,
            one.added,
            one.withdrawn,
            one.state.as_str(),
            or_dash(applied.map(|applied| applied.replaced)),
            or_dash(applied.map(|applied| applied.added)),
            or_dash(applied.map(|applied| applied.withdrawn)),
            or_dash(applied.map(|applied| applied.absent))
        ]
    };
    let title = format!(
        "corrections ({} in all, the newest first; order-book changes are never corrected)",
        corrections.total
    );
    let columns = "at,correction,edge,exchange,type,from,to,old adapter,new adapter,old digest,new digest,changed,added,withdrawn,\
                   state,rows replaced,rows added,rows withdrawn,absent";
    text_table(&title, columns, corrections.items.iter().take(CHANGES_SHOWN).map(row), paint, out);
}

fn short(digest: &str) -> &str {
    digest.get(..DIGEST_SHOWN).unwrap_or(digest)
}
