//! The report as text for the terminal.

use std::fmt::Display;

use super::document::{Finding, Level, Report, ReportVerdict, TableContents, TableState};
use super::text_table::{Paint, TextTable, clean};

/// Most streams, windows and gaps shown; `--json` has more.
const SHOWN: usize = 15;

macro_rules! cells {
    ($($cell:expr),* $(,)?) => { vec![$($cell.to_string()),*] };
}

pub fn report(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    head(report, paint, &mut out);
    findings(&report.findings, paint, &mut out);
    tables(&report.tables, paint, &mut out);
    streams(report, paint, &mut out);
    windows(report, paint, &mut out);
    gaps(report, paint, &mut out);
    systems(report, paint, &mut out);
    out
}

/// The current state in one screen.
pub fn status(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    head(report, paint, &mut out);
    findings(&report.findings, paint, &mut out);
    tables(&report.tables, paint, &mut out);
    systems(report, paint, &mut out);
    out
}

fn head(report: &Report, paint: Paint, out: &mut String) {
    let (mark, colour) = match report.verdict {
        ReportVerdict::Whole => ("\u{2713}", Paint::GOOD),
        ReportVerdict::NotWhole => ("\u{2715}", Paint::BAD),
        ReportVerdict::CannotTell => ("?", Paint::UNKNOWN),
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
}

fn findings(findings: &[Finding], paint: Paint, out: &mut String) {
    for finding in findings {
        let colour = match finding.level {
            Level::Fail => Paint::BAD,
            Level::Unknown => Paint::UNKNOWN,
            Level::Warn => Paint::WARN,
            Level::Info => Paint::SOFT,
        };
        let level = paint.with(colour, &format!("{:<7}", finding.level.as_str()));
        let code = paint.with(Paint::SOFT, &format!("[{}]", finding.code.as_str()));
        out.push_str(&format!("   {level} {}: {} {code}\n", clean(&finding.subject), clean(&finding.text)));
        if !finding.remedy.is_empty() {
            out.push_str(&format!("           {}\n", paint.with(Paint::SOFT, &clean(&finding.remedy))));
        }
    }
}

fn or_dash(value: Option<impl Display>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

fn tables(tables: &[TableState], paint: Paint, out: &mut String) {
    let mut table = TextTable::new(
        "tables",
        &[
            "table",
            "hot",
            "recent",
            "newest",
            "cold",
            "recent",
            "lag min",
            "verified",
            "mismatch",
            "failed",
            "duplicates",
        ],
    );
    for state in tables {
        let of = |side: &Option<TableContents>, value: fn(&TableContents) -> u64| {
            side.as_ref().map_or("no answer".to_owned(), |contents| value(contents).to_string())
        };
        let sides = [&state.hot, &state.cold].into_iter().flatten();
        table.row(cells![
            state.table,
            of(&state.hot, |hot| hot.rows),
            of(&state.hot, |hot| hot.recent_rows),
            or_dash(state.hot.as_ref().and_then(|hot| hot.newest)),
            of(&state.cold, |cold| cold.rows),
            of(&state.cold, |cold| cold.recent_rows),
            or_dash(state.lag_minutes.map(|lag| format!("{lag:.1}"))),
            state.replication.verified,
            state.replication.mismatch,
            state.replication.unverifiable,
            sides.map(|side| side.recent_duplicates).sum::<u64>(),
        ]);
    }
    table.write(paint, out);
}

fn streams(report: &Report, paint: Paint, out: &mut String) {
    let map = &report.heat_map;
    let mut table = TextTable::new(
        &format!("streams ({} in all, the worst first)", map.streams_total),
        &["stream", "verified", "mismatch", "unverifiable", "open", "no verdict", "missing", "gaps by cause"],
    );
    for stream in map.streams.iter().take(SHOWN) {
        let windows = &stream.windows;
        let causes = stream.gaps.iter().map(|(cause, gaps)| format!("{cause} {}", gaps.gaps));
        table.row(cells![
            stream.stream,
            windows.verified,
            windows.mismatch,
            windows.unverifiable,
            windows.open,
            stream.absent_windows,
            stream.missing_events,
            causes.collect::<Vec<_>>().join(", "),
        ]);
    }
    table.write(paint, out);
}

fn windows(report: &Report, paint: Paint, out: &mut String) {
    let mut table = TextTable::new(
        &format!("windows not verified ({} in all)", report.worst_windows.total),
        &["state", "window", "stream or table", "edge", "found", "expected", "reason"],
    );
    for window in report.worst_windows.items.iter().take(SHOWN) {
        table.row(cells![
            window.state,
            window.window_start,
            window.of,
            window.edge,
            window.found,
            window.expected,
            window.reason,
        ]);
    }
    table.write(paint, out);
}

fn gaps(report: &Report, paint: Paint, out: &mut String) {
    let mut table = TextTable::new(
        &format!("gaps ({} in all, the newest first)", report.gaps.total),
        &["window", "stream", "edge", "cause", "kind", "missing", "evidence"],
    );
    for gap in report.gaps.items.iter().take(SHOWN) {
        let missing = gap.missing.map_or("unknown".to_owned(), |missing| missing.to_string());
        table
            .row(cells![gap.window_start, gap.stream, gap.edge, gap.cause, gap.kind, missing, gap.evidence,]);
    }
    table.write(paint, out);
    let mut table =
        TextTable::new("lost messages", &["seen", "stream", "messages", "from", "to", "cause", "evidence"]);
    for loss in report.losses.items.iter().take(SHOWN) {
        table.row(cells![
            loss.seen_at,
            loss.stream,
            loss.messages,
            loss.from_seq,
            loss.to_seq,
            loss.cause,
            loss.evidence,
        ]);
    }
    table.write(paint, out);
}

fn systems(report: &Report, paint: Paint, out: &mut String) {
    let mut table = TextTable::new(
        "broker",
        &["stream", "messages", "MiB", "replicas", "consumer", "pending", "unacknowledged", "redelivered"],
    );
    for stream in &report.broker {
        let replicas = format!("{}/{}", stream.replicas_current, stream.replicas);
        let own = cells![stream.stream, stream.messages, stream.bytes >> 20, replicas];
        if stream.consumers.is_empty() {
            table.row(own.clone());
        }
        for consumer in &stream.consumers {
            let counts =
                cells![consumer.consumer, consumer.pending, consumer.ack_pending, consumer.redelivered];
            table.row([own.clone(), counts].concat());
        }
    }
    table.write(paint, out);
    let mut table =
        TextTable::new("clickhouse", &["server", "database", "version", "up s", "parts", "MiB", "free MiB"]);
    for server in &report.clickhouse {
        let free = server.disks.iter().map(|disk| format!("{} {}", disk.disk, disk.free_bytes >> 20));
        table.row(cells![
            server.role,
            server.database,
            server.version,
            server.uptime_seconds,
            server.parts,
            server.bytes >> 20,
            free.collect::<Vec<_>>().join(", "),
        ]);
    }
    table.write(paint, out);
    let mut table = TextTable::new("leases", &["lease", "holder", "since", "renewed"]);
    for lease in &report.leases {
        table.row(cells![lease.lease, lease.holder, or_dash(lease.since), or_dash(lease.renewed)]);
    }
    table.write(paint, out);
}
