//! Starts the engine, serves, and shuts down.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use marketprism_service::{Exit, FileLock, HostRule, Signals, check_host};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tokio::net::TcpListener;

use crate::access::{Password, USER};
use crate::config::Arguments;
use crate::engine::{Engine, EngineOptions, Pool};
use crate::http::{EngineInfo, RefusalCounts, Service, ServiceOptions, SpoolSpace, serve};
use crate::limits::{PoolSize, STOP_WAIT};
use crate::sandbox::{self, Folders};

/// Serves until SIGTERM or SIGINT; a second signal ends the process at once.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    arguments.validate()?;
    let data = &arguments.data;
    std::fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
    let data = data.canonicalize().with_context(|| format!("cannot resolve {}", data.display()))?;
    let path = data.join("marketprism-clickhouse.lock");
    let lock = FileLock::try_take(&path).with_context(|| format!("cannot lock {}", path.display()))?;
    let lock = lock.map_err(|holder| {
        anyhow::anyhow!("data directory {} is in use by process {holder}", data.display())
    })?;
    let password_file = arguments.password_file.clone().unwrap_or_else(|| data.join("password"));
    let password = Password::load_or_create(&password_file)?;
    let library = &arguments.library;
    let library = library.canonicalize().with_context(|| format!("cannot resolve {}", library.display()))?;
    let memory_limit = arguments.memory_limit()?;
    // Bound before the engine starts, so that an occupied port fails at once.
    let listener = std::net::TcpListener::bind(arguments.listen).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    let listener = listener.with_context(|| format!("cannot listen on {}", arguments.listen))?;
    // Before the first thread: threads inherit it.
    restrict(arguments, &Folders { data: &data, library: &library })?;
    check_host().map_err(|limit| anyhow::anyhow!(limit))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let listener = runtime.block_on(async { TcpListener::from_std(listener) });
    let listener = listener.context("cannot listen")?;
    let engine = start(&EngineOptions {
        library,
        tables: data.join("engine"),
        config: data.join("engine.xml"),
        memory_limit,
        grants: arguments.grant.clone(),
    })?;
    let info = engine_info(&engine)?;
    tracing::info!(
        version = %info.version,
        data = %data.display(),
        memory_limit_mib = memory_limit >> 20,
        user = USER,
        password_file = %password_file.display(),
        "engine is open"
    );
    let general = PoolSize { threads: arguments.queries, waiting: arguments.waiting };
    let pool = Arc::new(Pool::start(engine, general)?);
    let any = ["*".to_owned()];
    let service = Service::new(ServiceOptions {
        pool: Arc::clone(&pool),
        spool: SpoolSpace::open(&data.join("spool")).context("cannot create the directory for inserts")?,
        engine: info,
        hosts: HostRule::new(arguments.listen, if arguments.allow_remote { &any } else { &[] }),
        origins: arguments.allow_origin.clone(),
        refusals: RefusalCounts::default(),
        password,
    });
    let drained = runtime.block_on(async {
        let stop = stop_signal()?;
        announce(&listener)?;
        Ok::<bool, anyhow::Error>(serve(listener, service, stop, arguments.drain()).await)
    })?;
    runtime.shutdown_timeout(STOP_WAIT);
    let closed = pool.close(STOP_WAIT);
    drop(lock);
    match (drained, closed) {
        (_, false) => bail!("cancelled queries did not stop within {} s", STOP_WAIT.as_secs()),
        (false, true) => tracing::warn!("requests longer than --drain-seconds were closed"),
        (true, true) => tracing::info!("every request was answered, tables are closed"),
    }
    Ok(())
}

fn restrict(arguments: &Arguments, folders: &Folders<'_>) -> anyhow::Result<()> {
    if arguments.no_sandbox {
        tracing::warn!(
            "--no-sandbox: the operating system does not keep the engine from files, network and programs"
        );
    } else if !sandbox::enter(folders).context("--no-sandbox starts without this")? {
        tracing::warn!(
            "this kernel has no Landlock: the operating system does not keep the engine from files; expressions inside texts \
             (structures, values) can read them"
        );
    }
    Ok(())
}

fn start(options: &EngineOptions) -> anyhow::Result<Engine> {
    // Without this folder at start the engine never runs the task that deletes dropped tables, and `DROP TABLE ... SYNC`
    // waits forever.
    let metadata = options.tables.join("metadata");
    std::fs::create_dir_all(&metadata).with_context(|| format!("cannot create {}", metadata.display()))?;
    Engine::start(options)
}

fn engine_info(engine: &Engine) -> anyhow::Result<EngineInfo> {
    let mut connection = engine.connect().context("the engine opened no connection")?;
    let mut ask = |text: &str| -> anyhow::Result<String> {
        let bytes = connection
            .plain(text, "TabSeparatedRaw")
            .with_context(|| format!("the engine rejected: {text}"))?;
        Ok(String::from_utf8(bytes)?)
    };
    let formats =
        ask("SELECT lower(name), content_type FROM system.formats WHERE is_output AND content_type != ''")?;
    let pairs = formats.lines().filter_map(|line| line.split_once('\t'));
    Ok(EngineInfo {
        version: ask("SELECT version()")?.trim().to_owned(),
        timezone: ask("SELECT timezone()")?.trim().to_owned(),
        content_types: pairs.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect(),
    })
}

/// Resolves at the first signal. The second one ends the process: the tables stay intact after any end.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    // Order matters: at the first signal the shutdown reads the flag before it is set.
    let signalled = Arc::new(AtomicBool::new(false));
    for number in [SIGTERM, SIGINT] {
        flag::register_conditional_shutdown(number, Exit::INTERRUPTED.code().into(), Arc::clone(&signalled))
            .and_then(|_| flag::register(number, Arc::clone(&signalled)))
            .context("cannot watch for signals")?;
    }
    let mut signals = Signals::new().context("cannot watch for signals")?;
    Ok(async move {
        signals.next().await;
        tracing::info!("stopping: running requests may end");
    })
}

/// Prints the address for whoever started this process.
fn announce(listener: &TcpListener) -> anyhow::Result<()> {
    let address = listener.local_addr().context("the listening address is unknown")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{address}")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
