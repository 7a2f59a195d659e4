//! Where things stand on disk.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::{Console, limits};

/// Moves the cache of downloads, so that several checkouts share one.
const CACHE_VARIABLE: &str = "MARKETPRISM_CACHE";

/// One of the servers of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The one that keeps the hot database, and the cold one unless that is apart.
    Hot,
    /// The one that keeps the cold database where it is apart.
    Cold,
}

/// The folders of one stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The repository.
    pub root: PathBuf,
    /// Everything the stack writes, but the cache: `.marketprism`.
    pub state: PathBuf,
    /// Downloads: `.marketprism/cache`, or where `MARKETPRISM_CACHE` says.
    pub cache: PathBuf,
}

impl Home {
    /// The stack of a repository.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        let state = root.join(".marketprism");
        Self { root: root.to_path_buf(), cache: state.join("cache"), state }
    }

    /// The stack of the repository around the working directory. `MARKETPRISM_CACHE` moves the cache.
    pub fn find() -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the working directory cannot be read")?;
        let is_repository = |folder: &&Path| folder.join("deploy/local/venues.toml").is_file();
        let Some(root) = here.ancestors().find(is_repository) else {
            bail!("{} is not inside the repository (no deploy/local/venues.toml above it)", here.display());
        };
        let mut home = Self::of(root);
        if let Some(cache) = std::env::var_os(CACHE_VARIABLE).filter(|cache| !cache.is_empty()) {
            home.cache = std::path::absolute(&cache).context("MARKETPRISM_CACHE cannot be used")?;
        }
        Ok(home)
    }

    /// Configuration files, written by each start.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.state.join("config")
    }

    /// Output of the parts.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Who runs.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.state.join("run")
    }

    /// Release binaries of the repository; beside this program where it stands among them, so that a moved target folder works.
    #[must_use]
    pub fn binaries(&self) -> PathBuf {
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
        beside
            .filter(|folder| folder.join("marketprism-edge").is_file())
            .unwrap_or_else(|| self.root.join("target/release"))
    }

    /// Data of an engine: as our own server keeps it, and as a `clickhouse server` of this machine does.
    #[must_use]
    pub fn engine_data(&self, engine: Engine) -> [PathBuf; 2] {
        let names = match engine {
            Engine::Hot => ["clickhouse", "clickhouse-server"],
            Engine::Cold => ["clickhouse-cold", "clickhouse-cold-server"],
        };
        names.map(|name| self.state.join(name))
    }

    /// What a request that changes state must show; made by the first start.
    #[must_use]
    pub fn token(&self) -> PathBuf {
        self.config().join("token")
    }

    /// A path as people see it: from the repository where it stands inside.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    /// Folders of data that `down --purge` deletes.
    #[must_use]
    pub fn data(&self) -> Vec<PathBuf> {
        let engines = [Engine::Hot, Engine::Cold].map(|engine| self.engine_data(engine));
        let rest = ["nats", "edge", "config", "logs"].map(|name| self.state.join(name));
        engines.into_iter().flatten().chain(rest).collect()
    }
}

/// A lock that the kernel frees when its holder ends, however it ends.
#[derive(Debug)]
pub struct FileLock {
    /// Closing it frees the lock.
    _file: File,
}

impl FileLock {
    /// Takes the lock, waiting for another holder, who is named.
    pub fn take(path: &Path, console: &Console) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let begun = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if begun.elapsed() > limits::LOCK_WAIT => {
                    return Err(std::io::Error::new(
                        std::io::ErrorKind::TimedOut,
                        format!("{} is still held by another marketprism-local", path.display()),
                    ));
                }
                Err(TryLockError::WouldBlock) => {}
            }
            if !told {
                let mut holder = String::new();
                file.rewind()?;
                file.read_to_string(&mut holder)?;
                let holder = match holder.trim() {
                    // It has the lock, and has not come to writing its id.
                    "" => String::new(),
                    pid => format!(" (pid {pid})"),
                };
                console.say(format!("waiting for another marketprism-local{holder}"));
                told = true;
            }
            std::thread::sleep(limits::PART_POLL);
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}
