//! One `[[feed]]` of the configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use marketprism_config::Section;
use marketprism_schema::{DataType, MarketType, UnknownName};

use super::adapter::Adapters;

/// What is collected from one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedConfig {
    /// Exchange id, as the adapter names it.
    pub exchange: String,
    /// The adapter's component.
    pub adapter: PathBuf,
    /// Normalized symbols; never empty.
    pub symbols: Vec<String>,
    /// Empty: every market type that the venue has for those symbols.
    pub market_types: Vec<MarketType>,
    /// Never empty.
    pub data_types: Vec<DataType>,
    /// Levels a side that are published.
    pub depth: u32,
    /// Least time between two published states of one book.
    pub publish_interval: Duration,
    /// Longest wait before a lost connection is opened again. Waits double from 250 ms, with jitter.
    pub reconnect_wait_max: Duration,
    /// Extra certificate authority for this feed's sockets and requests.
    pub ca_file: Option<PathBuf>,
    /// Replaced base addresses, by the adapter's names.
    pub endpoints: Vec<(String, String)>,
}

impl FeedConfig {
    /// Reads every feed. Problems go to the document of `root`.
    pub(super) fn read_all(root: &Section<'_>, adapters: &mut Adapters, data_dir: &Path) -> Vec<Self> {
        let sections = root.sections("feed");
        if sections.is_empty() {
            root.report("feed", "is missing", "at least one [[feed]]");
        }
        let mut feeds: Vec<Self> = Vec::with_capacity(sections.len());
        for section in &sections {
            let feed = Self::read(section);
            report_overlap(section, &feed, &feeds);
            if !feed.adapter.as_os_str().is_empty() {
                adapters.verify(section, &feed, data_dir);
            }
            feeds.push(feed);
        }
        feeds
    }

    fn read(section: &Section<'_>) -> Self {
        // Read first, so that a missing key and a missing file are told apart.
        let named = section.required_text("adapter");
        let adapter = if named.is_empty() { None } else { section.existing_file("adapter") };
        let endpoints = section.section("endpoints");
        let symbols = section.texts("symbols").unwrap_or_default();
        if symbols.is_empty() {
            section.report("symbols", "is missing or empty", "at least one symbol such as BTC-USDT");
        }
        if let Some(twice) = first_duplicate(&symbols) {
            section.report("symbols", format!("names {twice:?} twice"), "each symbol once");
        }
        let data_types: Vec<DataType> = names(section, "data_types");
        if data_types.is_empty() && section.texts("data_types").unwrap_or_default().is_empty() {
            section.report("data_types", "is missing or empty", allowed(DataType::ALL));
        }
        let depth = section.integer_or("depth", 400, 1..=5_000);
        Self {
            exchange: section.required_text("exchange"),
            adapter: adapter.unwrap_or_default(),
            symbols,
            market_types: names(section, "market_types"),
            data_types,
            depth: u32::try_from(depth).unwrap_or(u32::MAX),
            publish_interval: section.millis_or("publish_interval_ms", 100, 10..=60_000),
            reconnect_wait_max: section.millis_or("reconnect_wait_max_ms", 60_000, 250..=600_000),
            ca_file: section.existing_file("ca_file"),
            endpoints: endpoints
                .keys()
                .into_iter()
                .map(|key| {
                    let address = endpoints.required_text(&key);
                    (key, address)
                })
                .collect(),
        }
    }
}

/// Two feeds that collect the same would publish every event twice.
fn report_overlap(section: &Section<'_>, feed: &FeedConfig, earlier: &[FeedConfig]) {
    for (index, other) in earlier.iter().enumerate() {
        let market_types_meet = feed.market_types.is_empty()
            || other.market_types.is_empty()
            || feed.market_types.iter().any(|market_type| other.market_types.contains(market_type));
        let data_types_meet = feed.data_types.iter().any(|data_type| other.data_types.contains(data_type));
        let symbol = feed.symbols.iter().find(|symbol| other.symbols.contains(symbol));
        if let Some(symbol) = symbol
            && feed.exchange == other.exchange
            && market_types_meet
            && data_types_meet
        {
            let what = format!("{symbol:?} is collected by feed[{index}] already, with the same data type");
            section.report("symbols", what, "each symbol and data type of an exchange in one feed");
        }
    }
}

fn names<T: FromStr<Err = UnknownName> + PartialEq + std::fmt::Display>(
    section: &Section<'_>,
    key: &str,
) -> Vec<T> {
    let mut values = Vec::new();
    for text in section.texts(key).unwrap_or_default() {
        match text.parse::<T>() {
            Ok(value) if values.contains(&value) => {
                section.report(key, format!("names {value} twice"), "each once");
            }
            Ok(value) => values.push(value),
            Err(unknown) => section.report(key, format!("names {text:?}"), unknown.allowed),
        }
    }
    values
}

/// The names of a closed set, for messages.
pub(super) fn allowed<T: ToString>(names: &[T]) -> String {
    names.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn first_duplicate(texts: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    texts.iter().find(|text| !seen.insert(*text))
}
