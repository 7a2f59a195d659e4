//! A compiled adapter component, and the checks of its contract version, imports and exports.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use marketprism_schema::{COMPONENT_BYTES_MAX, component_digest};
use marketprism_service::read_file;
use wasmtime::component::Component;

use crate::contract::{Description, Venue};
use crate::error::{Fault, LoadError};
use crate::exports::{ContractVersion, LinkedComponent};
use crate::host_limit::HostLimit;
use crate::limits::Limits;
use crate::runtime::Engine;
use crate::sandbox::{InstantiateError, Sandbox};
use crate::stats::{FaultCause, Stats};
use crate::validate;
use crate::version1::Version1;

/// Instances of it start in microseconds. Clones share the component.
#[derive(Clone)]
pub struct Adapter {
    inner: Arc<CompiledAdapter>,
}

struct CompiledAdapter {
    linked: Box<dyn LinkedComponent>,
    description: Description,
    digest: String,
    id: String,
    contract: String,
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Adapter").field(&self.inner.id).finish()
    }
}

impl Adapter {
    /// Reads, compiles and checks an adapter file and calls `describe`.
    pub fn load(engine: &Engine, path: &Path, limits: &Limits) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        Self::from_bytes(engine, &read_file(path, COMPONENT_BYTES_MAX).map_err(read)?, limits)
    }

    /// Like [`Adapter::load`] for a component in memory.
    pub fn from_bytes(engine: &Engine, bytes: &[u8], limits: &Limits) -> Result<Self, LoadError> {
        Self::of_contracts(&CONTRACTS, engine, bytes, limits)
    }

    pub(crate) fn of_contracts(
        contracts: &[&dyn ContractVersion],
        engine: &Engine,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Self, LoadError> {
        if let [0, b'a', b's', b'm', 1, 0, 0, 0, ..] = bytes {
            return Err(LoadError::CoreModule);
        }
        let component = engine.compile(bytes).map_err(|error| host_or(&error, LoadError::NotAComponent))?;
        let (contract, version) = check_world(&component, engine, contracts)?;
        let linked = version.link(engine.inner(), &component).map_err(|error| {
            host_or(&error, |detail| LoadError::Types { targets: contract.clone(), detail })
        })?;
        let description = described(&*linked, &contract, limits)?;
        let digest = component_digest(bytes);
        let short = digest.get(..12).unwrap_or_default();
        let id = format!("{}@{}+{short}", description.name, description.version);
        Ok(Adapter { inner: Arc::new(CompiledAdapter { linked, description, digest, id, contract }) })
    }

    /// The answer of `describe`.
    pub fn description(&self) -> &Description {
        &self.inner.description
    }

    /// The answer of `describe` by another instance.
    pub fn describe_again(&self, limits: &Limits) -> Result<Description, LoadError> {
        described(&*self.inner.linked, &self.inner.contract, limits)
    }

    /// The description of one exchange id.
    pub fn venue(&self, exchange: &str) -> Option<&Venue> {
        self.inner.description.venues.iter().find(|venue| venue.exchange == exchange)
    }

    /// `name@version+` and the first 12 digits of the digest: the form that events carry.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// SHA-256 of the component, 64 hex digits.
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// Contract version that the adapter was built for.
    pub fn contract(&self) -> &str {
        &self.inner.contract
    }
}

/// Asks a new instance.
fn described(
    linked: &dyn LinkedComponent,
    contract: &str,
    limits: &Limits,
) -> Result<Description, LoadError> {
    let (limits, stats) = (Arc::new(limits.clone()), Arc::new(Stats::default()));
    let started = Sandbox::from_parts(linked, "adapter".into(), limits, stats);
    let mut sandbox = started.map_err(|error| match error {
        InstantiateError::Types(detail) => LoadError::Types { targets: contract.to_owned(), detail },
        InstantiateError::Fault(fault) => LoadError::of_describe(fault),
    })?;
    let description = sandbox.describe().map_err(LoadError::of_describe)?;
    validate::description(&description).map_err(|detail| LoadError::Describe(Fault::invalid(detail)))?;
    Ok(description)
}

