//! Words to the service manager that started this process (`sd_notify` of systemd). Without one they go nowhere.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Longest time for a word: the manager may be stopped or slow, and its socket full. `Alive` is said again a second later.
const WORD_WAIT: Duration = Duration::from_secs(2);
const ALIVE_WAIT: Duration = Duration::from_millis(20);
/// Longest time without `Alive` from `Restarting` to `Ready`: as `TimeoutStartSec=` of the edge's unit, which no longer counts then. The new
/// program may compile its adapters.
const RESTART_WAIT: Duration = Duration::from_secs(180);
/// `WatchdogSec=` of the unit, in microseconds.
const WATCHDOG: &str = "WATCHDOG_USEC";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// Started; what depends on this service may start.
    Ready,
    /// Its parts make progress. With `WatchdogSec=` the manager restarts a process that does not say so for that long.
    Alive,
    /// This process becomes a new start of its program. The manager is not told of a stop: it would kill what does not end after it, and
    /// takes no `Ready` any more.
    Restarting,
    Stopping,
}

impl ServiceState {
    /// `watchdog`: the time of the unit, if it has one.
    fn word(self, watchdog: Option<&str>) -> String {
        match (self, watchdog) {
            (Self::Ready, Some(watchdog)) => format!("READY=1\n{WATCHDOG}={watchdog}\n"),
            (Self::Ready, None) => "READY=1\n".to_owned(),
            (Self::Restarting, Some(_)) => format!("{WATCHDOG}={}\n", RESTART_WAIT.as_micros()),
            (Self::Alive | Self::Restarting, _) => "WATCHDOG=1\n".to_owned(),
            (Self::Stopping, _) => "STOPPING=1\n".to_owned(),
        }
    }
}

/// A manager that cannot be reached is a WARN, except for `Alive`, which is said every second.
pub fn tell_service_manager(state: ServiceState) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let watchdog = std::env::var(WATCHDOG).ok().filter(|time| time.parse::<u64>().is_ok());
    let limit = if state == ServiceState::Alive { ALIVE_WAIT } else { WORD_WAIT };
    match send(&socket, &state.word(watchdog.as_deref()), limit) {
        Ok(()) => {}
        Err(error) if state == ServiceState::Alive => {
            tracing::debug!(%error, "the service manager cannot be reached");
        }
        Err(error) => tracing::warn!(%error, ?state, "the service manager cannot be reached"),
    }
}

/// `socket`: a path, or an abstract name behind `@`.
fn send(socket: &OsStr, word: &str, limit: Duration) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(limit))?;
    sender.send_to_addr(word.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unit without a watchdog must not get one.
    #[test]
    fn a_restart_has_its_own_time_where_the_unit_has_a_watchdog_and_ends_with_that_of_the_unit() {
        let words =
            |watchdog| [ServiceState::Restarting, ServiceState::Ready].map(|state| state.word(watchdog));
        assert_eq!(
            words(Some("60000000")),
            ["WATCHDOG_USEC=180000000\n", "READY=1\nWATCHDOG_USEC=60000000\n"]
        );
        assert_eq!(words(None), ["WATCHDOG=1\n", "READY=1\n"]);
    }

    #[test]
    fn words_arrive_and_a_manager_that_reads_nothing_does_not_hold_the_process_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1\n", WORD_WAIT).unwrap();
        let mut word = [0; 16];
        let length = manager.recv(&mut word).unwrap();
        assert_eq!(&word[..length], b"READY=1\n");
        // The system bounds the words that wait in a socket.
        let full = (0..1_000_000).find_map(|_| send(path.as_os_str(), "WATCHDOG=1\n", ALIVE_WAIT).err());
        assert_eq!(full.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));

        let name = format!("marketprism-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1\n", WORD_WAIT).unwrap();
        assert_eq!(manager.recv(&mut word).unwrap(), "STOPPING=1\n".len());
    }
}
