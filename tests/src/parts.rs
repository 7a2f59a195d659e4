//! Locations of the parts under test: binaries, adapters, broker, engine library, recordings.

use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A text file of the repository.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A binary of this workspace, from the build profile of the running test.
pub fn binary(name: &str) -> PathBuf {
    let running = std::env::current_exe().unwrap();
    let beside = running.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let found = beside.clone().find(|path| path.is_file());
    found.unwrap_or_else(|| needed(beside.last().unwrap(), "cargo build --workspace --bins"))
}

pub fn adapter(name: &str) -> PathBuf {
    needed(root().join("target/adapters").join(format!("{name}.wasm")), "make build")
}

/// The component of an exchange; it is named like the exchange without its market.
pub fn adapter_of(exchange: &str) -> PathBuf {
    adapter(exchange.split('_').next().unwrap_or(exchange))
}

pub fn nats_server() -> PathBuf {
    needed(location(NATS_SERVER), "make deps")
}

/// Library of the embedded ClickHouse engine.
pub fn clickhouse_library() -> PathBuf {
    needed(location(CLICKHOUSE_LIBRARY), "make deps")
}

pub fn python() -> PathBuf {
    needed(location(PYTHON), "make deps")
}

/// A captured recording. `None` in a clone without the folder of recordings.
pub fn recording(name: &str) -> Option<PathBuf> {
    let path = root().join("../shared/recordings").join(name);
    path.exists().then_some(path)
}

/// The first of nats-server and the engine's library that is missing; for tests that are skipped then, but not in `make test`, which installs
/// both.
pub fn missing() -> Option<PathBuf> {
    let missing =
        [location(NATS_SERVER), location(CLICKHOUSE_LIBRARY)].into_iter().find(|path| !path.exists());
    missing.inspect(|path| may_be_skipped(path))
}

/// Fails in `make test`, where what `make deps` installs must be there: with a wrong location the tests that need it would all pass.
pub fn may_be_skipped(missing: &Path) {
    let is_complete = std::env::var_os("MARKETPRISM_TESTS").is_some_and(|tests| tests == "complete");
    assert!(!is_complete, "{} is missing: run `make deps`", missing.display());
}

/// Environment variable, and location in the cache of the installer.
type Installed = (&'static str, &'static str);

const NATS_SERVER: Installed = ("MARKETPRISM_NATS_SERVER", "nats-server-2.15.1/nats-server");
const CLICKHOUSE_LIBRARY: Installed = ("MARKETPRISM_LIBCHDB", "libchdb-26.5.3/libchdb.so");
const PYTHON: Installed = ("MARKETPRISM_PYTHON", "python/bin/python");

fn location((variable, cached): Installed) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || {
            let cache = std::env::var_os("MARKETPRISM_CACHE").map(PathBuf::from);
            cache.unwrap_or_else(|| root().join(".marketprism/cache")).join(cached)
        },
        PathBuf::from,
    )
}

fn needed(path: PathBuf, command: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `{command}` (`make test` does)", path.display());
    path
}

/// A browser for pages; `None` after printing how to get it.
pub fn chromium() -> Option<PathBuf> {
    let found = program("MARKETPRISM_CHROMIUM", &["chromium", "chromium-browser", "google-chrome"]);
    if found.is_none() {
        eprintln!("SKIPPED: no chromium; install it or name it with MARKETPRISM_CHROMIUM");
    }
    found
}

/// A program of this machine: the one that the variable names, else the first of `names` on `PATH`.
pub fn program(variable: &str, names: &[&str]) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name))).find(|file| file.is_file())
}
