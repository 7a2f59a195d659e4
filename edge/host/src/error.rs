//! Errors of loading and calling an adapter.

use std::path::PathBuf;

use marketprism_service::host_limit;
use thiserror::Error;

use crate::contract::{Refusal, SUPPORTED};
use crate::host_limit::HostLimit;
use crate::limits::RefusedGrowth;
use crate::stats::FaultCause;

/// Fault of an instance, which must not be called again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{detail}", self.prefix())]
pub struct Fault {
    /// Kind of fault.
    pub cause: FaultCause,
    /// Message of the runtime or the check.
    pub detail: String,
}

impl Fault {
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Fault { cause: FaultCause::InvalidOutput, detail: detail.into() }
    }

    fn prefix(&self) -> String {
        match self.cause {
            FaultCause::HostLimit => String::new(),
            cause => format!("adapter fault {}: ", cause.as_str()),
        }
    }

    /// The host is the cause: neither adapter nor frame is.
    pub fn is_host_limit(&self) -> bool {
        self.cause == FaultCause::HostLimit
    }

    /// Errors that are neither a trap nor a refused growth come from lifting a result: text that is not UTF-8,
    /// lists outside the memory, unknown cases, too much data.
    pub(crate) fn from_runtime(error: &wasmtime::Error) -> Self {
        use wasmtime::Trap;
        if let Some(limit) = HostLimit::of(error) {
            return Fault { cause: FaultCause::HostLimit, detail: limit.to_string() };
        }
        let cause = if error.is::<RefusedGrowth>() {
            FaultCause::Memory
        } else {
            match error.downcast_ref::<Trap>() {
                None | Some(Trap::ListOutOfBounds | Trap::StringOutOfBounds | Trap::InvalidChar) => {
                    FaultCause::InvalidOutput
                }
                Some(Trap::Interrupt) => FaultCause::Deadline,
                Some(Trap::StackOverflow) => FaultCause::StackOverflow,
                Some(_) => FaultCause::Trap,
            }
        };
        let mut detail = format!("{error:#}").replace(['\n', '\r'], " ");
        crate::logging::cut(&mut detail, 500);
        Fault { cause, detail }
    }
}

/// Refusal or fault instead of a result.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CallError {
    /// The adapter cannot serve the feed.
    #[error("adapter refuses: {} is {:?}, allowed is {}", .0.field, .0.value, .0.allowed)]
    Refused(Refusal),
    /// The adapter failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Rejection of an adapter file.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("adapter {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The host denies what every adapter needs.
    #[error(transparent)]
    Host(#[from] HostLimit),
    /// Not wrapped as a component.
    #[error("adapter is a core WebAssembly module, not a component: build it with marketprism-adapter-build")]
    CoreModule,
    /// Not WebAssembly, or damaged.
    #[error("adapter is not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// A component of another kind.
    #[error("component exports no marketprism:adapter/adapter, it exports {0}")]
    OtherWorld(String),
    /// Contract version not supported.
    #[error("adapter targets contract {0}, this edge supports {SUPPORTED}")]
    Contract(String),
    /// Supported version, but other function types.
    #[error(
        "adapter targets contract {targets}, this edge supports {SUPPORTED}, and the types differ: {detail}"
    )]
    Types {
        /// Version that it was built for.
        targets: String,
        /// First difference.
        detail: String,
    },
    /// Import that adapters do not get.
    #[error("adapter imports {0}, allowed is only marketprism:adapter/log")]
    UndeclaredImport(String),
    /// `describe` failed or contradicts the contract.
    #[error("adapter cannot describe itself: {0}")]
    Describe(#[source] Fault),
}

impl LoadError {
    pub(crate) fn of_describe(fault: Fault) -> Self {
        if fault.is_host_limit() {
            Self::Host(HostLimit::of_fault(fault.detail))
        } else {
            Self::Describe(fault)
        }
    }

    /// The host is the cause, not the adapter.
    pub fn is_host_limit(&self) -> bool {
        match self {
            Self::Host(_) => true,
            Self::Read { source, .. } => host_limit(source).is_some(),
            _ => false,
        }
    }
}
