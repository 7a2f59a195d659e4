//! The venue's instrument lists, and the instruments of a feed in them. A symbol that is not listed costs only itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use bytes::Bytes;
use marketprism_adapter_host::contract::{
    self, Answer, Endpoint, Feed, Instrument, Plan, Ranked, Request, Venue,
};
use marketprism_adapter_host::{Adapter, CallError, InstrumentRounds, Limits, Sandbox, Stats};
use marketprism_config::MaskedUrl;
use marketprism_schema::MarketType;
use marketprism_service::{clock, mask};
use marketprism_socket::{Budgets, SocketOptions, http_client};
use tokio::task::block_in_place;

use super::observer::FrameObserver;
use super::parts::InstrumentKey;
use super::ranking::FeedRanking;
use super::selection::select;
use crate::config::{CurrentAdapter, FeedConfig, SymbolSelection, TopMarkets, book_depth};

/// Reads a venue's lists for one feed.
#[derive(Debug, Clone)]
pub struct ListingReader {
    adapter: CurrentAdapter,
    limits: Arc<Limits>,
    budgets: Budgets,
    options: SocketOptions,
    /// Without symbols.
    feed: Feed,
    selection: SymbolSelection,
}

/// The reader of each feed, by exchange.
#[derive(Debug, Default)]
pub struct ListingReaders(Mutex<BTreeMap<String, ListingReader>>);

impl ListingReaders {
    pub fn set(&self, exchange: &str, reader: &ListingReader) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        readers.insert(exchange.to_owned(), reader.clone());
    }

    pub fn get(&self, exchange: &str) -> Option<ListingReader> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(exchange).cloned()
    }
}

/// The instruments of a feed that the venue lists at the moment.
#[derive(Debug, Clone, Default)]
pub struct FeedListing {
    /// Time before the first request for it.
    pub asked_ns: i64,
    pub instruments: Vec<Instrument>,
    /// Names that the venue does not list, and patterns without a match.
    pub not_listed: Vec<String>,
    /// Listed symbols that are similar to those.
    pub hint: String,
    /// `None`: the selection has no `top`.
    pub ranking: Option<FeedRanking>,
    /// Why the ranking cannot be read: only named and collected instruments are listed then.
    pub ranking_problem: Option<String>,
}

impl FeedListing {
    /// Listed and selected by a pattern, but not among the first of the ranking. `None`: the ranking cannot be read.
    pub fn outranked(&self) -> Option<&BTreeSet<InstrumentKey>> {
        static NONE: BTreeSet<InstrumentKey> = BTreeSet::new();
        let outranked = self.ranking.as_ref().map_or(&NONE, |ranking| &ranking.outranked);
        self.ranking_problem.is_none().then_some(outranked)
    }
}

impl ListingReader {
    pub fn new(
        adapter: &CurrentAdapter,
        limits: Limits,
        budgets: Budgets,
        options: SocketOptions,
        config: &FeedConfig,
    ) -> anyhow::Result<Self> {
        let loaded = adapter.get();
        let venue = loaded.venue(&config.exchange).context("the adapter does not serve the exchange")?;
        Ok(Self {
            adapter: adapter.clone(),
            limits: Arc::new(limits),
            budgets,
            options,
            feed: contract_feed(config, venue),
            selection: config.selection(),
        })
    }

    pub const fn selection(&self) -> &SymbolSelection {
        &self.selection
    }

    /// Reader of this feed by another version.
    pub fn with_adapter(&self, adapter: Adapter) -> Self {
        Self { adapter: adapter.into(), ..self.clone() }
    }

    /// Reader of these instruments alone.
    pub fn of_instruments(&self, instruments: &[Instrument]) -> Self {
        let symbols: BTreeSet<String> = instruments.iter().map(|one| one.symbol.clone()).collect();
        let symbols: Vec<String> = symbols.into_iter().collect();
        Self { selection: SymbolSelection::new(&symbols, &[]), ..self.clone() }
    }

    /// The feed as the adapter contract has it, with these instruments.
    pub fn feed(&self, instruments: &[Instrument]) -> Feed {
        let symbols: BTreeSet<&String> = instruments.iter().map(|instrument| &instrument.symbol).collect();
        Feed { symbols: symbols.into_iter().cloned().collect(), ..self.feed.clone() }
    }

