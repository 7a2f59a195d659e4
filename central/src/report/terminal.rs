//! The report as text for the terminal: tables and colours.

use std::fmt::Display;

use comfy_table::{CellAlignment, Table, presets};
use marketprism_schema::EdgeHop;
use marketprism_service::shows_colours;

use super::document::{
    BrokerConsumer, EdgeTime, Finding, LatencyReport, LeaseState, Level, LostMessages, Report, ReportVerdict,
    ReportedDowntime, ReportedGap, ServerState, StreamLatency, StreamState, TableContents, TableReport,
    VenueState, VerifiedAudits, VerifiedTable, WindowCounts, WindowPercent, WorstWindow,
};
use super::edge_tables;
use super::latency::EDGE_TO_HOT;
use crate::time::micros;

/// Most streams, windows and gaps shown; `--json` has more.
const SHOWN: usize = 15;

macro_rules! cells {
    ($($cell:expr),* $(,)?) => { vec![$($cell.to_string()),*] };
}
pub(super) use cells;

pub fn report(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    head(report, paint, &mut out);
    findings(&report.findings, paint, &mut out);
    verification(report, paint, &mut out);
    tables(&report.tables, paint, &mut out);
    markets(&report.coverage, paint, &mut out);
    streams(report, paint, &mut out);
    windows(report, paint, &mut out);
    gaps(report, paint, &mut out);
    latency(&report.latency, paint, &mut out);
    edge_tables::edges(&report.edges, paint, &mut out);
    edge_tables::changes(&report.changes, paint, &mut out);
    edge_tables::corrections(&report.corrections, paint, &mut out);
    systems(report, paint, &mut out);
    out
}

/// The current state in one screen.
pub fn status(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    head(report, paint, &mut out);
    findings(&report.findings, paint, &mut out);
    tables(&report.tables, paint, &mut out);
    edge_tables::edges(&report.edges, paint, &mut out);
    systems(report, paint, &mut out);
    out
}

fn head(report: &Report, paint: Paint, out: &mut String) {
    let (mark, colour) = match report.verdict {
        ReportVerdict::Whole => ("\u{2713}", Paint::GOOD),
        ReportVerdict::NotWhole => ("\u{2715}", Paint::BAD),
        ReportVerdict::CannotTell => ("?", Paint::UNKNOWN),
        ReportVerdict::NotCollected => ("\u{2225}", Paint::IDLE),
    };
    let verdict = paint.with(colour, &format!("{mark} {}", report.verdict.words().to_uppercase()));
    let scope = &report.scope;
    let table = scope.table.map(|table| format!(", {table}")).unwrap_or_default();
    let period = format!("{} to {}{table}, computed in {} ms", scope.from, scope.to, report.took_ms);
    out.push_str(&format!(
        "{verdict}  {}\n   {}\n",
        clean(&report.summary),
        paint.with(Paint::SOFT, &period)
    ));
    let evidence = report.evidence.as_text();
    if report.verdict != ReportVerdict::Whole && !evidence.is_empty() {
        out.push_str(&format!("   {}\n", paint.with(Paint::SOFT, &format!("verified windows: {evidence}"))));
    }
}

pub fn findings(findings: &[Finding], paint: Paint, out: &mut String) {
    for finding in findings {
        let colour = match finding.level {
            Level::Fail => Paint::BAD,
            Level::Unknown => Paint::UNKNOWN,
            Level::Downtime => Paint::IDLE,
            Level::Warn => Paint::WARN,
            Level::Info => Paint::SOFT,
        };
        let level = paint.with(colour, &format!("{:<8}", finding.level.as_str()));
        let code = paint.with(Paint::SOFT, &format!("[{}]", finding.code.as_str()));
        out.push_str(&format!("   {level} {}: {} {code}\n", clean(&finding.subject), clean(&finding.text)));
        if !finding.remedy.is_empty() {
            out.push_str(&format!("           {}\n", paint.with(Paint::SOFT, &clean(&finding.remedy))));
        }
    }
}

pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

