//! Closed sets of names: each value has one spelling in payloads, subjects, tables and configuration.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use enum_map::{Enum, EnumMap};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde_json::value::RawValue;

/// A name outside its closed set. Carries the field, the value and what was allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not one of {allowed}")]
pub struct UnknownName {
    /// Key in the message or column that held it.
    pub field: &'static str,
    /// The name that was given.
    pub value: String,
    /// The names that are known, separated by commas.
    pub allowed: String,
}

/// Longest noted value: it goes into logs, and may be as long as the message.
const NOTED_CHARS_MAX: usize = 64;

#[derive(Debug)]
struct NotedName {
    name: UnknownName,
    /// It was read as its fallback, or its entry was left out: no reason for a failure of what is around it.
    is_dealt_with: bool,
}

thread_local! {
    /// Names that the reading of a message met outside their sets; `None` outside [`with_unknown_names`].
    static UNKNOWN: RefCell<Option<Vec<NotedName>>> = const { RefCell::new(None) };
}

/// Reads a message of an edge, whose version may be newer, and lists the names in it that this version does not know. A message is read without them: a value
/// of a set with a fallback becomes that, and an entry of a list that is nothing without its name is left out. Long values are cut.
pub fn with_unknown_names<T>(read: impl FnOnce() -> T) -> (T, Vec<UnknownName>) {
    let (value, noted) = noting(read);
    (value, noted.into_iter().map(|noted| noted.name).collect())
}

fn noting<T>(read: impl FnOnce() -> T) -> (T, Vec<NotedName>) {
    let outer = UNKNOWN.replace(Some(Vec::new()));
    let value = read();
    (value, UNKNOWN.replace(outer).unwrap_or_default())
}

pub(crate) fn note_unknown(unknown: &UnknownName) {
    let UnknownName { field, value, allowed } = unknown;
    UNKNOWN.with_borrow_mut(|names| {
        let Some(names) = names else { return };
        let cut = value.char_indices().nth(NOTED_CHARS_MAX).and_then(|(end, _)| value.get(..end));
        let value = cut.map_or_else(|| value.clone(), |cut| format!("{cut}..."));
        let name = UnknownName { field, value, allowed: allowed.clone() };
        names.push(NotedName { name, is_dealt_with: false });
    });
}

/// The newest unknown name was read as its fallback.
fn fallback_taken() {
    UNKNOWN.with_borrow_mut(|names| {
        if let Some(noted) = names.as_mut().and_then(|names| names.last_mut()) {
            noted.is_dealt_with = true;
        }
    });
}

/// One entry of a list. `None`: it has an unknown name, and cannot be read without it.
pub(crate) fn known_entry<T, E>(read: impl FnOnce() -> Result<T, E>) -> Option<Result<T, E>> {
    let (entry, noted) = noting(read);
    let is_left_out = entry.is_err() && noted.iter().any(|noted| !noted.is_dealt_with);
    let dealt_with = noted.into_iter().map(|noted| NotedName { is_dealt_with: true, ..noted });
    UNKNOWN.with_borrow_mut(|names| {
        if let Some(names) = names {
            names.extend(dealt_with);
        }
    });
    if is_left_out { None } else { Some(entry) }
}

/// Lists, for serde, without entries of which [`known_entry`] knows nothing.
pub(crate) fn known_entries<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    let entries = Vec::<Box<RawValue>>::deserialize(from)?;
    let known = entries.iter().filter_map(|entry| known_entry(|| serde_json::from_str(entry.get())));
    known.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// Reads a name; `fallback` stands for unknown ones.
pub(crate) fn read_name<'de, T, D>(from: D, fallback: Option<T>) -> Result<T, D::Error>
where
    T: FromStr<Err = UnknownName>,
    D: Deserializer<'de>,
{
    struct NameVisitor<T>(Option<T>);

    impl<T: FromStr<Err = UnknownName>> Visitor<'_> for NameVisitor<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a name")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<T, E> {
            name.parse().or_else(|unknown| {
                let fallback = self.0.ok_or_else(|| E::custom(unknown))?;
                fallback_taken();
                Ok(fallback)
            })
        }
    }

    from.deserialize_str(NameVisitor(fallback))
}

