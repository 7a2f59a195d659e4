//! A connection between two parts that a test can hold up without closing it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How often a byte that is held up looks whether it may pass.
const LOOK: Duration = Duration::from_millis(2);

/// A port that leads to another one, for as long as the link is open. While it is shut connections stand and bring nothing, new ones as
/// well, and what was on its way arrives when it is opened: a network that has a hole, not a peer that says no.
pub struct Link {
    near: u16,
    far: u16,
    gate: Gate,
    accepting: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Bytes that may still pass towards the far end before everything is held up; none: any number.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<Option<u64>>>);

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

impl Gate {
    fn set(&self, left: Option<u64>) {
        *self.0.lock().unwrap() = left;
    }

    fn may_pass(&self, way: Way, bytes: usize) -> bool {
        let mut left = self.0.lock().unwrap();
        match &mut *left {
            Some(0) => return false,
            Some(left) if way == Way::There => *left = left.saturating_sub(bytes.try_into().unwrap()),
            _ => {}
        }
        true
    }

    async fn pass(&self, way: Way, bytes: usize) {
        while !self.may_pass(way, bytes) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Link {
    /// An open link to a port.
    pub async fn to(far: u16) -> Self {
        // Small, so that what is held up is with its sender: a peer that is stopped then is stopped in the middle of it.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let near = listener.local_addr().unwrap().port();
        let gate = Gate::default();
        let accepting = tokio::spawn(accept(listener, far, gate.clone()));
        Self { near, far, gate, accepting }
    }

    /// The port to connect to.
    pub const fn near(&self) -> u16 {
        self.near
    }

    /// The port it leads to.
    pub const fn far(&self) -> u16 {
        self.far
    }

    /// Holds everything up from now on.
    pub fn shut(&self) {
        self.gate.set(Some(0));
    }

    /// Holds everything up when so many more bytes have passed towards the far end.
    pub fn shut_after(&self, bytes: u64) {
        self.gate.set(Some(bytes));
    }

    /// Whether everything is held up.
    pub fn is_shut(&self) -> bool {
        *self.gate.0.lock().unwrap() == Some(0)
    }

    /// Lets everything pass.
    pub fn open(&self) {
        self.gate.set(None);
    }
}

async fn accept(listener: TcpListener, far: u16, gate: Gate) {
    let mut relays = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        // Nobody at the far end: the near one is closed at once, as it would be without the link.
        let Ok(far) = TcpStream::connect(("127.0.0.1", far)).await else { continue };
        for stream in [&near, &far] {
            stream.set_nodelay(true).unwrap();
        }
        let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
        relays.spawn(relay(from_near, to_far, gate.clone(), Way::There));
        relays.spawn(relay(from_far, to_near, gate.clone(), Way::Back));
        while relays.try_join_next().is_some() {}
    }
}

async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, gate: Gate, way: Way) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        gate.pass(way, length).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // Nobody hears of the end of a connection either while it is held up.
    gate.pass(way, 0).await;
    let _ = to.shutdown().await;
}
