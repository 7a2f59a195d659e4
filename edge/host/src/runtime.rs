//! The WebAssembly engine of the process, with the thread that enforces deadlines.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use marketprism_service::check_host;
use thiserror::Error;
use wasmtime::component::Component;
use wasmtime::{Cache, CacheConfig, Config, OptLevel, WasmBacktraceDetails};

use crate::compile_cache::CompileCache;
use crate::host_limit::HostLimit;

/// Interval of deadline checks. A shorter one is more exact but interrupts every call more often.
const TICK: Duration = Duration::from_millis(10);

/// Bytes of compiled adapters on disk, of other versions too, above which the engine deletes those used least recently. One takes about one megabyte.
const COMPILED_BYTES: u64 = 64 << 20;

/// Stack of a call; the calling thread needs more than this.
const STACK_BYTES: usize = 512 << 10;

/// Compiles and runs adapters. One per process; clones share it.
#[derive(Clone)]
pub struct Engine {
    inner: wasmtime::Engine,
    cache: Option<Arc<CompileCache>>,
}

/// Error at the start of the engine.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The machine or its settings cannot run the engine.
    #[error("webassembly engine cannot start: {0}")]
    Start(String),
    /// The host denies what every engine needs.
    #[error(transparent)]
    Host(#[from] HostLimit),
}

impl Engine {
    /// Starts an engine and its deadline thread, which ends with it.
    ///
    /// Compiled adapters are cached in `cache_dir` by component bytes, engine version and settings. The files are
    /// machine code that the process runs, so only the owner may read and write the directory, and damaged ones are
    /// compiled again. A directory that cannot be used so costs the time to compile, with a warning.
    pub fn new(cache_dir: Option<&Path>) -> Result<Self, EngineError> {
        // Compiler and cache start threads by libraries that panic when one does not start.
        check_host().map_err(|limit| HostLimit::of_threads(&limit))?;
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .epoch_interruption(true)
            .cranelift_opt_level(OptLevel::Speed)
            .max_wasm_stack(STACK_BYTES)
            .relaxed_simd_deterministic(true)
            .wasm_backtrace_details(WasmBacktraceDetails::Disable);
        let mut cache = None;
        if let Some(path) = cache_dir {
            match open_cache(path) {
                Ok((files, kept)) => {
                    config.cache(Some(files));
                    cache = Some(Arc::new(kept));
                }
                Err(error) => {
                    let folder = path.display();
                    tracing::warn!(
                        %folder,
                        error,
                        "compiled adapters are not kept, each start compiles them: give the folder to the user that runs this program, or remove it"
                    );
                }
            }
        }
        let inner = wasmtime::Engine::new(&config).map_err(|error| match HostLimit::of(&error) {
            Some(limit) => EngineError::Host(limit),
            None => EngineError::Start(format!("{error:#}")),
        })?;
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
            .map_err(|error| HostLimit::of_thread(&error))?;
        Ok(Engine { inner, cache })
    }

    /// Compiles a component, or reads what was compiled before.
    pub(crate) fn compile(&self, bytes: &[u8]) -> wasmtime::Result<Component> {
        let compile = || Component::from_binary(&self.inner, bytes);
        match &self.cache {
            Some(cache) => cache.load(compile).map_err(|error| {
                wasmtime::Error::from(error).context("the files of compiled adapters cannot be used")
            })?,
            None => compile(),
        }
    }

    pub(crate) fn inner(&self) -> &wasmtime::Engine {
        &self.inner
    }

    /// Ticks of at least this duration; the next tick may come at once.
    pub(crate) fn ticks(deadline: Duration) -> u64 {
        u64::try_from(deadline.as_nanos().div_ceil(TICK.as_nanos()))
            .unwrap_or(u64::MAX >> 1)
            .saturating_add(1)
    }
}

/// With proven files only. The error is a text: what comes of it is a start without the cache.
fn open_cache(path: &Path) -> Result<(Cache, CompileCache), String> {
    let failed = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mut permissions = path.metadata().map_err(failed)?.permissions();
        // Some file systems refuse every change.
        if permissions.mode() & 0o777 != 0o700 {
            permissions.set_mode(0o700);
            std::fs::set_permissions(path, permissions).map_err(failed)?;
        }
    }
    let kept = CompileCache::new(path.canonicalize().map_err(failed)?);
    if let Err(error) = kept.delete_former() {
        tracing::warn!(folder = %path.display(), %error, "compiled adapters of earlier builds cannot be deleted; nothing uses them");
    }
    kept.delete_unproven().map_err(failed)?;
    let mut config = CacheConfig::new();
    config.with_directory(kept.engine_folder());
    config.with_files_total_size_soft_limit(COMPILED_BYTES);
    // The digests are those of the files as they were first written.
    config.with_optimized_compression_usage_counter_threshold(u64::MAX);
    Ok((Cache::new(config).map_err(|error| format!("{error:#}"))?, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_round_up() {
        for (ms, ticks) in [(0, 1), (1, 2), (10, 2), (11, 3), (100, 11)] {
            assert_eq!(Engine::ticks(Duration::from_millis(ms)), ticks);
        }
        assert!(Engine::ticks(Duration::MAX) > 1 << 60);
    }

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