fn tables(tables: &[TableReport], paint: Paint, out: &mut String) {
    let of = |side: &Option<TableContents>, value: fn(&TableContents) -> u64| {
        side.as_ref().map_or("no answer".to_owned(), |contents| value(contents).to_string())
    };
    let row = |state: &TableReport| {
        let sides = [&state.hot, &state.cold].into_iter().flatten();
        let duplicates: u64 = sides.map(|side| side.recent_duplicates).sum();
        let newest = state.hot.as_ref().and_then(|hot| hot.newest);
        let lag = state.lag_minutes.map(|lag| format!("{lag:.1}"));
        let [verified, mismatch, failed, ..] = shares(&state.replication, state.replication_percent);
        let [audited, differing, unverifiable, _, idle] = shares(&state.audited, state.audited_percent);
        let (hot, cold) = (of(&state.hot, |hot| hot.rows), of(&state.cold, |cold| cold.rows));
        let (fresh, copied) =
            (of(&state.hot, |hot| hot.recent_rows), of(&state.cold, |cold| cold.recent_rows));
        let (newest, lag) = (or_dash(newest), or_dash(lag));
        cells![
            state.table,
            hot,
            fresh,
            newest,
            cold,
            copied,
            lag,
            duplicates,
            verified,
            mismatch,
            failed,
            audited,
            differing,
            unverifiable,
            idle
        ]
    };
    let columns = "table,hot,recent,newest,cold,recent,lag min,duplicates,equal,different,failed,audited,mismatch,unverifiable,not collected";
    text_table("tables", columns, tables.iter().map(row), paint, out);
}

/// Numbers of windows with their share, in the order of the heatmap's cells.
fn shares(counts: &WindowCounts, percent: Option<WindowPercent>) -> [String; 5] {
    let of = |of: WindowPercent| [of.verified, of.mismatch, of.unverifiable, of.open, of.not_collected];
    let percent = percent.map_or([0.0; 5], of);
    let mut shares = counts.cell().map(|count| count.to_string());
    for (share, percent) in shares.iter_mut().zip(percent).filter(|(_, percent)| *percent > 0.0) {
        share.push_str(&format!(" ({percent:.2} %)"));
    }
    shares
}

fn verification(report: &Report, paint: Paint, out: &mut String) {
    let Some(verification) = &report.verification else { return };
    let row = |table: &VerifiedTable| {
        let VerifiedTable { equal, cold_only, different, waiting, failed, not_copied_rows, .. } = table;
        let (upto, stopped) = (or_dash(table.compared_upto), table.stopped.clone().unwrap_or_default());
        let (hot, cold) = (table.hot_rows, table.cold_rows);
        cells![
            table.table,
            equal,
            cold_only,
            different,
            waiting,
            failed,
            hot,
            cold,
            not_copied_rows,
            upto,
            stopped
        ]
    };
    let seconds = verification.took_ms as f64 / 1_000.0;
    let title = format!("verified now: hot against cold, windows and rows counted in {seconds:.1} s");
    let columns = "table,equal,cold only,different,waiting,failed,rows hot,rows cold,not copied yet,compared up to,stopped by";
    text_table(&title, columns, verification.tables.iter().map(row), paint, out);
    let row = |audits: &VerifiedAudits| {
        let [verified, mismatch, unverifiable, open, idle] =
            shares(&audits.windows, WindowPercent::of(&audits.windows));
        let VerifiedAudits { newly_mismatched, newly_unsound, newly_verified, .. } = audits;
        cells![
            verified,
            mismatch,
            unverifiable,
            open,
            idle,
            newly_mismatched,
            newly_unsound - newly_mismatched,
            newly_verified
        ]
    };
    let columns =
        "verified,mismatch,unverifiable,open,not collected,new: mismatch,new: unverifiable,new: verified";
    let title = "verified now: hot against audits, windows";
    text_table(title, columns, verification.audits.iter().map(row), paint, out);
}

/// Most markets shown.
const MARKETS_SHOWN: usize = 60;

fn markets(markets: &[VenueState], paint: Paint, out: &mut String) {
    let of = |side: &Option<TableContents>| {
        side.as_ref().map_or("no answer".to_owned(), |contents| contents.rows.to_string())
    };
    let row = |state: &VenueState| {
        let [verified, mismatch, unverifiable, open, idle] = shares(&state.windows, state.windows_percent);
        let VenueState { exchange, market_type, data_type, status, .. } = state;
        let newest = state.cold.as_ref().and_then(|cold| cold.newest);
        let (age, newest) = (or_dash(state.age_seconds), or_dash(newest));
        let (hot, cold) = (of(&state.hot), of(&state.cold));
        cells![
            exchange,
            market_type,
            data_type,
            hot,
            status,
            age,
            cold,
            newest,
            verified,
            mismatch,
            unverifiable,
            open,
            idle
        ]
    };
    let title = format!("markets ({} in all)", markets.len());
    let columns = "exchange,market,data,hot,status,age s,cold,newest cold,verified,mismatch,unverifiable,open,not collected";
    text_table(&title, columns, markets.iter().take(MARKETS_SHOWN).map(row), paint, out);
}

