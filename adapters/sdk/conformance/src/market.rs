//! The component under test, and one of its exchanges with the instruments of some answers.

use std::fmt;
use std::sync::Arc;

use marketprism_adapter_host::contract::{Answer, Feed, Instrument, Plan, RankingKey, TradeRange, Venue};
use marketprism_adapter_host::{Adapter, Fault, InstrumentRounds, Limits, Sandbox, Stats};
use marketprism_adapter_sdk::testkit;
use marketprism_adapter_sdk::testkit::{OwnedFrame, RecordedMessage, is_answer, is_part};

use crate::convert::ToSdk;
use crate::names;

/// A compiled adapter with the limits that an edge runs it under.
pub(crate) struct TestedAdapter {
    pub(crate) adapter: Adapter,
    pub(crate) limits: Arc<Limits>,
    pub(crate) stats: Arc<Stats>,
}

impl TestedAdapter {
    pub(crate) fn new(adapter: Adapter, limits: Limits) -> Self {
        TestedAdapter { adapter, limits: Arc::new(limits), stats: Arc::new(Stats::default()) }
    }

    /// Calls that the host denied a resource.
    pub(crate) fn host_limits(&self) -> u64 {
        self.stats.snapshot().host_limits
    }

    pub(crate) fn instance(&self) -> Result<Sandbox, Fault> {
        Sandbox::new(&self.adapter, &self.limits, &self.stats)
    }
}

#[derive(Debug)]
pub(crate) enum MarketError {
    /// The records are not about this exchange: they hold no answer to its instrument requests.
    NoAnswers(String),
    Failed(String),
}

impl fmt::Display for MarketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MarketError::NoAnswers(text) | MarketError::Failed(text) => f.write_str(text),
        }
    }
}

/// A feed with the instruments and the plan that the adapter makes of it.
pub(crate) struct Market<'a> {
    pub(crate) subject: &'a TestedAdapter,
    pub(crate) venue: &'a Venue,
    pub(crate) feed: Feed,
    pub(crate) answers: Vec<Answer>,
    pub(crate) instruments: Vec<Instrument>,
    pub(crate) plan: Plan,
    /// Rankings all of whose requests the records answer.
    pub(crate) rankings: Vec<(RankingKey, Vec<Answer>)>,
}

/// A feed of everything that is declared for a venue, options included, as for golden output.
pub(crate) fn whole_feed(venue: &Venue) -> Feed {
    Feed {
        exchange: venue.exchange.clone(),
        symbols: Vec::new(),
        market_types: venue.market_types.clone(),
        data_types: venue.capabilities.iter().map(|capability| capability.data_type).collect(),
        depth: 100,
        endpoints: Vec::new(),
    }
}

impl<'a> Market<'a> {
    /// Does what an edge does at its start, with the answers of the records. Requests without an answer there are left out: a
    /// recording may hold one list of several.
    pub(crate) fn open(
        subject: &'a TestedAdapter,
        venue: &'a Venue,
        records: &[RecordedMessage],
    ) -> Result<Self, MarketError> {
        let feed = whole_feed(venue);
        let failed = |what: &str, error: String| MarketError::Failed(format!("{what}: {error}"));
        let mut instance = subject.instance().map_err(|fault| failed("a new instance", fault.to_string()))?;
        let answers = answers(subject, &mut instance, &feed, records)?;
        let instruments = instance
            .instruments(&feed, &answers)
            .map_err(|error| failed("instruments", error.to_string()))?;
        instance.load(&feed, &instruments).map_err(|error| failed("load", error.to_string()))?;
        let plan = instance.plan().map_err(|error| failed("plan", error.to_string()))?;
        let ranked = |by: &RankingKey| Some((*by, ranking_answers(subject, &feed, *by, records)?));
        let rankings = venue.rankings.iter().filter_map(ranked).collect();
        Ok(Market { subject, venue, feed, answers, instruments, plan, rankings })
    }

    pub(crate) fn instance(&self) -> Result<Sandbox, String> {
        let mut instance = self.subject.instance().map_err(|fault| format!("a new instance: {fault}"))?;
        instance.load(&self.feed, &self.instruments).map_err(|error| format!("load: {error}"))?;
        // Requests for further pages are checked against the plan's budgets.
        instance.plan().map_err(|error| format!("plan: {error}"))?;
        Ok(instance)
    }

