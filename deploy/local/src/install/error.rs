//! Why an install fails.

use std::path::{Path, PathBuf};

/// Why an install fails. Nothing is ever left in place half-done.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The package is not made for this machine.
    #[error("{title} is installed on linux x86_64 only, and this is {platform}: {otherwise}")]
    Platform {
        /// The part.
        title: String,
        /// This machine.
        platform: String,
        /// What to do instead.
        otherwise: String,
    },
    /// The registry's client is not on this machine.
    #[error(
        "{title} cannot be installed: {tool} is not on PATH (debian: apt-get install {debian}); instead of it, {otherwise}"
    )]
    ToolMissing {
        /// The part.
        title: String,
        /// The client.
        tool: &'static str,
        /// The system packages that bring it.
        debian: &'static str,
        /// What to do instead.
        otherwise: String,
    },
    /// The registry's client failed.
    #[error("{title} cannot be fetched: `{command}` {outcome}; instead of it, {otherwise}{output}")]
    ToolFailed {
        /// The part.
        title: String,
        /// The command.
        command: String,
        /// How it ended.
        outcome: String,
        /// What to do instead.
        otherwise: String,
        /// The end of what it wrote, each line indented.
        output: String,
    },
    /// The package is not the one that was pinned.
    #[error(
        "{title}: {package} has digest {found}, pinned is {expected}; it was not used and is deleted by the next run"
    )]
    Digest {
        /// The part.
        title: String,
        /// The downloaded file.
        package: String,
        /// Its digest.
        found: String,
        /// The pinned digest.
        expected: String,
    },
    /// The package does not hold what it should.
    #[error("{title}: {package} cannot be unpacked: {why}")]
    Unpack {
        /// The part.
        title: String,
        /// The downloaded file.
        package: String,
        /// Why not.
        why: String,
    },
    /// A variable names a file that is not there.
    #[error("{variable} names {}, which is no file", .path.display())]
    Named {
        /// The variable.
        variable: &'static str,
        /// Its value.
        path: PathBuf,
    },
    /// The disk.
    #[error("{path}: {source}")]
    Disk {
        /// Where.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl InstallError {
    pub(super) fn disk(path: &Path, source: std::io::Error) -> Self {
        Self::Disk { path: path.display().to_string(), source }
    }
}
