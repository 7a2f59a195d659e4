//! The sound adapter with one fault in its output for each exchange id.

use std::collections::{HashMap, HashSet};

use marketprism_adapter_sdk::{
    Adapter, Answer, Decimal, Description, Event, Feed, Frames, Ignored, Instrument, Normalized, Note,
    Payload, Plan, Ranked, RankingKey, Refusal, Remark, Request, Trade, TradeId, TradeRange, VenueInstance,
    opposite, refusal,
};

use crate::sound::SoundVenue;
use crate::swap_fault::SwapFault;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    WrongSide,
    /// Prices keep their digits, but not their decimal places.
    LostScale,
    /// Quantities are rounded to two decimal places.
    RoundedDecimal,
    /// A book update names the last update received, not the one that the venue names: gaps go undetected.
    MissedGap,
    /// A frame that is not UTF-8 traps.
    BadUtf8Trap,
    /// A trade is published once: the output depends on earlier frames.
    Nondeterminism,
    /// All trades of a batch have the time of the first one.
    Batching,
    /// One value that is not set refuses the whole list of instruments.
    StrictList,
    /// The request for past trades does not depend on their ids.
    SameBackfill,
    /// Rows of the ranking name the symbol, not the venue's.
    ForeignRanking,
    /// A cut ranking is read as far as it goes.
    HalfRanking,
    /// An answer that is no ranking is read as an empty one.
    EmptyRanking,
    /// The ranking is not offered, and answered all the same.
    HiddenRanking,
}

impl Fault {
    pub const ALL: [Fault; 14] = [
        Fault::None,
        Fault::WrongSide,
        Fault::LostScale,
        Fault::RoundedDecimal,
        Fault::MissedGap,
        Fault::BadUtf8Trap,
        Fault::Nondeterminism,
        Fault::Batching,
        Fault::StrictList,
        Fault::SameBackfill,
        Fault::ForeignRanking,
        Fault::HalfRanking,
        Fault::EmptyRanking,
        Fault::HiddenRanking,
    ];

    pub fn exchange(self) -> &'static str {
        match self {
            Fault::None => "sound",
            Fault::WrongSide => "broken_wrong_side",
            Fault::LostScale => "broken_lost_scale",
            Fault::RoundedDecimal => "broken_rounded_decimal",
            Fault::MissedGap => "broken_missed_gap",
            Fault::BadUtf8Trap => "broken_bad_utf8_trap",
            Fault::Nondeterminism => "broken_nondeterminism",
            Fault::Batching => "broken_batching",
            Fault::StrictList => "broken_strict_list",
            Fault::SameBackfill => "broken_same_backfill",
            Fault::ForeignRanking => "broken_foreign_ranking",
            Fault::HalfRanking => "broken_half_ranking",
            Fault::EmptyRanking => "broken_empty_ranking",
            Fault::HiddenRanking => "broken_hidden_ranking",
        }
    }

    pub fn of(exchange: &str) -> Fault {
        Fault::ALL.into_iter().find(|fault| fault.exchange() == exchange).unwrap_or(Fault::None)
    }
}

#[derive(Debug)]
pub struct Broken {
    fault: Fault,
    sound: VenueInstance<SoundVenue>,
    last_ids: HashMap<u32, i64>,
    published: HashSet<(u32, u64)>,
}

impl Adapter for Broken {
    fn describe() -> Description {
        SwapFault::of_component().describe(VenueInstance::<SoundVenue>::describe())
    }

    fn instrument_requests(feed: &Feed, answers: &[Answer]) -> Result<Vec<Request>, Refusal> {
        VenueInstance::<SoundVenue>::instrument_requests(feed, answers)
    }

    fn instruments(feed: &Feed, answers: Vec<Answer>) -> Result<Vec<Instrument>, Refusal> {
        let has_null = |answer: &Answer| answer.body.windows(4).any(|word| word == b"null");
        if Fault::of(&feed.exchange) == Fault::StrictList && answers.iter().any(has_null) {
            return Err(refusal("instruments", "null", "a value"));
        }
        let instruments = VenueInstance::<SoundVenue>::instruments(feed, answers)?;
        Ok(SwapFault::of_component().instruments(instruments))
    }

    fn ranking_requests(feed: &Feed, by: RankingKey, answers: &[Answer]) -> Result<Vec<Request>, Refusal> {
        VenueInstance::<SoundVenue>::ranking_requests(feed, by, answers)
    }

