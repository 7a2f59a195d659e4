//! Feeds that cannot be served are refused by field.

use marketprism_adapter_host::contract::{DataType, Endpoint, Feed, Refusal, Venue};
use marketprism_adapter_host::{CallError, InstrumentRounds};

use crate::findings::Findings;
use crate::market::{Market, whole_feed};
use crate::names::{DATA_TYPES, MARKET_TYPES, data_type, market_type};
use crate::report::Check;
use crate::tested_adapter::TestedAdapter;

/// A symbol that no venue lists.
const UNLISTED: &str = "NOSUCHCOIN-NOSUCHQUOTE";

struct WrongFeed {
    what: String,
    /// The field that the refusal has to name, and what its value has to say.
    field: &'static str,
    value: String,
    feed: Feed,
}

/// Asks for what is not offered. Without a market the unlisted symbol is left out: only answers can show that it is not listed.
pub(crate) fn refusals(subject: &TestedAdapter, venue: &Venue, market: Option<&Market<'_>>) -> Check {
    let promise = "refuses what it does not offer, and names the field and the value";
    let mut findings = Findings::new("refusals", promise);
    let wrong = wrong_feeds(venue);
    let count = wrong.len();
    for wrong in wrong {
        check_refusal(first_call(subject, &wrong.feed), &wrong, &mut findings);
    }
    let Some(market) = market else {
        return findings
            .done(format!("{count} feeds; an unlisted symbol was not tried: {}", super::NO_MARKET));
    };
    let feed = Feed { symbols: vec![UNLISTED.to_owned()], ..market.feed.clone() };
    let wrong =
        WrongFeed { what: format!("symbol {UNLISTED}"), field: "symbols", value: UNLISTED.to_owned(), feed };
    check_refusal(listed(market, &wrong.feed), &wrong, &mut findings);
    findings.done(format!("{} feeds", count + 1))
}

fn wrong_feeds(venue: &Venue) -> Vec<WrongFeed> {
    let good = whole_feed(venue);
    let mut wrong = vec![WrongFeed {
        what: "exchange no_such_exchange".to_owned(),
        field: "exchange",
        value: "no_such_exchange".to_owned(),
        feed: Feed { exchange: "no_such_exchange".to_owned(), ..good.clone() },
    }];
    for kind in DATA_TYPES {
        if venue.capabilities.iter().all(|capability| capability.data_type != kind) {
            wrong.push(WrongFeed {
                what: format!("data type {}", data_type(kind)),
                field: "data_types",
                value: data_type(kind).to_owned(),
                feed: Feed { data_types: vec![kind], ..good.clone() },
            });
        }
    }
    for kind in MARKET_TYPES.into_iter().filter(|kind| !venue.market_types.contains(kind)) {
        wrong.push(WrongFeed {
            what: format!("market type {}", market_type(kind)),
            field: "market_types",
            value: market_type(kind).to_owned(),
            feed: Feed { market_types: vec![kind], ..good.clone() },
        });
    }
    wrong.push(WrongFeed {
        what: "no data type at all".to_owned(),
        field: "data_types",
        value: String::new(),
        feed: Feed { data_types: Vec::new(), ..good.clone() },
    });
    let endpoint =
        Endpoint { name: "no-such-endpoint".to_owned(), default_url: "ws://127.0.0.1:1".to_owned() };
    wrong.push(WrongFeed {
        what: "endpoint no-such-endpoint".to_owned(),
        field: "endpoints",
        value: "no-such-endpoint".to_owned(),
        feed: Feed { endpoints: vec![endpoint], ..good.clone() },
    });
    let book = venue.capabilities.iter().find(|capability| capability.data_type == DataType::Orderbook);
    for depth in book.iter().flat_map(|book| [0, book.max_depth.saturating_add(1)]) {
        wrong.push(WrongFeed {
            what: format!("depth {depth}"),
            field: "depth",
            value: depth.to_string(),
            feed: Feed { depth, ..good.clone() },
        });
    }
    wrong
}

/// The first call that sees a feed.
fn first_call(subject: &TestedAdapter, feed: &Feed) -> Result<(), CallError> {
    let mut instance = subject.instance()?;
    instance.instrument_requests(feed, &[]).map(drop)
}

/// The calls up to the instruments, with the answers that the whole feed had.
fn listed(market: &Market<'_>, feed: &Feed) -> Result<(), CallError> {
    let mut instance = market.subject.instance()?;
    InstrumentRounds::new(&market.subject.limits).next(&mut instance, feed)?;
    instance.instruments(feed, &market.answers).map(drop)
}

fn check_refusal(result: Result<(), CallError>, wrong: &WrongFeed, findings: &mut Findings) {
    let WrongFeed { what, field, value, .. } = wrong;
    match result {
        Ok(()) => findings.cause(format!("{what} is not refused, a refusal of `{field}` is due")),
        Err(CallError::Fault(fault)) => findings.cause(format!("{what}: {fault}; a refusal is due")),
        Err(CallError::Refused(Refusal { field: named, value: given, allowed })) => {
            // A field of a table may be named with its key: `endpoints.ws`.
            let right =
                named == *field || named.strip_prefix(field).is_some_and(|rest| rest.starts_with('.'));
            if !right || !given.contains(value.as_str()) {
                findings.cause(format!(
                    "{what}: the refusal names `{named}` = {given:?}, it has to name `{field}` = {value:?}"
                ));
            }
            if allowed.is_empty() {
                findings.cause(format!("{what}: the refusal does not say what is allowed"));
            }
        }
    }
}
