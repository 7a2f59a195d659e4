//! What can go wrong with an adapter.

use std::path::PathBuf;

use thiserror::Error;

use crate::contract::{Refusal, SUPPORTED};
use crate::limiter::RefusedGrowth;

/// Why an instance had to be thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultCause {
    /// It trapped: a panic, or an access outside its memory.
    Trap,
    /// It did not return in time.
    Deadline,
    /// It asked for more memory, or a larger table, than it may have.
    Memory,
    /// It recursed too deep.
    StackOverflow,
    /// What it returned cannot be read, or contradicts the contract.
    InvalidOutput,
    /// A new instance could not be made, or refused the feed that an earlier one had taken.
    Reload,
}

impl FaultCause {
    /// Every cause, in the order of [`FaultCause::index`].
    pub const ALL: [FaultCause; 6] = [
        FaultCause::Trap,
        FaultCause::Deadline,
        FaultCause::Memory,
        FaultCause::StackOverflow,
        FaultCause::InvalidOutput,
        FaultCause::Reload,
    ];

    /// Position in [`FaultCause::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// A label for logs, metrics and file names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCause::Trap => "trap",
            FaultCause::Deadline => "deadline",
            FaultCause::Memory => "memory",
            FaultCause::StackOverflow => "stack_overflow",
            FaultCause::InvalidOutput => "invalid_output",
            FaultCause::Reload => "reload",
        }
    }
}

/// A fault of the adapter. The instance is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("adapter fault {}: {detail}", cause.as_str())]
pub struct Fault {
    /// The kind of fault.
    pub cause: FaultCause,
    /// What the runtime or the check said.
    pub detail: String,
}

impl Fault {
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Fault { cause: FaultCause::InvalidOutput, detail: detail.into() }
    }

    /// Reads the runtime's error. What is neither a trap nor a refused growth arose while the host read a
    /// result or an argument: text that is not UTF-8, lists outside the memory, unknown cases, too much data.
    pub(crate) fn from_runtime(error: &wasmtime::Error) -> Self {
        use wasmtime::Trap;
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

/// The result of a call that is neither an answer.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CallError {
    /// The adapter says that the feed cannot be served.
    #[error("adapter refuses: {} is {:?}, allowed is {}", .0.field, .0.value, .0.allowed)]
    Refused(Refusal),
    /// The adapter failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why a file is not a usable adapter.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("adapter {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is too large to be an adapter.
    #[error("adapter has {bytes} bytes, allowed are {max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// A module that was not made into a component.
    #[error("adapter is a core WebAssembly module, not a component: build it with marketprism-adapter-build")]
    CoreModule,
    /// Not WebAssembly, or damaged.
    #[error("adapter is not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// A component of another kind.
    #[error("component exports no marketprism:adapter/adapter, it exports {exports}")]
    OtherWorld {
        /// What it exports.
        exports: String,
    },
    /// Made for a contract that this edge does not run.
    #[error("adapter targets contract {targets}, this edge supports {SUPPORTED}")]
    Contract {
        /// The version it was made for.
        targets: String,
    },
    /// The version is right, but its functions have other types.
    #[error(
        "adapter targets contract {targets}, this edge supports {SUPPORTED}, and the types differ: {detail}"
    )]
    Types {
        /// The version it was made for.
        targets: String,
        /// The difference that the runtime found first.
        detail: String,
    },
    /// It wants something from the host that adapters do not get.
    #[error("adapter imports {name}, allowed is only marketprism:adapter/log")]
    UndeclaredImport {
        /// The import.
        name: String,
    },
    /// `describe` failed, or what it says contradicts the contract.
    #[error("adapter cannot describe itself: {0}")]
    Describe(#[source] Fault),
}
