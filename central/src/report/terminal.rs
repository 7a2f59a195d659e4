//! The report for a terminal.

use std::fmt::Write as _;

use super::document::{Finding, Held, Level, Listed, Report, StreamState, TableState, Verdict, WorstWindow};
use super::grid::{Grid, Paint, clean};

/// Streams, windows and gaps shown; `--json` has more.
const SHOWN: usize = 15;

/// The whole report.
pub fn report(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    head(report, paint, &mut out);
    findings(&report.findings, paint, &mut out);
    tables(&report.tables, paint, &mut out);
    streams(report, paint, &mut out);
    worst(&report.worst_windows, paint, &mut out);
    gaps(report, paint, &mut out);
    systems(report, paint, &mut out);
    out
}

/// What runs now, in one screen.
pub fn status(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    head(report, paint, &mut out);
    findings(&report.findings, paint, &mut out);
    tables(&report.tables, paint, &mut out);
    systems(report, paint, &mut out);
    out
}

/// Writing to a string does not fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
    out.push('\n');
}

fn head(report: &Report, paint: Paint, out: &mut String) {
    let (mark, colour) = match report.verdict {
        Verdict::Whole => ("\u{2713}", Paint::GOOD),
        Verdict::NotWhole => ("\u{2715}", Paint::BAD),
        Verdict::CannotTell => ("?", Paint::BLIND),
    };
    let words = report.verdict.words().to_uppercase();
    line(out, format_args!("{}  {}", paint.with(colour, &format!("{mark} {words}")), clean(&report.summary)));
    let scope = &report.scope;
    let table = scope.table.map(|table| format!(", {table}")).unwrap_or_default();
    let text = format!("{} to {}{table}, computed in {} ms", scope.from, scope.to, report.took_ms);
    line(out, format_args!("   {}", paint.with(Paint::SOFT, &text)));
}

/// Level, subject, text, remedy.
pub fn findings(findings: &[Finding], paint: Paint, out: &mut String) {
    for finding in findings {
        let colour = colour_of(finding.level);
        let level = paint.with(colour, &format!("{:<7}", finding.level.as_str()));
        line(out, format_args!("   {level} {}: {}", clean(&finding.subject), clean(&finding.text)));
        if !finding.remedy.is_empty() {
            let remedy = paint.with(Paint::SOFT, &clean(&finding.remedy));
            line(out, format_args!("           {remedy}"));
        }
    }
}

fn colour_of(level: Level) -> &'static str {
    match level {
        Level::Fail => Paint::BAD,
        Level::Unknown => Paint::BLIND,
        Level::Warn => Paint::GAP,
        Level::Info => Paint::SOFT,
    }
}

fn tables(tables: &[TableState], paint: Paint, out: &mut String) {
    let mut grid = Grid::new(
        "tables",
        &[
            "table", "hot", "recent", "newest", "cold", "recent", "lag min", "verified", "mismatch",
            "failed", "doubles",
        ],
    );
    for table in tables {
        let of = |held: &Option<Held>, value: fn(&Held) -> u64| {
            held.as_ref().map_or("no answer".to_owned(), |held| value(held).to_string())
        };
        let doubles =
            [&table.hot, &table.cold].into_iter().flatten().map(|held| held.recent_duplicates).sum();
        let newest = table.hot.as_ref().and_then(|hot| hot.newest);
        grid.row(vec![
            table.table.to_owned(),
            of(&table.hot, |held| held.rows),
            of(&table.hot, |held| held.recent_rows),
            newest.map_or("-".to_owned(), |at| at.to_string()),
            of(&table.cold, |held| held.rows),
            of(&table.cold, |held| held.recent_rows),
            table.lag_minutes.map_or("-".to_owned(), |lag| format!("{lag:.1}")),
            table.replication.verified.to_string(),
            table.replication.mismatch.to_string(),
            table.replication.unverifiable.to_string(),
            u64::to_string(&doubles),
        ]);
    }
    grid.write(paint, out);
}