/// A closed set. With `unknown = Item`, messages of newer versions are read with that item for every name that this version does not know.
macro_rules! names {
    (@fallback $type:ident) => { None };
    (@fallback $type:ident $unknown:ident) => { Some($type::$unknown) };
    ($(#[$doc:meta])* $type:ident, $field:literal $(, unknown = $unknown:ident)?, { $($(#[$item_doc:meta])* $item:ident = $name:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        pub enum $type { $($(#[$item_doc])* #[serde(rename = $name)] $item),+ }

        impl $type {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$item),+];

            /// The name in payloads, subjects, tables and configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$item => $name),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::UnknownName;

            fn from_str(value: &str) -> Result<Self, $crate::UnknownName> {
                match value {
                    $($name => Ok(Self::$item),)+
                    _ => {
                        let allowed = [$($name),+].join(", ");
                        let unknown = $crate::UnknownName { field: $field, value: value.to_owned(), allowed };
                        $crate::names::note_unknown(&unknown);
                        Err(unknown)
                    }
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::names::read_name(from, $crate::names::names!(@fallback $type $($unknown)?))
            }
        }
    };
}
pub(crate) use names;

/// One value per data type; `map[DataType::Trade]` is always there.
pub type DataTypeMap<T> = EnumMap<DataType, T>;

names! {
    /// The kinds of market data.
    #[derive(Enum)]
    DataType, "data_type", {
        /// One match, or an aggregate of matches where the venue publishes only that.
        Trade = "trade",
        /// A snapshot of the best levels of one order book.
        OrderBook = "orderbook",
        /// The rate that longs pay shorts.
        FundingRate = "funding_rate",
        /// Contracts that are open.
        OpenInterest = "open_interest",
        /// A forced order.
        Liquidation = "liquidation",
        /// Long and short shares of the positions of top traders.
        LsrTopPosition = "lsr_top_position",
        /// Long and short shares of all accounts.
        LsrAllAccount = "lsr_all_account",
        /// Expected volatility, annualized, in percent points.
        VolatilityIndex = "volatility_index",
        /// One change of one order book, or the state that later changes start from. Made by the edge from order-book updates.
        OrderBookDelta = "orderbook_delta",
        /// Best bid and ask of one order book after one of them changed. Made by the edge from order-book updates.
        Quote = "quote",
    }
}

impl DataType {
    /// The data type that an adapter subscribes for this one: the edge makes order-book deltas and quotes from a venue's books.
    pub const fn subscribed(self) -> Self {
        match self {
            Self::OrderBookDelta | Self::Quote => Self::OrderBook,
            other => other,
        }
    }

    /// Edges make such events themselves, from those of another type.
    pub fn is_made(self) -> bool {
        self.subscribed() != self
    }

    /// Events of such a type arrive continuously.
    pub const fn is_frequent(self) -> bool {
        matches!(self, Self::Trade | Self::OrderBook | Self::OrderBookDelta | Self::Quote)
    }
}

/// Age of the newest event above which a data type counts as stale in every coverage table.
pub const fn stale_after(data_type: DataType) -> Duration {
    match data_type {
        DataType::Trade | DataType::OrderBookDelta => Duration::from_secs(60),
        // The longest interval of published states, and a minute. The best levels of quiet books may stay as long.
        DataType::OrderBook | DataType::Quote => Duration::from_secs(180),
        DataType::Liquidation => Duration::from_secs(3_600),
        _ => Duration::from_secs(8 * 3_600),
    }
}

names! {
    /// Where an edge got an event from.
    #[derive(Default)]
    DataSource, "data_source", {
        /// A subscription, or a request on a schedule.
        #[default]
        Live = "live",
        /// The venue's history of trades, to fill a gap.
        Backfill = "backfill",
    }
}

names! {
    /// Kind of instrument.
    MarketType, "market_type", {
        /// Immediate exchange of the two assets.
        Spot = "spot",
        /// A future without an expiry.
        Perpetual = "perpetual",
        /// A future with an expiry.
        Futures = "futures",
        /// Options on an underlying asset.
        Options = "options",
    }
}