fn streams(report: &Report, paint: Paint, out: &mut String) {
    let map = &report.heat_map;
    let row = |stream: &StreamState| {
        let WindowCounts { verified, mismatch, unverifiable, open, not_collected } = stream.windows;
        let causes = stream.gaps.iter().map(|(cause, gaps)| format!("{cause} {}", gaps.gaps));
        let causes = causes.collect::<Vec<_>>().join(", ");
        let [complete, received, lower_bound] = stream.evidence.windows();
        let StreamState { stream, absent_windows, missing_events, .. } = stream;
        cells![
            stream,
            verified,
            complete,
            received,
            lower_bound,
            mismatch,
            unverifiable,
            open,
            not_collected,
            absent_windows,
            missing_events,
            causes
        ]
    };
    let title = format!("streams ({} in all, the worst first)", map.streams_total);
    let columns = "stream,verified,complete,received,lower bound,mismatch,unverifiable,open,not collected,no verdict,missing,gaps by cause";
    text_table(&title, columns, map.streams.iter().take(SHOWN).map(row), paint, out);
}

fn windows(report: &Report, paint: Paint, out: &mut String) {
    let row = |w: &WorstWindow| cells![w.state, w.window_start, w.of, w.edge, w.found, w.expected, w.reason];
    let title = format!("windows not verified ({} in all)", report.worst_windows.total);
    let columns = "state,window,stream or table,edge,found,expected,reason";
    text_table(&title, columns, report.worst_windows.items.iter().take(SHOWN).map(row), paint, out);
}

fn gaps(report: &Report, paint: Paint, out: &mut String) {
    let row = |d: &ReportedDowntime| {
        let to = d.to.map_or("lasts".to_owned(), |to| to.to_string());
        cells![d.from, to, d.edge, d.reason, d.streams, d.uncovered_streams]
    };
    let columns = "from,to,edge,reason,streams,not covered";
    text_table("not collected", columns, report.downtimes.iter().take(SHOWN).map(row), paint, out);
    let row = |time: &EdgeTime| {
        let filled = time.by.as_ref().map(|by| format!("holes filled by {by}"));
        cells![time.from, time.to, time.edge, filled.unwrap_or_else(|| "alone".to_owned()), time.streams]
    };
    let times = report.alone.items.iter().take(SHOWN).chain(report.filled.items.iter().take(SHOWN));
    text_table("edges of one stream", "from,to,edge,state,streams", times.map(row), paint, out);
    let row = |gap: &ReportedGap| {
        let missing = gap.missing.map_or("unknown".to_owned(), |missing| missing.to_string());
        let (from, to) = (or_dash(gap.from), or_dash(gap.to));
        cells![from, to, gap.clock, gap.stream, gap.edge, gap.cause, gap.kind, missing, gap.evidence]
    };
    let title = format!("gaps ({} in all, the newest first)", report.gaps.total);
    let columns = "from,to,clock,stream,edge,cause,kind,missing,evidence";
    text_table(&title, columns, report.gaps.items.iter().take(SHOWN).map(row), paint, out);
    let row = |loss: &LostMessages| {
        let LostMessages { seen_at, stream, messages, from_seq, to_seq, cause, evidence } = loss;
        cells![seen_at, stream, messages, from_seq, to_seq, cause, evidence]
    };
    let columns = "seen,stream,messages,from,to,cause,evidence";
    text_table("lost messages", columns, report.losses.items.iter().take(SHOWN).map(row), paint, out);
}

fn latency(latency: &LatencyReport, paint: Paint, out: &mut String) {
    let row = |stream: &StreamLatency| {
        let hop = |name: &str| {
            let found = stream.hops.iter().find(|hop| hop.hop == name);
            found.map_or("-".to_owned(), |hop| [hop.p50_us, hop.p90_us, hop.p99_us].map(micros).join(" / "))
        };
        let hops = EdgeHop::ALL.iter().map(|hop| hop.as_str()).chain([EDGE_TO_HOT]).map(hop);
        let names = [&stream.edge, &stream.exchange, &stream.data_type].map(Clone::clone);
        names.into_iter().chain(hops).chain([stream.trust.clone()]).collect()
    };
    let title = format!("latency, p50 / p90 / p99 ({} in all)", latency.streams.len());
    let columns = "edge,exchange,data,venue to edge,receive to publish,publish to ack,edge to hot,trust in venue to edge and edge to hot";
    text_table(&title, columns, latency.streams.iter().take(SHOWN).map(row), paint, out);
}

