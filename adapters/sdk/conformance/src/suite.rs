//! All checks on one component.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use marketprism_adapter_host::contract::Venue;
use marketprism_adapter_host::{Adapter, Engine, Limits, LoadError};

use crate::case::{Cases, Options};
use crate::checks::{self, KindFrames};
use crate::market::TestedAdapter;
use crate::report::{Check, CheckOutcome, ExchangeReport, Report, VERSION};

/// Runs every check on a component.
///
/// # Errors
/// The suite cannot run: a file that cannot be read, a limit of this host, an exchange that the adapter does not describe. Faults of the adapter are in the
/// report.
pub fn test(options: &Options) -> anyhow::Result<Report> {
    let engine = Engine::new(None)?;
    let limits = Limits::default();
    let mut report = Report {
        version: VERSION,
        adapter: options.adapter.display().to_string(),
        digest: String::new(),
        contract: "unknown".to_owned(),
        against: None,
        golden: options.golden.as_ref().map(|folder| folder.display().to_string()),
        passed: false,
        checks: Vec::new(),
        exchanges: Vec::new(),
    };
    let adapter = match Adapter::load(&engine, &options.adapter, &limits) {
        Ok(adapter) => adapter,
        Err(error @ (LoadError::Read { .. } | LoadError::Host(_))) => return Err(error.into()),
        Err(error) => {
            report.checks.push(checks::refused(&error));
            return Ok(report);
        }
    };
    let earlier = options.against.as_ref().map(|path| Adapter::load(&engine, path, &limits));
    let earlier = earlier.transpose().context("the version that is to be replaced")?;
    let again = adapter.describe_again(&limits).context("the component, in another instance")?;
    report.adapter = adapter.id().to_owned();
    report.digest = adapter.digest().to_owned();
    report.contract = adapter.contract().to_owned();
    report.checks = vec![checks::contract(&adapter), checks::describe(&adapter, &again)];
    report.checks.extend(earlier.as_ref().map(|earlier| checks::replaces(&adapter, earlier)));
    report.against = earlier.as_ref().map(|earlier| earlier.id().to_owned());
    for venue in chosen(&adapter, &options.exchanges)? {
        let mut of_exchange = exchange(&adapter, &limits, venue, options)?;
        if let Some(earlier) = &earlier {
            of_exchange.checks.push(check_swap([earlier, &adapter], &limits, &venue.exchange, options)?);
        }
        report.exchanges.push(of_exchange);
    }
    let passed = report.all().all(|(_, check)| check.outcome != CheckOutcome::Failed);
    report.passed = passed;
    Ok(report)
}

/// Frames of each exchange by kind, for measurements, without any check. Exchanges without frames are omitted.
///
/// # Errors
/// A file that cannot be read, a component that cannot be loaded, frames that fault.
pub fn frames_by_kind(options: &Options) -> anyhow::Result<Vec<(String, Vec<KindFrames>)>> {
    let limits = Limits::default();
    let adapter = Adapter::load(&Engine::new(None)?, &options.adapter, &limits)?;
    let mut exchanges = Vec::new();
    for venue in chosen(&adapter, &options.exchanges)? {
        let subject = TestedAdapter::new(adapter.clone(), limits.clone());
        let cases = Cases::read(&subject, venue, options)?;
        if cases.frame_count() > 0 {
            let kinds =
                checks::by_kind(&cases).with_context(|| format!("frames of {} fault", venue.exchange))?;
            exchanges.push((venue.exchange.clone(), kinds));
        }
    }
    Ok(exchanges)
}

/// Causes why an adapter fails on the golden frames of a folder that holds `frames` and `expected`; empty if it passes.
///
/// # Errors
/// A file that cannot be read.
pub fn check_golden(adapter: &Adapter, limits: &Limits, folder: &Path) -> anyhow::Result<Vec<String>> {
    let options = Options { golden: Some(folder.to_owned()), ..Options::new(PathBuf::new()) };
    let subject = TestedAdapter::new(adapter.clone(), limits.clone());
    let mut causes = Vec::new();
    for venue in &adapter.description().venues {
        let cases = Cases::read(&subject, venue, &options)?;
        causes.extend(cases.closed.iter().cloned());
        causes.append(&mut checks::golden(&cases).causes);
    }
    Ok(causes)
}

/// Compares what two versions make of the golden frames and recordings of an exchange, as an edge does before it exchanges them.
///
/// # Errors
/// A file that cannot be read, a limit of this host, an exchange that the new version does not describe.
pub fn check_swap(
    [earlier, new]: [&Adapter; 2],
    limits: &Limits,
    exchange: &str,
    options: &Options,
) -> anyhow::Result<Check> {
    let venue = new.venue(exchange).with_context(|| format!("{} does not serve {exchange}", new.id()))?;
    let subjects = [earlier, new].map(|one| TestedAdapter::new(one.clone(), limits.clone()));
    let [earlier, subject] = &subjects;
    let check = checks::swap(&Cases::read(subject, venue, options)?, earlier, options)?;
    if let denied @ 1.. = earlier.host_limits() + subject.host_limits() {
        bail!(
            "this host denied {denied} calls memory or addresses (`ulimit -a`): {exchange} is not compared"
        );
    }
    Ok(check)
}

fn chosen<'a>(adapter: &'a Adapter, exchanges: &[String]) -> anyhow::Result<Vec<&'a Venue>> {
    let venues = &adapter.description().venues;
    if let Some(unknown) = exchanges.iter().find(|id| adapter.venue(id).is_none()) {
        let served: Vec<&str> = venues.iter().map(|venue| venue.exchange.as_str()).collect();
        bail!("exchange {unknown:?} is not served by {} (allowed: {})", adapter.id(), served.join(", "));
    }
    let wanted = |venue: &&Venue| exchanges.is_empty() || exchanges.contains(&venue.exchange);
    Ok(venues.iter().filter(wanted).collect())
}

fn exchange(
    adapter: &Adapter,
    limits: &Limits,
    venue: &Venue,
    options: &Options,
) -> anyhow::Result<ExchangeReport> {
    let subject = TestedAdapter::new(adapter.clone(), limits.clone());
    let cases = Cases::read(&subject, venue, options)?;
    let market = cases.market().map(std::rc::Rc::as_ref);
    let checks = vec![
        checks::refusals(&subject, venue, market),
        checks::instruments(&cases),
        checks::plan(&cases),
        checks::split(market),
        checks::golden(&cases),
        checks::frames(&cases),
        checks::batching(&cases),
        checks::determinism(&cases),
        checks::decimals(&cases),
        checks::scales(&cases),
        checks::sequence(&cases),
        checks::backfill(&cases),
        checks::rankings(&subject, venue, &cases),
        checks::odd_input(&cases),
        checks::malformed(&cases, options),
        checks::simulator(&subject, venue, options),
    ];
    if let denied @ 1.. = subject.host_limits() {
        bail!(
            "this host denied {denied} calls memory or addresses (`ulimit -a`): the checks of {} say nothing about \
             the adapter",
            venue.exchange
        );
    }
    Ok(ExchangeReport { exchange: venue.exchange.clone(), cost: checks::cost(&subject, &cases), checks })
}
