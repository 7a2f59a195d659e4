//! `/coverage`.

use std::collections::HashMap;

use marketprism_adapter_host::InstrumentIndex;
use marketprism_adapter_host::contract::{Capability, Completeness, Delivery};
use marketprism_book::BookStats;
use marketprism_schema::{DataType, MarketType, stale_after};
use marketprism_service::clock;
use serde_json::{Value, json};

use super::state::{EdgeState, phase_text, state_text};
use crate::books::BookReport;
use crate::feed::{FeedReport, FeedStatus, PollReport, RankedMarket};
use crate::records::TradeIdReport;
use crate::telemetry::CoverageRow;

pub(super) fn coverage(state: &EdgeState) -> Value {
    let queue = state.context.queue.status();
    json!({
        "edge": state.context.name,
        "region": state.context.region,
        "coverage": cells(state, clock::now_ns()),
        "queue": {
            "messages": queue.messages,
            "bytes": queue.bytes,
            "conflated": queue.conflated,
            "dropped": queue.dropped.values().sum::<u64>(),
        },
        "feeds": state.feeds.list().iter().map(|feed| feed_json(feed)).collect::<Vec<_>>(),
    })
}

fn feed_json(feed: &FeedStatus) -> Value {
    let report = feed.report();
    let books: HashMap<InstrumentIndex, &BookReport> =
        report.books.iter().map(|book| (book.instrument, book)).collect();
    let trades: HashMap<InstrumentIndex, &TradeIdReport> =
        report.trades.iter().map(|trades| (trades.instrument, trades)).collect();
    let instruments = feed.instruments();
    let instruments: Vec<Value> = InstrumentIndex::enumerate(instruments.iter())
        .map(|(index, instrument)| {
            json!({
                "symbol": instrument.symbol,
                "venue_symbol": instrument.venue_symbol,
                "market_type": instrument.market_type.as_str(),
                "ended": instrument.ended.map(|end| end.as_str()),
                "orderbook": books.get(&index).map(|book| book_json(book)),
                "trade_gaps": trades.get(&index).map(|trades| trades_json(trades)),
            })
        })
        .collect();
    json!({
        "exchange": feed.exchange,
        "part": feed.part,
        "state": phase_text(&feed.phase()),
        "not_listed": *feed.not_listed(),
        "unranked": *feed.unranked(),
        "ranking_problem": feed.ranking_problem().as_deref(),
        "ranked": feed.ranked().iter().map(ranked_json).collect::<Vec<_>>(),
        "adapter": feed.adapter().id(),
        "data_types": feed.data_types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "orderbook_gaps": book_gaps_json(&report),
        "missing_trades": report.trades.iter().map(|trades| trades.missing).sum::<u64>(),
        "polls": polls_json(&report),
        "instruments": instruments,
        "connections": connections_json(feed),
    })
}

fn ranked_json(market: &RankedMarket) -> Value {
    let (symbol, market_type) = &market.key;
    json!({ "symbol": symbol, "market_type": market_type.as_str(), "rank": market.rank })
}

fn book_json(book: &BookReport) -> Value {
    let gaps: Vec<Value> = book
        .gaps
        .iter()
        .map(|gap| {
            let cause = gap.cause.as_str();
            json!({ "cause": cause, "expected": gap.expected, "got": gap.got, "at": gap.at_ns })
        })
        .collect();
    json!({
        "state": state_text(book.state),
        "epoch": book.epoch,
        "updates": book.stats.applied,
        "outdated": book.stats.outdated,
        "conflated": book.conflated,
        "short": book.short,
        "gaps": book.stats.gaps + book.stats.checksum_mismatches,
        "gaps_by_cause": causes_json(&[&book.stats]),
        "recent_gaps": gaps,
    })
}

/// Number of live books that were discarded or replaced, by cause. Until the next live state nothing was published.
fn causes_json(books: &[&BookStats]) -> Value {
    let mut causes = serde_json::Map::new();
    let mut add = |cause: &str, count: u64| {
        if count > 0 {
            causes.insert(cause.to_owned(), json!(count));
        }
    };
    let mut breaks = BookStats::default().breaks;
    for (reason, count) in books.iter().flat_map(|stats| stats.breaks) {
        breaks[reason] += count;
    }
    for (reason, count) in breaks {
        add(reason.as_str(), count);
    }
    add("replaced", books.iter().map(|stats| stats.replaced).sum());
    add("contradicted", books.iter().map(|stats| stats.refresh_mismatches).sum());
    Value::Object(causes)
}

