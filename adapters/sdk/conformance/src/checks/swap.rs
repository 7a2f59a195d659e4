//! Two versions of an adapter can be exchanged in a running edge: they make the same of the same answers and frames.

use std::collections::BTreeMap;

use marketprism_adapter_host::contract::{Instrument, Normalized};
use marketprism_adapter_host::{
    Adapter, Differences, FrameBatch, MAX_BATCH_FRAMES, add_differences, plan_difference, venue_difference,
};
use marketprism_adapter_sdk::testkit::OwnedFrame;

use crate::case::{Case, Cases, Options};
use crate::market::{Market, TestedAdapter};
use crate::report::{Check, Findings};
use crate::session::Session;

/// Differing instruments that are named.
const NAMED: usize = 3;

/// An edge finds the feeds that a component concerns by its name.
pub(crate) fn replaces(adapter: &Adapter, earlier: &Adapter) -> Check {
    let mut findings = Findings::new("replaces", "is another version of the adapter that it is to replace");
    let (new, running) = (&adapter.description().name, &earlier.description().name);
    if new != running {
        findings.cause(format!("the name is {new:?}, expected {running:?}"));
    }
    if adapter.digest() == earlier.digest() {
        findings.cause(format!("both are the same component, {}", adapter.id()));
    }
    for venue in &earlier.description().venues {
        if adapter.venue(&venue.exchange).is_none() {
            findings.cause(format!("does not serve {}", venue.exchange));
        }
    }
    findings.done(earlier.id())
}

/// Compares description, instruments and plan, then the output of all frames, as the shadow of a running edge does.
pub(crate) fn swap(cases: &Cases<'_>, earlier: &TestedAdapter, options: &Options) -> anyhow::Result<Check> {
    let mut findings = Findings::new("swap", "can take over from the earlier version while frames flow");
    let Some(market) = cases.market() else { return Ok(findings.skipped(super::NO_MARKET)) };
    let exchange = &market.venue.exchange;
    let Some(venue) = earlier.adapter.venue(exchange) else {
        return Ok(findings.skipped(format!("the earlier version does not serve {exchange}")));
    };
    if let Some(difference) = venue_difference(Some(venue), Some(market.venue)) {
        findings.cause(format!("describes {exchange} otherwise: {difference}"));
    }
    let before = Cases::read(earlier, venue, options)?;
    let (mut differences, mut frames) = (Differences::new(), 0);
    for (name, market) in named_markets(cases) {
        match named_markets(&before).remove(name) {
            Some(earlier) => compare_starts(name, [earlier, market], &mut findings),
            None => findings.cause(format!("{name}: the earlier version cannot start with it")),
        }
    }
    for case in &cases.cases {
        let Some(earlier) = before.cases.iter().find(|earlier| earlier.name == case.name) else { continue };
        if plan_difference(&earlier.market.plan, &case.market.plan).is_none() {
            frames += case.frames.len();
            compare_outputs([earlier, case], &mut differences, &mut findings);
        }
    }
    let mut accepted = Vec::new();
    for (kind, found) in &differences {
        let is_accepted = options.accepted.contains(kind);
        if is_accepted {
            accepted.push(format!("{kind} in {} frames", found.frames));
            continue;
        }
        for example in &found.examples {
            findings.cause(format!(
                "{kind} differ in {} frames, such as `{}`: {}, the earlier version gives {}",
                found.frames, example.frame, example.new, example.running
            ));
        }
    }
    let mut detail = format!("{frames} frames, against {}", earlier.adapter.id());
    if !accepted.is_empty() {
        detail.push_str(&format!("; accepted differences: {}", accepted.join(", ")));
    }
    Ok(if frames == 0 { findings.skipped(super::NO_FRAMES) } else { findings.done(detail) })
}

/// The markets by the file that they come from: all golden cases share one.
fn named_markets<'c, 'a>(cases: &'c Cases<'a>) -> BTreeMap<&'c str, &'c Market<'a>> {
    let golden = cases.start.iter().map(|(market, _)| ("golden instruments", &**market));
    let recorded = cases.cases.iter().filter(|case| case.is_recording());
    golden.chain(recorded.map(|case| (case.name.as_str(), &*case.market))).collect()
}

