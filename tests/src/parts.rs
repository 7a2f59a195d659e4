//! Where the parts under test are: our binaries, the adapters, the broker, the engine's library, the recordings.

use std::path::{Path, PathBuf};

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A binary of this workspace, from the one build profile.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    needed(target.join("release").join(name), "make build")
}

/// A built adapter component.
#[must_use]
pub fn adapter(name: &str) -> PathBuf {
    needed(root().join("target/adapters").join(format!("{name}.wasm")), "make build")
}

/// The component that serves an exchange: its name is the exchange's up to the market.
#[must_use]
pub fn adapter_of(exchange: &str) -> PathBuf {
    adapter(exchange.split('_').next().unwrap_or(exchange))
}

/// The real nats-server.
#[must_use]
pub fn nats_server() -> PathBuf {
    installed("MARKETPRISM_NATS_SERVER", "nats-server-2.15.1/nats-server")
}

/// The library of the embedded ClickHouse engine.
#[must_use]
pub fn clickhouse_library() -> PathBuf {
    installed("MARKETPRISM_LIBCHDB", "libchdb-26.5.3/libchdb.so")
}

/// A Python that has clickhouse-connect.
#[must_use]
pub fn python() -> PathBuf {
    installed("MARKETPRISM_PYTHON", "python/bin/python")
}

/// A captured recording; nothing where the folder is not there (a user's clone).
#[must_use]
pub fn recording(name: &str) -> Option<PathBuf> {
    let path = root().join("../shared/recordings").join(name);
    path.exists().then_some(path)
}

fn installed(variable: &str, cached: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => needed(PathBuf::from(path), "make deps"),
        None => {
            let cache = std::env::var_os("MARKETPRISM_CACHE").map(PathBuf::from);
            needed(cache.unwrap_or_else(|| root().join(".marketprism/cache")).join(cached), "make deps")
        }
    }
}

fn needed(path: PathBuf, command: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `{command}` (or `make test`, which does)", path.display());
    path
}
