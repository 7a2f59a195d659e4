//! The adapters of a configuration, each loaded once, and the check of feeds against their capabilities.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use marketprism_adapter_host::contract::Venue;
use marketprism_adapter_host::{Adapter, Engine, EngineError, Limits};
use marketprism_config::Problems;
use marketprism_schema::{DataType, MarketType};
use marketprism_service::error_text;

use super::feed::{FeedConfig, allowed, wants};
use crate::limits;

/// Adds a problem of a key of the feed: value seen, values allowed.
type Report<'a> = &'a mut dyn FnMut(&str, String, String);

/// Name of the compile cache inside the data folder.
const CACHE: &str = "compiled";

/// Version that the feeds of an adapter file start with. Clones share it.
#[derive(Debug, Clone)]
pub struct CurrentAdapter(Arc<Mutex<Adapter>>);

impl From<Adapter> for CurrentAdapter {
    fn from(adapter: Adapter) -> Self {
        Self(Arc::new(Mutex::new(adapter)))
    }
}

impl CurrentAdapter {
    pub fn get(&self) -> Adapter {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True for clones of one.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub fn set(&self, adapter: Adapter) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = adapter;
    }
}

/// Every adapter that was loaded, by its file. One engine runs them all.
#[derive(Default)]
pub struct Adapters {
    engine: Option<Engine>,
    loaded: BTreeMap<PathBuf, Result<CurrentAdapter, String>>,
    /// Configured adapters in whose place others run.
    configured: BTreeMap<PathBuf, Adapter>,
    host_limit: Option<String>,
}

impl Adapters {
    /// The running version of the adapter of a file that was loaded before.
    pub fn get(&self, path: &Path) -> Option<Adapter> {
        self.current(path).map(CurrentAdapter::get)
    }

    pub fn current(&self, path: &Path) -> Option<&CurrentAdapter> {
        self.loaded.get(path)?.as_ref().ok()
    }

    /// Files that could not be loaded are tried again.
    pub fn forget_errors(&mut self) {
        self.loaded.retain(|_, loaded| loaded.is_ok());
        self.host_limit = None;
    }

    /// Forgets the adapters of other files.
    pub fn retain(&mut self, is_used: impl Fn(&Path) -> bool) {
        self.loaded.retain(|path, _| is_used(path));
    }

    /// The engine, once an adapter was loaded.
    pub const fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// Puts a version in place of the configured one.
    pub fn resume(&mut self, path: &Path, adapter: Adapter) {
        if let Some(Ok(current)) = self.loaded.get(path) {
            self.configured.entry(path.to_owned()).or_insert_with(|| current.get());
            current.set(adapter);
        }
    }

    /// Configured adapters with the versions that run in their place.
    pub fn resumed(&self) -> impl Iterator<Item = (&Adapter, Adapter)> {
        self.configured.iter().filter_map(|(path, configured)| Some((configured, self.get(path)?)))
    }

    /// Resource that the host denies every adapter: no file and no key of a configuration is at fault.
    pub fn host_limit(&self) -> Option<&str> {
        self.host_limit.as_deref()
    }

    /// Loads a file once; later calls return the same adapter or error.
    pub fn load(&mut self, path: &Path, data_dir: Option<&Path>) -> Result<Adapter, String> {
        if let Some(known) = self.loaded.get(path) {
            return known.as_ref().map(CurrentAdapter::get).map_err(Clone::clone);
        }
        let loaded = self.compile(path, data_dir);
        self.loaded.insert(path.to_owned(), loaded.clone().map(CurrentAdapter::from));
        loaded
    }

    fn compile(&mut self, path: &Path, data_dir: Option<&Path>) -> Result<Adapter, String> {
        let engine = match &self.engine {
            Some(engine) => engine.clone(),
            None => {
                let cache = data_dir.map(|dir| dir.join(CACHE));
                let engine = Engine::new(cache.as_deref())
                    .map_err(|error| self.note(matches!(error, EngineError::Host(_)), error_text(&error)))?;
                self.engine.insert(engine).clone()
            }
        };
        Adapter::load(&engine, path, &Limits::default())
            .map_err(|error| self.note(error.is_host_limit(), error_text(&error)))
    }

    fn note(&mut self, is_host_limit: bool, error: String) -> String {
        if is_host_limit {
            self.host_limit = Some(error.clone());
        }
        error
    }

    /// Reports settings of a feed that its adapter does not offer.
    pub(super) fn verify(
        &mut self,
        at: &str,
        feed: &FeedConfig,
        data_dir: &Path,
        problems: &mut Problems<'_>,
    ) {
        let mut report = |key: &str, what: String, allowed: String| {
            problems.report(&format!("{at}.{key}"), what, allowed);
        };
        let loaded = self.load(&feed.adapter, Some(data_dir));
        let adapter = match loaded {
            Ok(adapter) => adapter,
            // Told once, apart from the problems of the configuration.
            Err(error) if self.host_limit.as_ref() == Some(&error) => return,
            Err(error) => {
                let what = format!("{:?}: {error}", feed.adapter.display().to_string());
                return report("adapter", what, String::new());
            }
        };
        if feed.exchange.is_empty() {
            return;
        }
        let Some(venue) = adapter.venue(&feed.exchange) else {
            let served: Vec<&str> =
                adapter.description().venues.iter().map(|venue| venue.exchange.as_str()).collect();
            let what = format!("{:?} is not served by {}", feed.exchange, adapter.id());
            return report("exchange", what, served.join(", "));
        };
        report_data_types(&mut report, feed, venue);
        report_market_types(&mut report, feed, venue);
        report_endpoints(&mut report, feed, venue);
        report_depth(&mut report, feed, venue);
        report_ranking(&mut report, feed, venue);
    }
}

