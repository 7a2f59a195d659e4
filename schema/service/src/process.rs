//! Exit codes of all binaries in one table, printing of results and errors, and the signals that end a process: the first one asks for
//! an orderly stop, the second one ends it at once.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error_text;
use crate::journal_priority::Priority;

/// An exit code. Codes above 2 have their meaning per command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// Done, and nothing is wrong.
    pub const SUCCESS: Self = Self(0);
    /// The command failed, or what it checked has problems. `edge run`: what ends it may pass, as a port in use.
    pub const FAILED: Self = Self(1);
    /// Nothing could be done or said: wrong usage or configuration, or a server did not answer. The command-line parser uses it too.
    pub const NOT_DONE: Self = Self(2);
    /// `edge run`: it may not start here, since another process runs this edge or the host denies what it needs; trying again does not help.
    pub const NOT_STARTED: Self = Self(3);
    /// `central init`: differences that `--apply` would change. `local status`: a part does not run or is not healthy.
    pub const DIFFERS: Self = Self(3);
    /// `edge run`: frames or events were left behind at the end.
    pub const UNDELIVERED: Self = Self(4);
    /// Ended by a second signal, as shells report an interrupt.
    pub const INTERRUPTED: Self = Self(130);

    /// Ends the process now, without unwinding.
    pub fn now(self) -> ! {
        std::process::exit(self.0.into())
    }

    /// The number.
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// The error of a command with its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// The error; it is printed with its causes.
    pub error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::FAILED, error: error.into() }
    }
}

/// Gives errors their exit code.
pub trait FailureContext<T> {
    /// The failure with this code.
    fn or_exit(self, exit: Exit) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> FailureContext<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Failure> {
        self.map_err(|error| Failure { exit, error: error.into() })
    }
}

/// The end of `main`: prints `error: ` and the causes of a failure to standard error, and gives the code.
pub fn report(done: Result<Exit, Failure>) -> ExitCode {
    let exit = done.unwrap_or_else(|Failure { exit, error }| {
        let text = format!("error: {}\n", error_text(error.as_ref()));
        // Nobody is left to read it when standard error is closed.
        let _ = std::io::stderr().lock().write_all(Priority::Error.for_stderr(&text).as_bytes());
        exit
    });
    exit.into()
}

/// Prints text to standard output. A reader that closed the pipe has seen enough: no error.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// SIGTERM, SIGINT and, unless it means a reload, SIGHUP of this process. SIGQUIT keeps its meaning, an end at once with a core dump for a person who
/// looks for a fault; SIGPIPE is ignored.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// None under `nohup`, which makes a process ignore it.
    hangup: Option<Signal>,
}

impl Signals {
    /// From now on these signals do not end the process by themselves.
    pub fn new() -> std::io::Result<Self> {
        let hangup = (!ignores_hangup()).then(|| signal(SignalKind::hangup())).transpose()?;
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup })
    }

    /// SIGTERM and SIGINT alone, and SIGHUP apart, for a program that reads its configuration again at a SIGHUP.
    pub fn with_reload() -> std::io::Result<(Self, ReloadSignal)> {
        let mut signals = Self::new()?;
        let hangup = signals.hangup.take();
        Ok((signals, ReloadSignal(hangup)))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = received(self.hangup.as_mut()) => {}
        }
    }
}

/// SIGHUP.
#[derive(Debug)]
pub struct ReloadSignal(Option<Signal>);

impl ReloadSignal {
    /// Waits for the next one; for ever under `nohup`.
    pub async fn next(&mut self) {
        received(self.0.as_mut()).await;
    }
}

async fn received(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// True if the process was started to ignore SIGHUP. Without `/proc` it is taken as not.
fn ignores_hangup() -> bool {
    const HANGUP_BIT: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & HANGUP_BIT != 0)
}

/// Calls `stop` at the first signal and ends the process at the second. Returns by error only.
pub async fn cancel_on_signal(stop: impl FnOnce()) -> std::io::Result<std::convert::Infallible> {
    let mut signals = Signals::new()?;
    signals.next().await;
    tracing::info!("stopping; a second signal ends the process at once");
    stop();
    signals.next().await;
    tracing::warn!("second signal: the process ends at once");
    Exit::INTERRUPTED.now()
}
