//! Stream names, which route carries them, and the addresses that open a socket.

use std::sync::Arc;

use super::venue::Flavor;
use crate::ledger::TradeKind;
use crate::market::Instrument;
use crate::venue::{Listed, Opening};

/// Kinds of streams of spot, in the order of [`Listed::streams`].
const SPOT: [&str; 5] = ["@trade", "@aggTrade", "@depth@100ms", "@depth", "@bookTicker"];
/// Kinds of streams of USD-M, in the order of [`Listed::streams`].
const USD_M: [&str; 10] = [
    "@aggTrade",
    "@bookTicker",
    "@depth@100ms",
    "@depth@0ms",
    "@depth",
    "@depth@250ms",
    "@depth@500ms",
    "@markPrice@1s",
    "@markPrice",
    "@forceOrder",
];

pub(super) fn names(flavor: Flavor, instrument: &Instrument) -> Vec<Arc<str>> {
    let kinds: &[&str] = match flavor {
        Flavor::Spot => &SPOT,
        Flavor::UsdM => &USD_M,
    };
    let symbol = instrument.symbol.to_lowercase();
    kinds.iter().map(|kind| Arc::from(format!("{symbol}{kind}"))).collect()
}

/// Forced orders of all instruments, those of the coin-margined sister venue among them.
pub(super) const ALL_LIQUIDATIONS: &str = "!forceOrder@arr";

pub(super) fn trades(flavor: Flavor, listed: &Listed, kind: TradeKind) -> &[Arc<str>] {
    let range = match (flavor, kind) {
        (Flavor::Spot, TradeKind::Trade) | (Flavor::UsdM, TradeKind::Aggregate) => 0..1,
        (Flavor::Spot, TradeKind::Aggregate) => 1..2,
        // Raw trades of the futures venue are undocumented; the documented routes are silent.
        (Flavor::UsdM, TradeKind::Trade) => 0..0,
    };
    listed.streams.get(range).unwrap_or_default()
}

/// Streams that carry book updates of a cadence.
pub(super) fn depth(flavor: Flavor, listed: &Listed, cadence: usize) -> &[Arc<str>] {
    let range = match (flavor, cadence) {
        (Flavor::Spot, 0) => 2..3,
        (Flavor::Spot, _) => 3..4,
        (Flavor::UsdM, 0) => 2..4,
        (Flavor::UsdM, 1) => 4..6,
        (Flavor::UsdM, _) => 6..7,
    };
    listed.streams.get(range).unwrap_or_default()
}

pub(super) fn ticker(flavor: Flavor, listed: &Listed) -> Option<&Arc<str>> {
    listed.streams.get(match flavor {
        Flavor::Spot => 4,
        Flavor::UsdM => 1,
    })
}

/// The stream of the mark price with this number among [`crate::market::Topic::Mark`].
pub(super) fn mark(listed: &Listed, number: usize) -> Option<&Arc<str>> {
    listed.streams.get(7 + number)
}

pub(super) fn liquidation(listed: &Listed) -> Option<&Arc<str>> {
    listed.streams.get(9)
}

/// Public data and market data have routes of their own; the old bare path and the wrong route stay silent.
pub(super) fn carries(flavor: Flavor, route: &str, stream: &str) -> bool {
    let kind = stream.split_once('@').map_or("", |(_, kind)| kind);
    match (flavor, route) {
        (Flavor::Spot, _) => true,
        (Flavor::UsdM, "public") => kind.starts_with("depth") || kind == "bookTicker",
        (Flavor::UsdM, "market") => !(kind.starts_with("depth") || kind == "bookTicker"),
        (Flavor::UsdM, _) => false,
    }
}

pub(super) fn open(flavor: Flavor, path: &str, query: &str) -> Option<Opening> {
    let (route, rest) = match (flavor, path) {
        (Flavor::UsdM, p) if p.starts_with("/public/") => ("public", p.strip_prefix("/public")?),
        (Flavor::UsdM, p) if p.starts_with("/market/") => ("market", p.strip_prefix("/market")?),
        _ => ("bare", path),
    };
    if rest.trim_end_matches('/') == "/stream" {
        let named = query.split('&').find_map(|pair| pair.strip_prefix("streams=")).unwrap_or("");
        let named = named.replace("%40", "@").replace("%2F", "/").replace("%2f", "/");
        return Some(Opening { route, combined: true, streams: split(&named) });
    }
    let named = rest.strip_prefix("/ws")?;
    if !named.is_empty() && !named.starts_with('/') {
        return None;
    }
    Some(Opening { route, combined: false, streams: split(named) })
}

fn split(names: &str) -> Vec<String> {
    names.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: every address form of the venue opens what it should.
    #[test]
    fn addresses_open_what_they_name() {
        let open = |flavor, path, query| open(flavor, path, query).map(|o| (o.route, o.combined, o.streams));
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(open(Flavor::Spot, "/ws", ""), Some(("bare", false, vec![])));
        assert_eq!(open(Flavor::Spot, "/ws/a@trade", ""), Some(("bare", false, names(&["a@trade"]))));
        assert_eq!(
            open(Flavor::Spot, "/stream", "streams=a@trade/b@depth@100ms"),
            Some(("bare", true, names(&["a@trade", "b@depth@100ms"])))
        );
        assert_eq!(open(Flavor::UsdM, "/public/stream", ""), Some(("public", true, vec![])));
        assert_eq!(
            open(Flavor::UsdM, "/market/ws/a@aggTrade", ""),
            Some(("market", false, names(&["a@aggTrade"])))
        );
        assert_eq!(open(Flavor::Spot, "/public/ws", ""), None);
        assert_eq!(open(Flavor::Spot, "/api/v3/time", ""), None);
        assert!(carries(Flavor::UsdM, "public", "btcusdt@depth@100ms"));
        assert!(!carries(Flavor::UsdM, "public", "btcusdt@aggTrade"));
        assert!(carries(Flavor::UsdM, "market", "btcusdt@aggTrade"));
        assert!(!carries(Flavor::UsdM, "bare", "btcusdt@aggTrade"));
    }
}