    /// The plan of a new instance for these instruments.
    pub(crate) fn plan_of(&self, instruments: &[Instrument]) -> Result<Plan, String> {
        let mut instance = self.subject.instance().map_err(|fault| fault.to_string())?;
        instance.load(&self.feed, instruments).map_err(|error| error.to_string())?;
        instance.plan().map_err(|error| error.to_string())
    }

    /// The instruments that a new instance lists for a feed.
    pub(crate) fn instruments_of(&self, feed: &Feed) -> Result<Vec<Instrument>, String> {
        let mut instance = self.subject.instance().map_err(|fault| fault.to_string())?;
        instance.instruments(feed, &self.answers).map_err(|error| error.to_string())
    }

    /// The instruments that a new instance lists from other answers.
    pub(crate) fn instruments_from(&self, answers: &[Answer]) -> Result<Vec<Instrument>, String> {
        let mut instance = self.subject.instance().map_err(|fault| fault.to_string())?;
        instance.instruments(&self.feed, answers).map_err(|error| error.to_string())
    }

    pub(crate) fn frames(&self, records: &[RecordedMessage]) -> Vec<OwnedFrame> {
        testkit::frames(&self.plan.to_sdk(), &self.backfill_urls(), records)
    }

    /// The address of each instrument's backfill.
    fn backfill_urls(&self) -> Vec<Option<String>> {
        let is_offered = self.venue.capabilities.iter().any(|capability| capability.backfill);
        let Some(mut instance) = self.instance().ok().filter(|_| is_offered) else { return Vec::new() };
        let url = |(instrument, _): (u32, &Instrument)| {
            let asked = instance.backfill(TradeRange { instrument, first: 1, last: 1 });
            asked.ok().map(|request| request.url)
        };
        (0..).zip(&self.instruments).map(url).collect()
    }

    /// The instrument at a position, as causes name it.
    pub(crate) fn name(&self, instrument: u32) -> String {
        names::instrument(&self.instruments, instrument)
    }
}

fn answers(
    subject: &TestedAdapter,
    instance: &mut Sandbox,
    feed: &Feed,
    records: &[RecordedMessage],
) -> Result<Vec<Answer>, MarketError> {
    let failed = |error: String| MarketError::Failed(format!("instrument requests: {error}"));
    let mut rounds = InstrumentRounds::new(&subject.limits);
    let mut missing = Vec::new();
    loop {
        let requests = rounds.next(instance, feed).map_err(|error| failed(error.to_string()))?;
        if requests.is_empty() {
            break;
        }
        let known = rounds.answers().len();
        for (position, request) in requests.iter().enumerate() {
            let found = recorded(records, &request.url);
            if found.is_empty() {
                missing.push(request.url.clone());
            }
            for record in found {
                let body = record.data.clone().into_bytes();
                rounds.answer(position, body).map_err(|error| failed(error.to_string()))?;
            }
        }
        if rounds.answers().len() == known {
            break;
        }
    }
    if rounds.answers().is_empty() && !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(MarketError::NoAnswers(format!("no answer to the instrument requests ({missing})")));
    }
    Ok(rounds.answers().to_vec())
}

/// `None`: an answer is missing, or the adapter asks in a way that its check finds.
fn ranking_answers(
    subject: &TestedAdapter,
    feed: &Feed,
    by: RankingKey,
    records: &[RecordedMessage],
) -> Option<Vec<Answer>> {
    let mut instance = subject.instance().ok()?;
    let mut rounds = InstrumentRounds::new(&subject.limits);
    loop {
        let requests = rounds.next_of_ranking(&mut instance, feed, by).ok()?;
        if requests.is_empty() {
            return Some(rounds.into_answers()).filter(|answers| !answers.is_empty());
        }
        for (position, request) in requests.iter().enumerate() {
            let record = records.iter().find(|record| is_answer(record, &request.url))?;
            rounds.answer(position, record.data.clone().into_bytes()).ok()?;
        }
    }
}

/// The answer to exactly this question, else those that hold a part of it.
fn recorded<'r>(records: &'r [RecordedMessage], url: &str) -> Vec<&'r RecordedMessage> {
    match records.iter().find(|record| is_answer(record, url)) {
        Some(record) => vec![record],
        None => records.iter().filter(|record| is_part(record, url)).collect(),
    }
}