names! {
    /// Side of an order: the taker's in a trade, the forced order's in a liquidation.
    Side, "side", {
        /// The order buys the base asset.
        Buy = "buy",
        /// The order sells the base asset.
        Sell = "sell",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AdapterState, AuditPayload, ChangeKind, ChangeOutcome, Completeness, DowntimeReason, EdgeHeartbeat,
        EdgeRunState, FeedRunState, FollowState, GapCause, GapKind, Numbering, RepairAnswer, RepairState,
        decode_audit_payload,
    };

    /// The payload, and the fields and values that are unknown in it.
    fn audit(text: &str) -> (AuditPayload, Vec<(&'static str, String)>) {
        let (read, unknown) = with_unknown_names(|| decode_audit_payload(text.as_bytes()));
        (read.unwrap(), unknown.into_iter().map(|unknown| (unknown.field, unknown.value)).collect())
    }

    fn named<const N: usize>(unknown: [(&'static str, &str); N]) -> Vec<(&'static str, String)> {
        unknown.map(|(field, value)| (field, value.to_owned())).into()
    }

    const STREAM: &str = r#"{"data_type":"trade","exchange":"x","market_type":"spot","symbol":"A-B","capability":{"numbering":"by_one","completeness":"complete"},"stored":{"count":0,"xor":"0000000000000000","sum":"0000000000000000"},"gaps":[{"kind":"start","cause":"ours","from":60000000000,"to":61000000000,"evidence":"e"}]}"#;

    fn window(streams: &[&str], silent: &str, latencies: &str) -> String {
        let streams = streams.join(",");
        format!(
            r#"{{"version":1,"edge":"e1","region":"r","run":1,"window_start":60000000000,"window_seconds":60,"from":60000000000,"to":120000000000,"part":1,"parts":1,"streams":[{streams}],"silent":[{silent}],"feeds":[],"health":{{"latencies":[{latencies}]}}}}"#
        )
    }

    #[test]
    fn an_audit_is_read_without_the_names_that_only_a_newer_edge_knows() {
        let hop = r#"{"exchange":"x","data_type":"trade","hop":"publish_to_ack","counts":[1]}"#;
        let newer_hop = hop.replace("publish_to_ack", "ack_to_moon");
        let newer_type = hop.replace("trade", "rumour");
        let newer_gap = STREAM.replace("\"start\"", "\"eclipse\"").replace("\"ours\"", "\"moon\"");
        let newer_stream = STREAM.replace("\"trade\"", "\"rumour\"");
        let newer_capability = STREAM.replace("by_one", "by_two").replace("complete\"", "half\"");
        let silent = r#"{"capability":{"numbering":"linked","completeness":"complete"},"streams":["rumour.x.spot.A-B","trade.x.spot.C-D"]}"#;
        let text = window(
            &[STREAM, &newer_gap, &newer_stream, &newer_capability],
            silent,
            &format!("{newer_hop},{newer_type},{hop}"),
        );
        let (AuditPayload::Audit(read), unknown) = audit(&text) else { panic!("{text}") };
        let gaps: Vec<_> =
            read.streams.iter().map(|stream| (stream.gaps[0].kind, stream.gaps[0].cause)).collect();
        let known = (GapKind::Start, GapCause::Ours);
        assert_eq!(
            gaps,
            [known, (GapKind::Unknown, GapCause::Unknown), known],
            "a stream without a data type is nothing"
        );
        let claims_least = read.streams[2].capability;
        assert_eq!(
            (claims_least.numbering, claims_least.completeness),
            (Numbering::Unnumbered, Completeness::LowerBound)
        );
        assert_eq!(read.silent[0].streams.len(), 1);
        assert_eq!(read.health.latencies.len(), 1);
        let expected = [
            ("kind", "eclipse"),
            ("cause", "moon"),
            ("data_type", "rumour"),
            ("numbering", "by_two"),
            ("completeness", "half"),
            ("data_type", "rumour"),
            ("hop", "ack_to_moon"),
            ("data_type", "rumour"),
        ];
        assert_eq!(unknown, named(expected));
        let wrong = text.replace("\"counts\":[1]", "\"counts\":[-1]");
        assert!(
            decode_audit_payload(wrong.as_bytes()).is_err(),
            "a known entry that is wrong is no unknown one"
        );
    }

    #[test]
    fn an_unknown_name_that_was_dealt_with_excuses_no_other_fault_of_its_entry() {
        let read = |streams: &[&str]| decode_audit_payload(window(streams, "", "").as_bytes());
        let newer_gap = STREAM.replace("\"start\"", "\"eclipse\"");
        let wrong = |text: &str| text.replace("\"evidence\":\"e\"", "\"evidence\":5");
        assert!(read(&[&newer_gap]).is_ok());
        assert!(read(&[&wrong(&newer_gap)]).is_err(), "its kind has a fallback");
        assert!(read(&[STREAM, &wrong(STREAM)]).is_err());
    }

    #[test]
    fn a_long_value_is_noted_cut() {
        let long = "\u{fc}".repeat(10_000);
        let (read, unknown) = with_unknown_names(|| long.parse::<DataType>());
        assert_eq!(unknown[0].value, "\u{fc}".repeat(NOTED_CHARS_MAX) + "...");
        assert_eq!(read.unwrap_err().value, long);
    }

    #[test]
    fn the_other_messages_of_a_newer_edge_are_read_too() {
        let text = r#"{"downtime":1,"edge":"e1","region":"r","from":5,"reason":"eclipse","streams":["rumour.x.spot.A-B","trade.x.spot.A-B"]}"#;
        let (AuditPayload::Downtime(read), unknown) = audit(text) else { panic!("{text}") };
        assert_eq!((read.reason, read.streams.len()), (DowntimeReason::Killed, 1), "it excuses nothing");
        assert_eq!(unknown, named([("reason", "eclipse"), ("data_type", "rumour")]));

        let text = r#"{"changes":1,"edge":"e1","region":"r","changed":[{"id":"a","at":5,"kind":"moon","subject":"s","why":"w","from":"","to":"t","outcome":"eclipsed"}]}"#;
        let (AuditPayload::Changes(read), unknown) = audit(text) else { panic!("{text}") };
        let [change] = &read.changed[..] else { panic!("{text}") };
        assert_eq!(
            (change.kind, change.outcome, change.to.as_str()),
            (ChangeKind::Unknown, ChangeOutcome::Unknown, "t")
        );
        assert_eq!(unknown, named([("kind", "moon"), ("outcome", "eclipsed")]));

        let terms = |market: &str| {
            format!(
                r#"{{"symbol":"A-B","venue_symbol":"AB","market_type":"{market}","base":"A","quote":"B","price_scale":1,"quantity_scale":1,"trading":true}}"#
            )
        };
        let text = format!(
            r#"{{"instruments":1,"edge":"e1","exchange":"x","at":5,"listed":[{},{}]}}"#,
            terms("moon"),
            terms("spot")
        );
        let (AuditPayload::Instruments(read), unknown) = audit(&text) else { panic!("{text}") };
        assert_eq!((read.listed.len(), unknown), (1, named([("market_type", "moon")])));

        let text = r#"{"version":1,"request_id":"r","state":"borrowed","resent":2}"#;
        let answer = RepairAnswer::decode(text.as_bytes()).unwrap();
        assert_eq!(answer.state, RepairState::Partly, "not all of it");
    }

    #[test]
    fn a_heartbeat_of_a_newer_edge_is_read_with_keys_and_names_that_are_new() {
        let text = r#"{"version":1,"edge":"e1","region":"r","program_version":"9","host":"h","started":5,"state":"dreaming","moon":1,"status":"healthy","adapters":[{"adapter":"a","version":"1","digest":"d","state":"eclipsed","exchanges":[]}],"followed":[{"adapter":"a","wish":"w","digest":"d","state":"eclipsed","moon":1}],"feeds":[{"exchange":"x","state":"dreaming","instruments":1,"streams":1}],"data_dir":"/d","disk":{"free_bytes":1,"total_bytes":2,"moon":3}}"#;
        let (read, unknown) = with_unknown_names(|| EdgeHeartbeat::of_key("e1", text.as_bytes()));
        let read = read.unwrap();
        let states = (read.state, read.adapters[0].state, read.followed[0].state, read.feeds[0].state);
        let expected =
            (EdgeRunState::Running, AdapterState::Unknown, FollowState::Unknown, FeedRunState::Unknown);
        assert_eq!(states, expected);
        assert_eq!(unknown.len(), 4);
        assert!(with_unknown_names(|| ()).1.is_empty(), "each message has its own");
    }
}