    /// Instruments of the selection, and of the symbols that are `collected`: those are selected for as long as they are listed, also
    /// while they do not trade.
    pub async fn read(
        &self,
        collected: &BTreeSet<InstrumentKey>,
        observer: Option<&dyn FrameObserver>,
    ) -> anyhow::Result<FeedListing> {
        let asked_ns = clock::now_ns();
        let mut sandbox = Sandbox::new(&self.adapter.get(), &self.limits, &Arc::new(Stats::default()))?;
        let mut feed = self.feed.clone();
        if self.selection.patterns().is_empty() {
            let collected = collected.iter().map(|(symbol, _)| symbol);
            feed.symbols = self.selection.names().iter().chain(collected).cloned().collect();
        }
        let next = |rounds: &mut InstrumentRounds, sandbox: &mut Sandbox| rounds.next(sandbox, &feed);
        let answers = self.answers("instrument list", &mut sandbox, next, observer).await?;
        let rows = match self.selection.top() {
            Some(top) => self.ranking(&mut sandbox, top).await,
            None => Ok(Vec::new()),
        };
        if rows.is_err() {
            // An instance that has faulted is called no more.
            sandbox = Sandbox::new(&self.adapter.get(), &self.limits, &Arc::new(Stats::default()))?;
        }
        // Calls into an adapter may compute for seconds.
        block_in_place(|| {
            let mut list = |symbols: &[String]| {
                let feed = Feed { symbols: symbols.to_vec(), ..self.feed.clone() };
                sandbox.instruments(&feed, &answers)
            };
            let listing = select(&self.selection, collected, rows, &mut list)?;
            let listing = FeedListing { asked_ns, ..listing };
            check_unique(&listing.instruments)?;
            Ok(listing)
        })
    }

    async fn ranking(&self, sandbox: &mut Sandbox, top: TopMarkets) -> anyhow::Result<Vec<Ranked>> {
        let by = top.by.into();
        let next = |rounds: &mut InstrumentRounds, sandbox: &mut Sandbox| {
            rounds.next_of_ranking(sandbox, &self.feed, by)
        };
        let answers = self.answers("ranking", sandbox, next, None).await?;
        Ok(block_in_place(|| sandbox.ranking(&self.feed, by, &answers))?)
    }

    async fn answers(
        &self,
        what: &str,
        sandbox: &mut Sandbox,
        next: impl Fn(&mut InstrumentRounds, &mut Sandbox) -> Result<Vec<Request>, CallError>,
        observer: Option<&dyn FrameObserver>,
    ) -> anyhow::Result<Vec<Answer>> {
        let client = http_client(&self.options)?;
        let mut rounds = InstrumentRounds::new(&self.limits);
        loop {
            let requests = block_in_place(|| next(&mut rounds, sandbox))?;
            if requests.is_empty() {
                return Ok(rounds.into_answers());
            }
            for (position, request) in requests.iter().enumerate() {
                let fetched = client.fetch(&self.budgets, request).await;
                let body: Bytes = fetched.with_context(|| format!("{what} {}", mask(&request.url)))?;
                if let Some(observer) = observer {
                    observer.answer(&request.url, &body, clock::now_ns());
                }
                rounds.answer(position, body.into())?;
            }
        }
    }

    /// The plan of these instruments: the adapter refuses more than the venue allows.
    pub fn plan(&self, instruments: &[Instrument]) -> anyhow::Result<Plan> {
        block_in_place(|| {
            let mut sandbox = Sandbox::new(&self.adapter.get(), &self.limits, &Arc::new(Stats::default()))?;
            sandbox.load(&self.feed(instruments), instruments)?;
            Ok(sandbox.plan()?)
        })
    }
}

fn contract_feed(config: &FeedConfig, venue: &Venue) -> Feed {
    let endpoint = |(name, url): (&String, &MaskedUrl)| Endpoint {
        name: name.clone(),
        default_url: url.reveal().to_owned(),
    };
    Feed {
        exchange: config.exchange.clone(),
        symbols: Vec::new(),
        market_types: config.market_types.iter().copied().map(Into::into).collect(),
        data_types: contract::DataType::subscribed(&config.data_types),
        depth: book_depth(config.depth, venue),
        endpoints: config.endpoints.iter().map(endpoint).collect(),
    }
}

/// Every instrument of an adapter's list, each of them once.
pub fn listed_instruments(
    adapter: &mut Sandbox,
    feed: &Feed,
    answers: &[Answer],
) -> anyhow::Result<Vec<Instrument>> {
    let instruments = adapter.instruments(feed, answers)?;
    if instruments.is_empty() {
        bail!("the venue lists no instrument of {} that trades", feed.exchange);
    }
    check_unique(&instruments)?;
    Ok(instruments)
}

fn check_unique(instruments: &[Instrument]) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for instrument in instruments {
        if !seen.insert((instrument.venue_symbol.as_str(), MarketType::from(instrument.market_type))) {
            bail!("the adapter lists instrument {:?} twice", instrument.venue_symbol);
        }
    }
    Ok(())
}