fn streams(report: &Report, paint: Paint, out: &mut String) {
    let map = &report.heat_map;
    let mut grid = Grid::new(
        &format!("streams ({} in all, the worst first)", map.streams_total),
        &["stream", "verified", "mismatch", "unverifiable", "open", "absent", "missing", "gaps by cause"],
    );
    for stream in map.streams.iter().take(SHOWN) {
        let windows = &stream.windows;
        grid.row(vec![
            stream.stream.clone(),
            windows.verified.to_string(),
            windows.mismatch.to_string(),
            windows.unverifiable.to_string(),
            windows.open.to_string(),
            stream.absent_windows.to_string(),
            stream.missing_events.to_string(),
            causes(stream),
        ]);
    }
    grid.write(paint, out);
}

fn causes(stream: &StreamState) -> String {
    let named = stream.gaps.iter().map(|(cause, gaps)| format!("{cause} {}", gaps.gaps));
    named.collect::<Vec<_>>().join(", ")
}

fn worst(windows: &Listed<WorstWindow>, paint: Paint, out: &mut String) {
    let mut grid = Grid::new(
        &format!("windows to look at ({} in all)", windows.total),
        &["state", "window", "stream or table", "edge", "there", "expected", "why"],
    );
    for window in windows.items.iter().take(SHOWN) {
        grid.row(vec![
            window.state.clone(),
            window.window_start.to_string(),
            window.of.clone(),
            window.edge.clone(),
            window.found.to_string(),
            window.expected.to_string(),
            window.reason.clone(),
        ]);
    }
    grid.write(paint, out);
}

fn gaps(report: &Report, paint: Paint, out: &mut String) {
    let mut grid = Grid::new(
        &format!("gaps ({} in all, the newest first)", report.gaps.total),
        &["window", "stream", "edge", "cause", "kind", "missing", "evidence"],
    );
    for gap in report.gaps.items.iter().take(SHOWN) {
        grid.row(vec![
            gap.window_start.to_string(),
            gap.stream.clone(),
            gap.edge.clone(),
            gap.cause.clone(),
            gap.kind.clone(),
            gap.missing.map_or("unknown".to_owned(), |missing| missing.to_string()),
            gap.evidence.clone(),
        ]);
    }
    grid.write(paint, out);
    let mut grid = Grid::new("losses", &["seen", "stream", "messages", "from", "to", "cause", "evidence"]);
    for loss in report.losses.items.iter().take(SHOWN) {
        grid.row(vec![
            loss.seen_at.to_string(),
            loss.stream.clone(),
            loss.messages.to_string(),
            loss.from_seq.to_string(),
            loss.to_seq.to_string(),
            loss.cause.clone(),
            loss.evidence.clone(),
        ]);
    }
    grid.write(paint, out);
}

fn systems(report: &Report, paint: Paint, out: &mut String) {
    let mut grid = Grid::new(
        "broker",
        &["stream", "messages", "MiB", "replicas", "consumer", "waiting", "unacknowledged", "redelivered"],
    );
    for stream in &report.broker {
        let own = vec![
            stream.stream.clone(),
            stream.messages.to_string(),
            (stream.bytes >> 20).to_string(),
            format!("{}/{}", stream.replicas_current, stream.replicas),
        ];
        if stream.consumers.is_empty() {
            grid.row(own.clone());
        }
        for consumer in &stream.consumers {
            let counts =
                [consumer.pending, consumer.ack_pending, consumer.redelivered].map(|n| n.to_string());
            grid.row(own.iter().cloned().chain([consumer.consumer.clone()]).chain(counts).collect());
        }
    }
    grid.write(paint, out);
    let mut grid =
        Grid::new("clickhouse", &["server", "database", "version", "up s", "parts", "MiB", "free MiB"]);
    for server in &report.clickhouse {
        let free = server.disks.iter().map(|disk| format!("{} {}", disk.disk, disk.free_bytes >> 20));
        grid.row(vec![
            server.role.to_owned(),
            server.database.clone(),
            server.version.clone(),
            server.uptime_seconds.to_string(),
            server.parts.to_string(),
            (server.bytes >> 20).to_string(),
            free.collect::<Vec<_>>().join(", "),
        ]);
    }
    grid.write(paint, out);
    let mut grid = Grid::new("leases", &["lease", "holder", "since", "renewed"]);
    for lease in &report.leases {
        let at = |time: Option<super::Time>| time.map_or("-".to_owned(), |time| time.to_string());
        grid.row(vec![lease.lease.clone(), lease.holder.clone(), at(lease.since), at(lease.renewed)]);
    }
    grid.write(paint, out);
}