    fn ranking(feed: &Feed, by: RankingKey, answers: Vec<Answer>) -> Result<Vec<Ranked>, Refusal> {
        let fault = Fault::of(&feed.exchange);
        let answers =
            if fault == Fault::HalfRanking { answers.into_iter().map(completed).collect() } else { answers };
        let ranked = VenueInstance::<SoundVenue>::ranking(feed, by, answers);
        match fault {
            Fault::ForeignRanking => ranked.map(|rows| rows.into_iter().map(renamed).collect()),
            Fault::EmptyRanking => Ok(ranked.unwrap_or_default()),
            _ => ranked,
        }
    }

    fn load(feed: Feed, instruments: Vec<Instrument>) -> Result<Broken, Refusal> {
        let fault = Fault::of(&feed.exchange);
        let sound = VenueInstance::<SoundVenue>::load(feed, instruments)?;
        Ok(Broken { fault, sound, last_ids: HashMap::new(), published: HashSet::new() })
    }

    fn plan(&self) -> Result<Plan, Refusal> {
        Ok(SwapFault::of_component().plan(self.sound.plan()?))
    }

    fn backfill(&self, trades: TradeRange) -> Result<Request, Refusal> {
        let first = if self.fault == Fault::SameBackfill { trades.first.min(1) } else { trades.first };
        self.sound.backfill(TradeRange { first, ..trades })
    }

    fn normalize(&mut self, frames: &Frames) -> Normalized {
        if self.fault == Fault::BadUtf8Trap {
            trap_on_bad_text(&frames.data);
        }
        let mut normalized = self.sound.normalize(frames);
        SwapFault::of_component().spoil(frames, &mut normalized);
        match self.fault {
            Fault::None
            | Fault::BadUtf8Trap
            | Fault::StrictList
            | Fault::SameBackfill
            | Fault::ForeignRanking
            | Fault::HalfRanking
            | Fault::EmptyRanking
            | Fault::HiddenRanking => {}
            Fault::WrongSide => each_trade(&mut normalized, |trade| trade.side = opposite(trade.side)),
            Fault::LostScale => each_trade(&mut normalized, |trade| trade.price.scale = 0),
            Fault::RoundedDecimal => each_trade(&mut normalized, |trade| round(&mut trade.quantity)),
            Fault::MissedGap => self.hide_gaps(&mut normalized),
            Fault::Nondeterminism => self.forget_repeated(&mut normalized),
            Fault::Batching => {
                let mut first = None;
                each_trade(&mut normalized, |trade| trade.time_us = *first.get_or_insert(trade.time_us));
            }
        }
        normalized
    }
}

/// A cut answer with rows as a whole one: what follows its last whole row is left out.
fn completed(mut answer: Answer) -> Answer {
    const ROW_ENDS: &[u8] = b"},";
    let is_cut = !answer.body.ends_with(b"]}");
    if is_cut && let Some(last) = answer.body.windows(ROW_ENDS.len()).rposition(|bytes| bytes == ROW_ENDS) {
        answer.body.truncate(last);
        answer.body.extend_from_slice(b"}]}");
    }
    answer
}

fn renamed(row: Ranked) -> Ranked {
    Ranked { venue_symbol: row.venue_symbol.replace('/', "-"), ..row }
}

#[allow(clippy::expect_used, reason = "this is the fault")]
fn trap_on_bad_text(bytes: &[u8]) {
    std::str::from_utf8(bytes).expect("text");
}

fn each_trade(normalized: &mut Normalized, mut spoil: impl FnMut(&mut Trade)) {
    for event in &mut normalized.events {
        if let Payload::Trade(trade) = &mut event.payload {
            spoil(trade);
        }
    }
}

fn round(number: &mut Decimal) {
    while number.scale > 2 {
        number.mantissa = (number.mantissa + 5) / 10;
        number.scale -= 1;
    }
}

impl Broken {
    fn hide_gaps(&mut self, normalized: &mut Normalized) {
        for event in &mut normalized.events {
            if let Payload::Book(book) = &mut event.payload {
                let before = self.last_ids.insert(book.instrument, book.last_id);
                book.previous_id = book.previous_id.and(before);
            }
        }
    }

    fn forget_repeated(&mut self, normalized: &mut Normalized) {
        let Normalized { events, notes, .. } = normalized;
        let published = &mut self.published;
        events.retain(|Event { frame, payload }| {
            let Payload::Trade(Trade { instrument, id: TradeId::Number(id), .. }) = payload else {
                return true;
            };
            let is_new = published.insert((*instrument, *id));
            if !is_new {
                notes.push(Note { frame: *frame, remark: Remark::Ignored(Ignored::Repeated) });
            }
            is_new
        });
        notes.sort_by_key(|note| note.frame);
    }
}