fn compare_starts(name: &str, [earlier, new]: [&Market<'_>; 2], findings: &mut Findings) {
    let find = |of: &Market<'_>, wanted: &Instrument| {
        let is_it = |one: &&Instrument| one.symbol == wanted.symbol && one.market_type == wanted.market_type;
        of.instruments.iter().find(is_it).cloned()
    };
    let shown = |instrument: Option<&Instrument>| {
        instrument.map_or_else(|| "not listed".to_owned(), |instrument| format!("{instrument:?}"))
    };
    let all =
        earlier.instruments.iter().chain(new.instruments.iter().filter(|one| find(earlier, one).is_none()));
    let differing: Vec<&Instrument> = all.filter(|one| find(earlier, one) != find(new, one)).collect();
    for instrument in differing.iter().take(NAMED) {
        findings.cause(format!(
            "{name}: {} of {} differing instruments: {}, the earlier version reads {}",
            instrument.symbol,
            differing.len(),
            shown(find(new, instrument).as_ref()),
            shown(find(earlier, instrument).as_ref())
        ));
    }
    if let Some(difference) = plan_difference(&earlier.plan, &new.plan) {
        findings.cause(format!("{name}: plan differs: {difference}"));
    }
}

/// An instance of each version, replaced after a fault.
struct Instances<'c> {
    cases: [&'c Case<'c>; 2],
    sessions: [Session<'c>; 2],
}

impl<'c> Instances<'c> {
    fn start(cases: [&'c Case<'c>; 2]) -> Result<Self, String> {
        let [earlier, new] = cases;
        Ok(Self { cases, sessions: [Session::open(&earlier.market)?, Session::open(&new.market)?] })
    }

    /// The output of each version, or its fault.
    fn normalize(&mut self, frames: &[OwnedFrame]) -> Result<[Result<Normalized, String>; 2], String> {
        let mut outputs = [Ok(empty()), Ok(empty())];
        for ((session, case), output) in self.sessions.iter_mut().zip(self.cases).zip(&mut outputs) {
            *output = session.normalize(frames, frames.len()).map_err(|fault| fault.text);
            if output.is_err() {
                *session = Session::open(&case.market)?;
            }
        }
        Ok(outputs)
    }
}

fn empty() -> Normalized {
    Normalized { events: Vec::new(), levels: Vec::new(), notes: Vec::new() }
}

fn compare_outputs(cases: [&Case<'_>; 2], differences: &mut Differences, findings: &mut Findings) {
    let [_, case] = cases;
    let compared = compare_frames(cases, differences, findings);
    if let Err(error) = compared {
        findings.cause(format!("{}: {error}", case.name));
    }
}

/// # Errors
/// A new instance does not start.
fn compare_frames(
    [earlier, case]: [&Case<'_>; 2],
    differences: &mut Differences,
    findings: &mut Findings,
) -> Result<(), String> {
    let mut instances = Instances::start([earlier, case])?;
    let (mut first, mut batch) = (0, FrameBatch::new());
    while first < case.frames.len() {
        batch.clear();
        let rest = case.frames.get(first..).unwrap_or_default();
        let pushed = rest.iter().take(MAX_BATCH_FRAMES);
        let taken =
            pushed.take_while(|frame| batch.push(&frame.bytes, frame.source, frame.at).is_ok()).count();
        let frames = rest.get(..taken.max(1)).unwrap_or(rest);
        match instances.normalize(frames)? {
            [Ok(earlier), Ok(new)] => add_differences(differences, &batch, (&earlier, &new)),
            _ => {
                for (index, frame) in frames.iter().enumerate() {
                    let frame = std::slice::from_ref(frame);
                    if let [Ok(_), Err(fault)] = instances.normalize(frame)? {
                        findings.cause(format!("{}: {fault}", case.place(first + index)));
                    }
                }
            }
        }
        first += frames.len();
    }
    Ok(())
}
