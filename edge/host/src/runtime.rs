//! The WebAssembly engine of the process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use wasmtime::{Cache, CacheConfig, Config, OptLevel, WasmBacktraceDetails};

/// Time between two looks at the deadlines. Shorter would interrupt calls more exactly and all the others
/// more often.
const TICK: Duration = Duration::from_millis(10);

/// Stack of a call. The thread that calls must have more than this.
const STACK_BYTES: usize = 512 << 10;

/// Compiles and runs adapters. One per process; clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
}

/// Why the engine cannot start.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The compile cache cannot be used.
    #[error("compile cache {} cannot be used: {detail}", path.display())]
    Cache {
        /// Its directory.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// This machine or its settings cannot run the engine.
    #[error("webassembly engine cannot start: {0}")]
    Start(String),
    /// The thread that watches the deadlines cannot start.
    #[error("deadline thread cannot start: {0}")]
    Thread(#[source] std::io::Error),
}

impl Engine {
    /// Starts an engine, and a thread that watches the deadlines and ends with it.
    ///
    /// With `cache_dir`, compiled adapters are kept there. The cache is keyed by the component's bytes, the
    /// engine's version and its settings. Its files are machine code that the process runs: the directory is
    /// made readable and writable by its owner only.
    ///
    /// # Errors
    /// When the directory cannot be used, or the engine or the thread cannot start.
    pub fn new(cache_dir: Option<&Path>) -> Result<Self, EngineError> {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .epoch_interruption(true)
            .cranelift_opt_level(OptLevel::Speed)
            .max_wasm_stack(STACK_BYTES)
            .relaxed_simd_deterministic(true)
            .wasm_backtrace_details(WasmBacktraceDetails::Disable);
        if let Some(path) = cache_dir {
            config.cache(Some(open_cache(path)?));
        }
        let inner = wasmtime::Engine::new(&config).map_err(|e| EngineError::Start(format!("{e:#}")))?;
        let weak = inner.weak();
        std::thread::Builder::new()
            .name("adapter-deadline".into())
            .spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(TICK);
                }
            })
            .map_err(EngineError::Thread)?;
        Ok(Engine { inner })
    }

    pub(crate) fn inner(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// Ticks that are at least this time away: the next tick may come at once.
    pub(crate) fn ticks(deadline: Duration) -> u64 {
        u64::try_from(deadline.as_nanos().div_ceil(TICK.as_nanos()))
            .unwrap_or(u64::MAX >> 1)
            .saturating_add(1)
    }
}

fn open_cache(path: &Path) -> Result<Cache, EngineError> {
    let failed = |detail: String| EngineError::Cache { path: path.to_owned(), detail };
    std::fs::create_dir_all(path).map_err(|e| failed(e.to_string()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .map_err(|e| failed(e.to_string()))?;
    }
    let absolute = path.canonicalize().map_err(|e| failed(e.to_string()))?;
    let mut config = CacheConfig::new();
    config.with_directory(absolute);
    Cache::new(config).map_err(|e| failed(format!("{e:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a deadline is never shorter than asked, whenever the next tick comes. Method: round and odd
    // times.
    #[test]
    fn deadlines_round_up() {
        for (ms, ticks) in [(0, 1), (1, 2), (10, 2), (11, 3), (100, 11)] {
            assert_eq!(Engine::ticks(Duration::from_millis(ms)), ticks);
        }
        assert!(Engine::ticks(Duration::MAX) > 1 << 60);
    }

    // Goal: the deadline thread ends with its engine. Method: drop the engine and wait until nobody can hold
    // it.
    #[test]
    fn the_deadline_thread_ends_with_the_engine() {
        let engine = Engine::new(None).unwrap();
        let weak = engine.inner().weak();
        drop(engine);
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while weak.upgrade().is_some() {
            assert!(std::time::Instant::now() < until, "the engine is still held");
            std::thread::yield_now();
        }
    }
}
