//! Checks of the description: contract, consistency, and the refusal of everything that is not offered.

use marketprism_adapter_host::contract::{
    Capability, ChecksumRule, DataType, Description, Endpoint, Feed, Refusal, SequenceRule, SnapshotSource,
    Venue,
};
use marketprism_adapter_host::{Adapter, CallError, InstrumentRounds, LoadError};

use crate::market::{Market, TestedAdapter, whole_feed};
use crate::names::{DATA_TYPES, MARKET_TYPES, data_type, market_type, word};
use crate::report::{Check, Findings};

const CONTRACT: (&str, &str) = ("contract", "targets a contract of this edge and imports nothing but `log`");

/// The host refused to load the component: there is nothing more to check.
pub(crate) fn refused(error: &LoadError) -> Check {
    let mut findings = Findings::new(CONTRACT.0, CONTRACT.1);
    findings.cause(error.to_string());
    findings.done("")
}

pub(crate) fn contract(adapter: &Adapter) -> Check {
    Findings::new(CONTRACT.0, CONTRACT.1).done(format!("marketprism:adapter@{}", adapter.contract()))
}

/// `again` is the answer of another instance.
pub(crate) fn describe(adapter: &Adapter, again: &Description) -> Check {
    let mut findings = Findings::new("describe", "describes itself consistently, alike in every instance");
    let description = adapter.description();
    if description != again {
        findings.cause("describe gives another description in another instance");
    }
    let parts: Vec<&str> = description.version.split('-').next().unwrap_or_default().split('.').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.parse::<u32>().is_err()) {
        let version = &description.version;
        findings.cause(format!("version is {version:?}, allowed is a semantic version such as 1.2.3"));
    }
    for venue in &description.venues {
        sound(venue, &mut findings);
    }
    let cells: usize = description.venues.iter().map(|venue| venue.capabilities.len()).sum();
    findings.done(format!("{} exchange ids, {cells} capabilities", description.venues.len()))
}

fn sound(venue: &Venue, findings: &mut Findings) {
    let exchange = &venue.exchange;
    for (what, is_empty) in [
        ("market_types", venue.market_types.is_empty()),
        ("capabilities", venue.capabilities.is_empty()),
        ("endpoints", venue.endpoints.is_empty()),
    ] {
        if is_empty {
            findings.cause(format!("{exchange}: {what} is empty, allowed is one at least"));
        }
    }
    for (position, endpoint) in venue.endpoints.iter().enumerate() {
        let schemes = ["ws://", "wss://", "http://", "https://"];
        if !schemes.iter().any(|scheme| endpoint.default_url.starts_with(scheme)) {
            let (name, url) = (&endpoint.name, &endpoint.default_url);
            findings.cause(format!(
                "{exchange}: endpoint {name} is {url:?}, allowed is an address of a socket or REST"
            ));
        }
        if venue.endpoints.iter().take(position).any(|other| other.name == endpoint.name) {
            findings.cause(format!("{exchange}: endpoint {} is named twice", endpoint.name));
        }
    }
    for (position, capability) in venue.capabilities.iter().enumerate() {
        let name = data_type(capability.data_type);
        if venue.capabilities.iter().take(position).any(|other| other.data_type == capability.data_type) {
            findings.cause(format!("{exchange}: {name} is declared twice"));
        }
        for problem in contradictions(venue, capability) {
            findings.cause(format!("{exchange}, {name}: {problem}"));
        }
    }
}

fn contradictions(venue: &Venue, capability: &Capability) -> Vec<String> {
    let mut found = Vec::new();
    if capability.market_types.is_empty() {
        found.push("market_types is empty, allowed is one at least".to_owned());
    }
    for kind in capability.market_types.iter().filter(|kind| !venue.market_types.contains(kind)) {
        found.push(format!("market type {} is not one of the venue's", market_type(*kind)));
    }
    let is_book = capability.data_type == DataType::Orderbook;
    if is_book == (capability.snapshot == SnapshotSource::NotApplicable) {
        found.push(format!("snapshot is {}", word(&capability.snapshot)));
    }
    if is_book == (capability.max_depth == 0) {
        found.push(format!("max_depth is {}", capability.max_depth));
    }
    if !is_book && capability.sequence != SequenceRule::Unnumbered {
        found.push(format!("sequence is {}, only books have one", word(&capability.sequence)));
    }
    if !is_book && capability.checksum != ChecksumRule::Unchecked {
        found.push(format!("checksum is {}, only books have one", word(&capability.checksum)));
    }
    if capability.contiguous_trade_ids && capability.data_type != DataType::Trade {
        found.push("contiguous_trade_ids is true, only trades have them".to_owned());
    }
    if capability.backfill && !capability.contiguous_trade_ids {
        found.push("backfill is true, only contiguous trade ids show what is missing".to_owned());
    }
    found
}

