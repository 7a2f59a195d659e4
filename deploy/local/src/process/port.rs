//! The process that listens on a port, from `/proc`.

use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process};

use super::command_of;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortHolder {
    /// A process that this user may inspect.
    Process {
        pid: u32,
        command: String,
    },
    User {
        uid: u32,
    },
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

pub fn holder_of(port: u16) -> PortHolder {
    let sockets = [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flatten().flatten();
    let is_listener =
        |socket: &TcpNetEntry| socket.state == TcpState::Listen && socket.local_address.port() == port;
    let listeners: Vec<TcpNetEntry> = sockets.filter(is_listener).collect();
    let of_process = listeners.iter().find_map(|listener| {
        let pid = owner_of_socket(listener.inode)?;
        Some(PortHolder::Process { pid, command: command_of(pid).unwrap_or_else(|| "?".to_owned()) })
    });
    let of_user = || listeners.first().map(|listener| PortHolder::User { uid: listener.uid });
    of_process.or_else(of_user).unwrap_or(PortHolder::Unknown)
}

fn owner_of_socket(inode: u64) -> Option<u32> {
    let owns = |process: &Process| {
        let files = process.fd().into_iter().flatten().flatten();
        files.into_iter().any(|file| file.target == FDTarget::Socket(inode))
    };
    let mut processes = procfs::process::all_processes().ok()?.filter_map(Result::ok);
    processes.find(owns).and_then(|process| u32::try_from(process.pid).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn the_holder_of_a_port_is_its_listener_and_no_connection() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(!is_free(address.port()).unwrap());
        let PortHolder::Process { pid, command } = holder_of(address.port()) else {
            panic!("{:?}", holder_of(address.port()))
        };
        assert_eq!(pid, std::process::id());
        assert!(command.contains("marketprism_local"), "{command}");
        let _client = TcpStream::connect(address).unwrap();
        let (_connection, _) = listener.accept().unwrap();
        drop(listener);
        assert_eq!(holder_of(address.port()), PortHolder::Unknown);
    }

    #[test]
    fn a_port_without_a_listener_is_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(is_free(port).unwrap());
    }
}
