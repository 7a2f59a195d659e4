//! Flow from the broker into hot, judged over every part of a measurement: a flow that ends early fails, whatever came before.

use marketprism_schema::{Carries, STREAMS};

use super::sample::{Sample, StreamSample};
use crate::diagnose::{Check, CheckStatus};
use crate::limits::{MESSAGE_WAIT, STORED_WAIT};
use crate::report::document::FindingCode as Code;

const NAME: &str = "throughput";

fn is_events(name: &str) -> bool {
    STREAMS.iter().any(|stream| stream.name == name && stream.carries == Carries::Events)
}

fn events(sample: &Sample) -> impl Iterator<Item = &StreamSample> {
    sample.streams.iter().filter(|stream| is_events(stream.stream))
}

fn messages_of(name: &str, first: &Sample, last: &Sample) -> Option<u64> {
    let sequence = |sample: &Sample| {
        sample.streams.iter().find(|stream| stream.stream == name).map(|stream| stream.last_sequence)
    };
    Some(sequence(last)?.saturating_sub(sequence(first)?))
}

/// Messages of events from one sample to another, by the streams that both have; `None` without one.
pub fn messages_between(first: &Sample, last: &Sample) -> Option<u64> {
    events(last).filter_map(|stream| messages_of(stream.stream, first, last)).reduce(u64::saturating_add)
}

pub fn rows(sample: &Sample) -> u64 {
    sample.tables.iter().map(|table| table.rows).sum()
}

/// Rows stored from one sample to another; `None` if hot did not answer one of them.
pub fn rows_between(first: &Sample, last: &Sample) -> Option<u64> {
    let answered = !first.tables.is_empty() && !last.tables.is_empty();
    answered.then(|| rows(last).saturating_sub(rows(first)))
}

/// Samples between which nothing changed, the first and the last of them.
struct Standstill<'a> {
    samples: &'a [&'a Sample],
    is_at_end: bool,
}

impl<'a> Standstill<'a> {
    /// The longest ones: between two neighbours each, `is_still` says that nothing changed.
    fn all(samples: &'a [&'a Sample], is_still: impl Fn(&Sample, &Sample) -> bool) -> Vec<Self> {
        let mut all = Vec::new();
        let mut from = 0;
        for part in samples.chunk_by(|one, next| is_still(one, next)) {
            from += part.len();
            all.push(Self { samples: part, is_at_end: from == samples.len() });
        }
        all
    }

    fn ends(&self) -> Option<(&'a Sample, &'a Sample)> {
        Some((self.samples.first()?, self.samples.last()?))
    }

    fn seconds(&self) -> f64 {
        self.ends().map_or(0.0, |(first, last)| last.seconds - first.seconds)
    }

    /// Messages that had the time to be stored. At the end of a measurement all of them: it waited.
    fn messages_due(&self) -> u64 {
        let Some((first, last)) = self.ends() else { return 0 };
        let due = last.seconds - STORED_WAIT.as_secs_f64();
        let is_due = |sample: &&&Sample| self.is_at_end || sample.seconds <= due;
        let newest = self.samples.iter().rev().find(is_due);
        newest.and_then(|newest| messages_between(first, newest)).unwrap_or_default()
    }
}

fn stands_in_storage(one: &Sample, next: &Sample) -> bool {
    rows_between(one, next) == Some(0)
}

/// Messages came before the newest sample, and hot stored no row since: a batch may be in flight.
pub fn waits_for_rows(samples: &[Sample]) -> bool {
    let samples = measured(samples);
    let last = Standstill::all(&samples, stands_in_storage).pop();
    last.is_some_and(|still| still.messages_due() > 0)
}

fn measured(samples: &[Sample]) -> Vec<&Sample> {
    samples.iter().filter(|sample| events(sample).next().is_some() && !sample.tables.is_empty()).collect()
}