fn systems(report: &Report, paint: Paint, out: &mut String) {
    let rows = report.broker.iter().flat_map(|stream| {
        let replicas = format!("{}/{}", stream.replicas_current, stream.replicas);
        let own = cells![stream.stream, stream.messages, stream.bytes >> 20, replicas];
        let consumer = |c: &BrokerConsumer| cells![c.consumer, c.pending, c.ack_pending, c.redelivered];
        let mut consumers: Vec<Vec<String>> = stream.consumers.iter().map(consumer).collect();
        if consumers.is_empty() {
            consumers.push(Vec::new());
        }
        consumers.into_iter().map(move |consumer| [own.clone(), consumer].concat())
    });
    let columns = "stream,messages,MiB,replicas,consumer,pending,unacknowledged,redelivered";
    text_table("broker", columns, rows, paint, out);
    let row = |server: &ServerState| {
        let free = server.disks.iter().map(|disk| format!("{} {}", disk.disk, disk.free_bytes >> 20));
        let free = free.collect::<Vec<_>>().join(", ");
        let ServerState { role, database, version, uptime_seconds, parts, bytes, .. } = server;
        cells![role, database, version, uptime_seconds, parts, bytes >> 20, free]
    };
    let columns = "server,database,version,up s,parts,MiB,free MiB";
    text_table("clickhouse", columns, report.clickhouse.iter().map(row), paint, out);
    let row =
        |lease: &LeaseState| cells![lease.lease, lease.holder, or_dash(lease.since), or_dash(lease.renewed)];
    text_table("leases", "lease,holder,since,renewed", report.leases.iter().map(row), paint, out);
}

/// Longest text of a cell; the rest is cut off.
const CELL_MAX: usize = 90;

/// Colours on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    pub const GOOD: &'static str = "32;1";
    pub const BAD: &'static str = "31;1";
    pub const UNKNOWN: &'static str = "33;1";
    pub const IDLE: &'static str = "35;1";
    pub const WARN: &'static str = "33";
    pub const SOFT: &'static str = "2";

    pub fn of_stdout() -> Self {
        Self(shows_colours(&std::io::stdout()))
    }

    #[cfg(test)]
    pub const fn none() -> Self {
        Self(false)
    }

    pub fn with(self, colour: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Replaces control characters: text from outside must not steer the terminal.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Appends rows under a title and column names (separated by commas); nothing without rows. Columns of numbers are aligned to the right.
pub fn text_table(
    title: &str,
    columns: &str,
    rows: impl Iterator<Item = Vec<String>>,
    paint: Paint,
    out: &mut String,
) {
    let cut = |cell: String| {
        let cell = clean(&cell);
        match cell.char_indices().nth(CELL_MAX) {
            Some((end, _)) => format!("{}...", cell.get(..end).unwrap_or_default()),
            None => cell,
        }
    };
    let rows: Vec<Vec<String>> = rows.map(|row| row.into_iter().map(cut).collect()).collect();
    if rows.is_empty() {
        return;
    }
    let is_number = |cell: &String| {
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | ' ' | '(' | ')' | '%');
        !cell.is_empty() && cell.chars().all(is_part)
    };
    let right: Vec<bool> = (0..columns.split(',').count())
        .map(|column| rows.iter().filter_map(|row| row.get(column)).all(is_number))
        .collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(columns.split(',')).add_rows(rows);
    for (column, right) in table.column_iter_mut().zip(right) {
        column.set_cell_alignment(if right { CellAlignment::Right } else { CellAlignment::Left });
    }
    out.push_str(&format!("\n{}\n", title.to_uppercase()));
    for (i, line) in table.to_string().lines().enumerate() {
        let line = format!(" {}", line.trim_end());
        out.push_str(&if i == 0 { paint.with(Paint::SOFT, &line) } else { line });
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_escapes_do_not_pass() {
        let rows = [["a", "7"], ["evil\u{1b}[2J", "1234"]].map(|row| row.map(str::to_owned).to_vec());
        let mut out = String::new();
        text_table("things", "name,count", rows.into_iter(), Paint::none(), &mut out);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            lines,
            ["", "THINGS", "  name      count", "  a             7", "  evil\u{fffd}[2J   1234"]
        );
        let mut nothing = String::new();
        text_table("empty", "x", std::iter::empty(), Paint::none(), &mut nothing);
        assert_eq!(nothing, "");
    }
}
