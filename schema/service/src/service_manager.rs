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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// Started; what depends on this service may start.
    Ready,
    /// Its parts make progress. With `WatchdogSec=` the manager restarts a process that does not say so for that long.
    Alive,
    Stopping,
}

/// A manager that cannot be reached is a WARN, except for `Alive`, which is said every second.
pub fn tell_service_manager(state: ServiceState) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let (word, limit) = match state {
        ServiceState::Ready => ("READY=1\n", WORD_WAIT),
        ServiceState::Alive => ("WATCHDOG=1\n", ALIVE_WAIT),
        ServiceState::Stopping => ("STOPPING=1\n", WORD_WAIT),
    };
    match send(&socket, word, limit) {
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
