use std::path::{Path, PathBuf};

/// Reason of a failed install. A failed install leaves nothing in place.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    #[error("{title} is available for linux x86_64 only, this is {platform}; alternatively {otherwise}")]
    Platform { title: String, platform: String, otherwise: String },
    #[error(
        "{title} cannot be installed: {tool} is not on PATH (debian: apt-get install {debian}); alternatively {otherwise}"
    )]
    ToolMissing { title: String, tool: &'static str, debian: &'static str, otherwise: String },
    #[error("{title} cannot be fetched: `{command}` {outcome}; alternatively {otherwise}{output}")]
    ToolFailed {
        title: String,
        command: String,
        outcome: String,
        otherwise: String,
        /// The end of its output, each line indented.
        output: String,
    },
    #[error(
        "{title}: {package} has digest {found}, pinned is {expected}; it was not used and is deleted by the next run"
    )]
    Digest { title: String, package: String, found: String, expected: String },
    #[error("{title}: {package} cannot be unpacked: {why}")]
    Unpack { title: String, package: String, why: String },
    #[error("{variable} names {}, which is not a file", .path.display())]
    Named { variable: &'static str, path: PathBuf },
    #[error("{path}: {source}")]
    Disk { path: String, source: std::io::Error },
}

impl InstallError {
    pub(super) fn disk(path: &Path, source: std::io::Error) -> Self {
        Self::Disk { path: path.display().to_string(), source }
    }
}
