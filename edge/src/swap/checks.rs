//! Checks of a new version before it gets a live frame.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use marketprism_adapter_host::contract::{Description, Instrument};
use marketprism_adapter_host::{
    Adapter, Engine, GOLDEN_SECTION, Limits, LoadError, custom_section, verify_signature,
};
use marketprism_schema::{AdapterLabel, LabelError};
use marketprism_service::error_text;

use super::golden::run_golden;
use super::record::SwapStep;
use crate::config::SwapSettings;
use crate::feed::{InstrumentKey, ListingReader, key_of};

/// Differing instruments that a reason names.
const NAMED: usize = 3;

/// End of a change before the promotion.
#[derive(Debug)]
pub(super) struct SwapFailure {
    pub(super) step: SwapStep,
    pub(super) reason: String,
}

impl SwapFailure {
    pub(super) fn new(step: SwapStep, reason: impl Into<String>) -> Self {
        Self { step, reason: reason.into() }
    }
}

/// Reason why the running instruments are not known to be read alike.
#[derive(Debug)]
pub(super) enum ListFailure {
    Unreadable(String),
    Differ(String),
}

impl From<ListFailure> for SwapFailure {
    fn from((ListFailure::Unreadable(reason) | ListFailure::Differ(reason)): ListFailure) -> Self {
        Self::new(SwapStep::Instruments, reason)
    }
}

pub(super) struct ComponentChecks<'a> {
    pub(super) engine: Option<&'a Engine>,
    pub(super) limits: &'a Limits,
    pub(super) settings: &'a SwapSettings,
    pub(super) allow_unsigned: bool,
    pub(super) scratch: PathBuf,
}

impl ComponentChecks<'_> {
    /// Signature, compilation, contract, golden frames. Computes for seconds; what was compiled before comes from the cache.
    pub(super) fn run(&self, component: &[u8], step: impl Fn(SwapStep)) -> Result<Adapter, SwapFailure> {
        step(SwapStep::Signature);
        let signed = verify_signature(component, &self.settings.verifying_keys());
        if let Err(error) = signed
            && !self.allow_unsigned
        {
            return Err(SwapFailure::new(SwapStep::Signature, error.to_string()));
        }
        step(SwapStep::Compile);
        let no_engine = || SwapFailure::new(SwapStep::Compile, "no WebAssembly engine runs");
        let engine = self.engine.ok_or_else(no_engine)?;
        let adapter = Adapter::from_bytes(engine, component, self.limits)
            .map_err(|error| SwapFailure::new(step_of(&error), error_text(&error)))?;
        if let Some(reason) = label_problem(component, adapter.description()) {
            return Err(SwapFailure::new(SwapStep::Contract, reason));
        }
        step(SwapStep::Golden);
        if let Some(section) = custom_section(component, GOLDEN_SECTION) {
            let checked = run_golden(&adapter, self.limits, section, &self.scratch);
            checked.map_err(|error| SwapFailure::new(SwapStep::Golden, format!("{error:#}")))?;
        }
        Ok(adapter)
    }
}

/// Central sorts components by their labels: a wrong one would reach the edges under another name.
fn label_problem(component: &[u8], description: &Description) -> Option<String> {
    let Description { name, version, .. } = description;
    match AdapterLabel::of(component) {
        Ok(label) if label.name == *name && label.version == *version => None,
        Ok(AdapterLabel { name: named, version: numbered, .. }) => {
            Some(format!("label says {named} {numbered}, the component describes itself as {name} {version}"))
        }
        Err(LabelError::Missing) => None,
        Err(error) => Some(error.to_string()),
    }
}

const fn step_of(error: &LoadError) -> SwapStep {
    match error {
        LoadError::Read { .. } | LoadError::Host(_) | LoadError::CoreModule | LoadError::NotAComponent(_) => {
            SwapStep::Compile
        }
        _ => SwapStep::Contract,
    }
}

/// Checks that the new version reads the running instruments from the venue's lists as the running one does.
pub(super) async fn check_instruments(
    reader: &ListingReader,
    adapter: &Adapter,
    running: &[Instrument],
) -> Result<(), ListFailure> {
    let failed = |who: &str, error: anyhow::Error| {
        let error = error_text(error.as_ref());
        ListFailure::Unreadable(format!("the venue's lists cannot be read by the {who} version: {error}"))
    };
    let collected: BTreeSet<InstrumentKey> = running.iter().map(key_of).collect();
    let reader = &reader.of_instruments(running);
    let read = async |reader: &ListingReader| {
        let listing = reader.read(&collected, None).await?;
        let by_key = listing.instruments.into_iter().map(|instrument| (key_of(&instrument), instrument));
        anyhow::Ok(by_key.collect::<BTreeMap<InstrumentKey, Instrument>>())
    };
    let new = read(&reader.with_adapter(adapter.clone())).await.map_err(|error| failed("new", error))?;
    let differs = |instrument: &&Instrument| new.get(&key_of(instrument)) != Some(instrument);
    if !running.iter().any(|instrument| differs(&instrument)) {
        return Ok(());
    }
    // The venue may have changed them since the feed started: what the running version reads now decides.
    let now = read(reader).await.map_err(|error| failed("running", error))?;
    let differing: Vec<String> = running
        .iter()
        .map(key_of)
        .filter(|key| new.get(key) != now.get(key))
        .map(|key| {
            format!("{}: {}, the running version reads {}", key.0, shown(new.get(&key)), shown(now.get(&key)))
        })
        .collect();
    let Some(_) = differing.first() else { return Ok(()) };
    let named = differing.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    Err(ListFailure::Differ(format!("{} instruments differ: {named}", differing.len())))
}

fn shown(instrument: Option<&Instrument>) -> String {
    instrument.map_or_else(|| "not listed".to_owned(), |instrument| format!("{instrument:?}"))
}