fn book_gaps_json(report: &FeedReport) -> Value {
    let books: Vec<&BookStats> = report.books.iter().map(|book| &book.stats).collect();
    causes_json(&books)
}

fn polls_json(report: &FeedReport) -> Vec<Value> {
    let poll = |(kind, report): &(DataType, PollReport)| {
        json!({
            "data_type": kind.as_str(),
            "polls": report.polls,
            "answers": report.answers,
            "failures": report.failures,
            "never_succeeded": report.never_succeeded,
            "newest_success_at": report.newest_success_ns,
            "oldest_success_at": report.oldest_success_ns,
            "last_failure": report.last_failure,
        })
    };
    report.polls.iter().map(poll).collect()
}

fn trades_json(trades: &TradeIdReport) -> Value {
    let open: Vec<Value> = trades
        .open
        .iter()
        .map(|gap| json!({ "from": gap.from_sequence, "to": gap.to_sequence, "at": gap.to }))
        .collect();
    json!({ "gaps": trades.gaps_seen, "missing": trades.missing, "open": open })
}

fn connections_json(feed: &FeedStatus) -> Vec<Value> {
    let Some(sockets) = feed.sockets() else { return Vec::new() };
    let connections = sockets.status().into_iter().map(|connection| {
        let streams: Vec<Value> = connection
            .streams
            .iter()
            .map(|stream| {
                json!({
                    "data_type": DataType::from(stream.data_type).as_str(),
                    "instrument": stream.instrument.map(u32::from),
                    "last_frame_age_ms": stream.last_frame_age.map(|age| u64::try_from(age.as_millis()).ok()),
                    "silent": stream.silent,
                    "expected": stream.expected,
                })
            })
            .collect();
        json!({
            "name": connection.name,
            "phase": format!("{:?}", connection.phase).to_lowercase(),
            "generation": connection.generation,
            "connected_since": connection.connected_since_ns,
            "last_frame_at": connection.last_frame_at_ns,
            "frames": connection.frames,
            "reconnects": connection.reconnects,
            "last_error": connection.last_error,
            "streams": streams,
        })
    });
    connections.collect()
}

/// The matrix: every data type of every configured exchange, offered or not.
fn cells(state: &EdgeState, now_ns: i64) -> Vec<Value> {
    let (all, mut exchanges) = (state.feeds.list(), Vec::<&str>::new());
    for feed in &all {
        if !exchanges.contains(&feed.exchange.as_str()) {
            exchanges.push(&feed.exchange);
        }
    }
    let rows = state.context.coverage.rows(now_ns);
    let mut cells = Vec::new();
    for exchange in exchanges {
        let feeds: Vec<&FeedStatus> =
            all.iter().map(AsRef::as_ref).filter(|feed| feed.exchange == exchange).collect();
        for kind in DataType::ALL {
            let row = rows.iter().find(|row| row.exchange == exchange && row.data_type == *kind);
            cells.push(cell(exchange, *kind, row, &feeds));
        }
    }
    cells
}

fn cell(exchange: &str, kind: DataType, row: Option<&CoverageRow>, feeds: &[&FeedStatus]) -> Value {
    let described = |feed: &&FeedStatus| feed.adapter().venue(&feed.exchange)?.capability(kind).cloned();
    let capability = feeds.iter().find_map(described);
    let status = match (row, &capability) {
        (Some(row), _) => row.status,
        (None, Some(_)) => "not_collected",
        (None, None) => "unsupported",
    };
    let mut cell = json!({ "exchange": exchange, "data_type": kind.as_str(), "status": status });
    let Some(fields) = cell.as_object_mut() else { return cell };
    if let Some(row) = row {
        fields.insert("last_success_ts".into(), json!(row.last_success_ts()));
        fields.insert("age_seconds".into(), json!(row.age_seconds));
        fields.insert("threshold_seconds".into(), json!(stale_after(kind).as_secs()));
    }
    if let Some(capability) = capability {
        let delay_ms = feeds.iter().filter_map(|feed| feed.delay_ms(kind)).max();
        fields.insert("delivery".into(), json!(delivery(&capability)));
        fields.insert("lower_bound".into(), json!(capability.completeness == Completeness::LowerBound));
        fields.insert("delayed_seconds".into(), json!(delay_ms.map(|ms| ms / 1_000)));
        let markets = capability.market_types.iter().map(|offered| MarketType::from(*offered).as_str());
        fields.insert("market_types".into(), json!(markets.collect::<Vec<_>>()));
    }
    cell
}

const fn delivery(capability: &Capability) -> &'static str {
    match capability.delivery {
        Delivery::Push => "push",
        Delivery::Poll => "poll",
    }
}
