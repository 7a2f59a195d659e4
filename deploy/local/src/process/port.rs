//! The process that listens on a port, from `/proc`.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use super::command_of;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortHolder {
    /// A process that this user may inspect.
    Process { pid: u32, command: String },
    /// A process of another user.
    User { uid: u32 },
    /// In another network namespace, or ended meanwhile.
    Unknown,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, command } => write!(f, "pid {pid}: {command}"),
            Self::User { uid } => write!(f, "a process of user id {uid}"),
            Self::Unknown => write!(f, "an unknown process"),
        }
    }
}

/// Can a server listen on this loopback port now? Other obstacles than an occupied port (such as a
/// privileged port) are errors.
pub fn is_free(port: u16) -> std::io::Result<bool> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(false),
        Err(error) => Err(error),
    }
}

#[must_use]
pub fn holder_of(port: u16) -> PortHolder {
    let listeners: Vec<Listener> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| listeners(&table, port))
        .collect();
    let of_process = listeners.iter().find_map(|listener| {
        let pid = owner_of_socket(listener.inode)?;
        Some(PortHolder::Process { pid, command: command_of(pid).unwrap_or_else(|| "?".to_owned()) })
    });
    let of_user = || listeners.first().map(|listener| PortHolder::User { uid: listener.uid });
    of_process.or_else(of_user).unwrap_or(PortHolder::Unknown)
}

#[derive(Debug, PartialEq, Eq)]
struct Listener {
    uid: u32,
    inode: u64,
}

/// Listening sockets of one table in the form of `proc(5)`.
fn listeners(table: &str, port: u16) -> Vec<Listener> {
    const LISTENING: &str = "0A";
    let listener = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (_, local_port) = fields.next()?.rsplit_once(':')?;
        let state = fields.nth(1)?;
        let is_it = state == LISTENING && u16::from_str_radix(local_port, 16) == Ok(port);
        // Then come the queues, the timer and the retransmits.
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        is_it.then_some(Listener { uid, inode })
    };
    table.lines().filter_map(listener).collect()
}

fn owner_of_socket(inode: u64) -> Option<u32> {
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").ok()?;
    let mut pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        let mut targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        targets.any(|target| target.as_os_str() == wanted.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listeners_of_the_port_are_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F9B 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0000 100 0\n   \
            1: 0100007F:1F9B 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0000 20 4\n   \
            2: 00000000:1F9C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4244 1 0000 100 0\n";
        assert_eq!(listeners(table, 8091), [Listener { uid: 1000, inode: 4242 }]);
        assert_eq!(listeners(table, 8092), [Listener { uid: 0, inode: 4244 }]);
        assert_eq!(listeners(table, 8093), []);
    }

    #[test]
    fn the_holder_of_a_port_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port).unwrap());
        let PortHolder::Process { pid, command } = holder_of(port) else { panic!("{:?}", holder_of(port)) };
        assert_eq!(pid, std::process::id());
        assert!(command.contains("marketprism_local"), "{command}");
        drop(listener);
        assert!(is_free(port).unwrap());
    }
}