/// The data types that a venue offers.
pub fn offered(venue: &Venue) -> Vec<DataType> {
    venue.capabilities.iter().map(|capability| DataType::from(capability.data_type)).collect()
}

/// The data types that a feed may name: what the venue offers, and what the edge makes of it.
pub fn collectable(venue: &Venue) -> Vec<DataType> {
    let offered = offered(venue);
    DataType::ALL.iter().copied().filter(|kind| offered.contains(&kind.subscribed())).collect()
}

fn report_data_types(report: Report<'_>, feed: &FeedConfig, venue: &Venue) {
    let offered = collectable(venue);
    for kind in &feed.data_types {
        if !offered.contains(kind) {
            let what = format!("{:?} is unsupported: {} does not offer it", kind.as_str(), feed.exchange);
            report("data_types", what, allowed(&offered));
        } else if !venue.market_types.iter().any(|of| is_asked(feed, venue, *kind, (*of).into())) {
            let of: Vec<MarketType> =
                MarketType::ALL.iter().copied().filter(|of| venue.offers(*kind, *of)).collect();
            let what = format!(
                "{:?} is unsupported: {} does not offer it for market types {}",
                kind.as_str(),
                feed.exchange,
                asked_markets(feed)
            );
            report("data_types", what, format!("market_types {}", allowed(&of)));
        }
    }
}

/// True if the feed subscribes the data type for a market type for which the venue offers it.
fn is_asked(feed: &FeedConfig, venue: &Venue, kind: DataType, of: MarketType) -> bool {
    venue.offers(kind, of) && wants(kind, &feed.market_types, of)
}

fn asked_markets(feed: &FeedConfig) -> String {
    if feed.market_types.is_empty() {
        "other than options, which must be named".to_owned()
    } else {
        allowed(&feed.market_types)
    }
}

fn report_market_types(report: Report<'_>, feed: &FeedConfig, venue: &Venue) {
    let served: Vec<_> = venue.market_types.iter().copied().map(MarketType::from).collect();
    for kind in feed.market_types.iter().filter(|kind| !served.contains(kind)) {
        let what = format!("{:?} is not offered for {}", kind.as_str(), feed.exchange);
        report("market_types", what, allowed(&served));
    }
}

fn report_endpoints(report: Report<'_>, feed: &FeedConfig, venue: &Venue) {
    let names: Vec<&str> = venue.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    for name in feed.endpoints.keys().filter(|name| !names.contains(&name.as_str())) {
        report("endpoints", format!("{name:?} is no endpoint of {}", feed.exchange), names.join(", "));
    }
    for endpoint in &venue.endpoints {
        let Some(url) = feed.endpoints.get(&endpoint.name) else { continue };
        let schemes = if endpoint.default_url.starts_with("ws") { ["wss", "ws"] } else { ["https", "http"] };
        if let Err(error) = url.parse(&schemes) {
            let allowed = schemes.map(|scheme| format!("{scheme}://host[:port]")).join(" or ");
            report(&format!("endpoints.{}", endpoint.name), format!("{url:?}: {error}"), allowed);
        }
    }
}

fn report_depth(report: Report<'_>, feed: &FeedConfig, venue: &Venue) {
    let (depth, deepest) = (book_depth(feed.depth, venue), deepest(venue));
    let has_books = feed.data_types.iter().any(|kind| kind.subscribed() == DataType::OrderBook);
    if has_books && deepest > 0 && depth > deepest {
        report("depth", format!("is {depth}"), format!("1 to {deepest} for {}", feed.exchange));
    }
}

fn report_ranking(report: Report<'_>, feed: &FeedConfig, venue: &Venue) {
    let Some(by) = feed.top.by.filter(|by| !venue.rankings.contains(&(*by).into())) else { return };
    let what =
        format!("{:?} is unsupported: the adapter has no such ranking of {}", by.as_str(), feed.exchange);
    report("top.by", what, "no `top` for this exchange".to_owned());
}

fn deepest(venue: &Venue) -> u32 {
    venue.capability(DataType::OrderBook).map_or(0, |book| book.max_depth)
}

/// Levels a side of a venue's books: as configured, else [`limits::DEPTH_DEFAULT`] or all that the venue has.
pub fn book_depth(configured: Option<u32>, venue: &Venue) -> u32 {
    let all = Some(deepest(venue)).filter(|levels| *levels > 0).unwrap_or(limits::DEPTH_DEFAULT);
    configured.unwrap_or(limits::DEPTH_DEFAULT.min(all))
}