/// A symbol that no venue lists.
const UNLISTED: &str = "NOSUCHCOIN-NOSUCHQUOTE";

struct WrongFeed {
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
    let known = market.instruments.first().map(|one| one.symbol.clone());
    let symbols = std::iter::once(UNLISTED.to_owned()).chain(known).collect();
    let wrong = WrongFeed {
        field: "symbols",
        value: UNLISTED.to_owned(),
        feed: Feed { symbols, ..market.feed.clone() },
    };
    let result = listed(market, &wrong.feed);
    // The edge collects the others: the value must be the symbols that are not listed, and nothing else.
    if let Err(CallError::Refused(refusal)) = &result
        && refusal.value != UNLISTED
    {
        let (symbols, value) = (&wrong.feed.symbols, &refusal.value);
        findings.cause(format!(
            "`symbols` = {symbols:?}: the refusal's value is {value:?}, expected {UNLISTED:?}"
        ));
    }
    check_refusal(result, &wrong, &mut findings);
    findings.done(format!("{} feeds", count + 1))
}

fn wrong_feeds(venue: &Venue) -> Vec<WrongFeed> {
    let good = whole_feed(venue);
    let wrong = |field, value: &str, feed| WrongFeed { field, value: value.to_owned(), feed };
    let exchange = "no_such_exchange";
    let name = "no-such-endpoint";
    let endpoint = Endpoint { name: name.to_owned(), default_url: "ws://127.0.0.1:1".to_owned() };
    let mut all = vec![
        wrong("exchange", exchange, Feed { exchange: exchange.to_owned(), ..good.clone() }),
        wrong("data_types", "", Feed { data_types: Vec::new(), ..good.clone() }),
        wrong("endpoints", name, Feed { endpoints: vec![endpoint], ..good.clone() }),
    ];
    for kind in DATA_TYPES {
        if venue.capabilities.iter().all(|capability| capability.data_type != kind) {
            let feed = Feed { data_types: vec![kind], ..good.clone() };
            all.push(wrong("data_types", data_type(kind), feed));
        }
    }
    for kind in MARKET_TYPES.into_iter().filter(|kind| !venue.market_types.contains(kind)) {
        let feed = Feed { market_types: vec![kind], ..good.clone() };
        all.push(wrong("market_types", market_type(kind), feed));
    }
    let book = venue.capabilities.iter().find(|capability| capability.data_type == DataType::Orderbook);
    for depth in book.iter().flat_map(|book| [0, book.max_depth.saturating_add(1)]) {
        all.push(wrong("depth", &depth.to_string(), Feed { depth, ..good.clone() }));
    }
    all
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
    let WrongFeed { field, value, .. } = wrong;
    let what = format!("`{field}` = {value:?}");
    match result {
        Ok(()) => findings.cause(format!("{what} is not refused")),
        Err(CallError::Fault(fault)) => findings.cause(format!("{what}: {fault}; a refusal is due")),
        Err(CallError::Refused(Refusal { field: named, value: given, allowed })) => {
            // A field of a table may be named with its key: `endpoints.ws`.
            let right =
                named == *field || named.strip_prefix(field).is_some_and(|rest| rest.starts_with('.'));
            if !right || !given.contains(value.as_str()) {
                findings.cause(format!("{what}: the refusal names `{named}` = {given:?}"));
            }
            if allowed.is_empty() {
                findings.cause(format!("{what}: the refusal does not say what is allowed"));
            }
        }
    }
}
