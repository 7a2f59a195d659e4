//! Paths of the stack.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use marketprism_service::FileLock;

use crate::{Console, limits};

/// Moves the download cache, so that several checkouts share one.
const CACHE_VARIABLE: &str = "MARKETPRISM_CACHE";

/// A ClickHouse server of the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Keeps the hot database, and the cold one unless that is apart.
    Hot,
    /// Keeps the cold database if that is apart.
    Cold,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackPaths {
    pub root: PathBuf,
    /// `.marketprism`: everything the stack writes except the cache.
    pub state: PathBuf,
    /// Downloads: `.marketprism/cache`, or `MARKETPRISM_CACHE`.
    pub cache: PathBuf,
}

impl StackPaths {
    pub fn of(root: &Path) -> Self {
        let state = root.join(".marketprism");
        Self { root: root.to_path_buf(), cache: state.join("cache"), state }
    }

    /// The stack of the repository that contains the working directory.
    pub fn find() -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the working directory cannot be read")?;
        let is_repository = |folder: &&Path| folder.join("deploy/local/venues.toml").is_file();
        let Some(root) = here.ancestors().find(is_repository) else {
            bail!("{} is not inside the repository (no deploy/local/venues.toml above it)", here.display());
        };
        let mut paths = Self::of(root);
        if let Some(cache) = std::env::var_os(CACHE_VARIABLE).filter(|cache| !cache.is_empty()) {
            paths.cache = std::path::absolute(&cache).context("MARKETPRISM_CACHE is not a usable path")?;
        }
        Ok(paths)
    }

    pub fn config(&self) -> PathBuf {
        self.state.join("config")
    }

    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    pub fn run(&self) -> PathBuf {
        self.state.join("run")
    }

    /// Folder of the binaries: that of this program if they are there too, so that a moved target folder works.
    pub fn binaries(&self) -> PathBuf {
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
        beside
            .filter(|folder| folder.join("marketprism-edge").is_file())
            .unwrap_or_else(|| self.root.join("target/debug"))
    }

    /// Data folders of an engine: of the embedded server, and of a `clickhouse server` of this machine.
    pub fn engine_data(&self, engine: Engine) -> [PathBuf; 2] {
        let names = match engine {
            Engine::Hot => ["clickhouse", "clickhouse-server"],
            Engine::Cold => ["clickhouse-cold", "clickhouse-cold-server"],
        };
        names.map(|name| self.state.join(name))
    }

    /// Authorizes requests that change state; created by the first start.
    pub fn token(&self) -> PathBuf {
        self.config().join("token")
    }

    /// Password of the user `default` of the stack's own ClickHouse servers; created by the first start.
    pub fn clickhouse_password(&self) -> PathBuf {
        self.config().join("clickhouse-password")
    }

    /// A path relative to the repository if it is inside.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// Data folders that `down --purge` deletes.
    pub fn data(&self) -> Vec<PathBuf> {
        let engines = [Engine::Hot, Engine::Cold].map(|engine| self.engine_data(engine));
        let rest = ["nats", "edge", "config", "logs"].map(|name| self.state.join(name));
        engines.into_iter().flatten().chain(rest).collect()
    }
}

/// Takes a lock; while it waits it names the holder.
pub fn lock(path: &Path, console: &Console) -> std::io::Result<FileLock> {
    let started = Instant::now();
    let mut is_shown = false;
    loop {
        let holder = match FileLock::try_take(path)? {
            Ok(lock) => return Ok(lock),
            Err(holder) => holder,
        };
        if started.elapsed() > limits::LOCK_WAIT {
            let text = format!("{} is still locked by another marketprism-local", path.display());
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text));
        }
        if !std::mem::replace(&mut is_shown, true) {
            console.say(format!("waiting for another marketprism-local (pid {holder})"));
        }
        std::thread::sleep(limits::PART_POLL);
    }
}