pub fn throughput(samples: &[Sample]) -> Vec<Check> {
    let samples = measured(samples);
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return vec![Check::unavailable(NAME, "not measured: broker or hot did not answer", "")];
    };
    let mut checks = Vec::new();
    checks.extend(no_messages(&samples));
    checks.extend(not_stored(&samples).or_else(|| backlog(first, last)));
    checks.extend(streams_that_stand_still(&samples));
    if checks.iter().all(|check| check.found == CheckStatus::Warn) {
        let seconds = (last.seconds - first.seconds).max(f64::EPSILON);
        let rate = |count: Option<u64>| count.unwrap_or_default() as f64 / seconds;
        let [messages, stored] = [messages_between(first, last), rows_between(first, last)].map(rate);
        checks.push(Check::ok(
            NAME,
            format!("{messages:.1} messages/s at the broker, {stored:.1} rows/s in hot, over {seconds:.0} s"),
        ));
    }
    checks
}

/// A minute without a message, or a whole measurement without one.
fn no_messages(samples: &[&Sample]) -> Option<Check> {
    let is_still = |one: &Sample, next: &Sample| messages_between(one, next) == Some(0);
    let all = Standstill::all(samples, is_still);
    let is_all = all.len() == 1;
    let longest = all.into_iter().max_by(|one, other| one.seconds().total_cmp(&other.seconds()))?;
    let (first, last) = longest.ends()?;
    if longest.seconds() < MESSAGE_WAIT.as_secs_f64() && !is_all {
        return None;
    }
    let (from, to) = (first.seconds, last.seconds);
    let text =
        format!("no message arrived at the broker from second {from:.0} to {to:.0} of the measurement");
    let remedy = "see `edges`: do they run, and do their feeds have newest events?";
    Some(Check::new(Code::ThroughputNoMessages, NAME, CheckStatus::Fail, text, remedy))
}

const NOT_STORED_REMEDY: &str =
    "see `diagnose`: does a central hold the leases `ingest-...`, and does hot take inserts?";

fn not_stored(samples: &[&Sample]) -> Option<Check> {
    let all = Standstill::all(samples, stands_in_storage).into_iter();
    let worst = all.max_by_key(Standstill::messages_due).filter(|still| still.messages_due() > 0)?;
    let (first, last) = worst.ends()?;
    let (from, to, messages) = (first.seconds, last.seconds, messages_between(first, last)?);
    let text = format!(
        "{messages} messages arrived at the broker from second {from:.0} to {to:.0} of the measurement, and hot stored no row"
    );
    Some(Check::new(Code::ThroughputNotStored, NAME, CheckStatus::Fail, text, NOT_STORED_REMEDY))
}

/// More messages wait than at first, and more than arrive while a batch is stored.
fn backlog(first: &Sample, last: &Sample) -> Option<Check> {
    let pending = |sample: &Sample| events(sample).map(|stream| stream.pending).sum::<u64>();
    let (before, after) = (pending(first), pending(last));
    let seconds = (last.seconds - first.seconds).max(f64::EPSILON);
    let allowed = messages_between(first, last)? as f64 / seconds * STORED_WAIT.as_secs_f64();
    if after <= before || after as f64 <= allowed {
        return None;
    }
    let text = format!(
        "messages that wait rose from {before} to {after} in {seconds:.0} s (allowed: what arrives in {} s, {allowed:.0})",
        STORED_WAIT.as_secs()
    );
    Some(Check::new(Code::ThroughputNotStored, NAME, CheckStatus::Fail, text, NOT_STORED_REMEDY))
}

/// Streams that had messages, and have none in the last minute in which others go on.
fn streams_that_stand_still(samples: &[&Sample]) -> Vec<Check> {
    let Some((first, last)) = samples.first().zip(samples.last()) else { return Vec::new() };
    let since = last.seconds - MESSAGE_WAIT.as_secs_f64();
    let Some(before) = samples.iter().rev().find(|sample| sample.seconds <= since) else { return Vec::new() };
    if messages_between(before, last).is_none_or(|messages| messages == 0) {
        return Vec::new();
    }
    let is_silent = |stream: &&StreamSample| {
        let messages = |from| messages_of(stream.stream, from, last);
        messages(before) == Some(0) && messages(first).is_some_and(|messages| messages > 0)
    };
    let named = |stream: &StreamSample| {
        let name = format!("{NAME} of {}", stream.stream);
        let seconds = last.seconds - before.seconds;
        let text = format!("no message in the last {seconds:.0} s, while other streams had some");
        let remedy = "see `edges` and `status`: do the feeds of these data types have newest events?";
        Check::new(Code::ThroughputNoMessages, name, CheckStatus::Warn, text, remedy)
    };
    events(last).filter(is_silent).map(named).collect()
}