impl Sandbox {
    /// Starts an instance.
    pub fn new(adapter: &Adapter, limits: &Arc<Limits>, stats: &Arc<Stats>) -> Result<Self, Fault> {
        let made = Self::from_parts(
            &*adapter.inner.linked,
            adapter.id().into(),
            Arc::clone(limits),
            Arc::clone(stats),
        );
        made.map_err(|error| match error {
            InstantiateError::Types(detail) => Fault { cause: FaultCause::Reload, detail },
            InstantiateError::Fault(fault) => fault,
        })
    }
}

/// The host's limit if one is the cause, else the adapter's error.
fn host_or(error: &wasmtime::Error, of_adapter: impl FnOnce(String) -> LoadError) -> LoadError {
    match HostLimit::of(error) {
        Some(limit) => limit.into(),
        None => of_adapter(one_line(&format!("{error:#}"))),
    }
}

fn one_line(text: &str) -> String {
    let mut line = text.replace(['\n', '\r'], " ");
    crate::logging::cut(&mut line, 500);
    line
}

/// Checks imports and exports by name. Returns the component's contract version, and the one that runs it.
fn check_world<'c>(
    component: &Component,
    engine: &Engine,
    contracts: &[&'c dyn ContractVersion],
) -> Result<(String, &'c dyn ContractVersion), LoadError> {
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(engine.inner()).map(|(name, _)| name).collect();
    let adapter = exports.iter().map(|name| split_version(name)).find(|(name, _)| *name == ADAPTER_INTERFACE);
    let Some((_, targets)) = adapter else {
        let exports = if exports.is_empty() { "nothing".into() } else { exports.join(", ") };
        return Err(LoadError::OtherWorld(exports));
    };
    let targets = targets.unwrap_or("without a version");
    let runner = contracts.iter().copied().find(|contract| contract.runs(targets));
    let runner = runner.ok_or_else(|| LoadError::Contract(targets.into()))?;
    match ty.imports(engine.inner()).find(|(name, _)| !is_allowed_import(name, contracts)) {
        Some((name, _)) => Err(LoadError::UndeclaredImport(name.into())),
        None => Ok((targets.into(), runner)),
    }
}

/// Interface that an adapter exports, without its version.
const ADAPTER_INTERFACE: &str = "marketprism:adapter/adapter";

/// Allowed imports, without versions.
const ALLOWED_IMPORTS: [&str; 2] = ["marketprism:adapter/log", "marketprism:adapter/types"];

/// Contract versions that the host runs.
const CONTRACTS: [&dyn ContractVersion; 1] = [&Version1];

/// Splits `interface@version`.
fn split_version(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (name, None),
    }
}

fn is_allowed_import(name: &str, contracts: &[&dyn ContractVersion]) -> bool {
    let (interface, version) = split_version(name);
    let is_run = |version: &str| contracts.iter().any(|contract| contract.runs(version));
    ALLOWED_IMPORTS.contains(&interface) && version.is_some_and(is_run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_supported_major_passes() {
        for good in ["1.0.0", "1.1.0", "1.20.3"] {
            assert!(Version1.runs(good), "{good}");
        }
        for bad in ["2.0.0", "0.1.0", "10.0.0", "1", "1.0", "1.0.0-rc1", "1.0.0.0", "1..0", ""] {
            assert!(!Version1.runs(bad), "{bad}");
        }
        assert!(is_allowed_import("marketprism:adapter/log@1.0.0", &CONTRACTS));
        assert!(!is_allowed_import("marketprism:adapter/log@2.0.0", &CONTRACTS));
        assert!(!is_allowed_import("wasi:clocks/monotonic-clock@0.2.0", &CONTRACTS));
    }
}
