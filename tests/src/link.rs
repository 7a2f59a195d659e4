//! A TCP relay between two parts that a test can hold up or cut.
//!
//! While it is shut, connections stay open and carry nothing, new ones too: a network partition, not a peer that refuses.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Interval at which held bytes check the gate.
const POLL: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub struct Link {
    near: u16,
    far: u16,
    gate: Gate,
    cuts: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Bytes that may still pass in each direction; `None`: unlimited.
#[derive(Debug, Default)]
struct Budget {
    to_far: Option<u64>,
    to_near: Option<u64>,
}

#[derive(Debug, Default)]
struct GateState {
    budget: Budget,
    /// Bytes a second towards the far end; `None`: unlimited.
    rate: Option<u32>,
    /// Number of cuts. What was held before the last one never passes.
    cuts: u64,
}

#[derive(Debug, Clone, Default)]
struct Gate(Arc<Mutex<GateState>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToFar,
    ToNear,
}

impl Gate {
    fn set(&self, budget: Budget) {
        self.0.lock().unwrap().budget = budget;
    }

    /// `cuts`: those before the connection.
    fn admits(&self, direction: Direction, bytes: usize, cuts: u64) -> bool {
        let mut state = self.0.lock().unwrap();
        if state.cuts != cuts {
            return false;
        }
        match (direction, &mut state.budget) {
            (Direction::ToFar, Budget { to_far: Some(0), .. })
            | (Direction::ToNear, Budget { to_near: Some(0), .. }) => return false,
            (Direction::ToFar, Budget { to_far: Some(left), to_near }) => {
                *left = left.saturating_sub(bytes.try_into().unwrap());
                if *left == 0 {
                    *to_near = Some(0);
                }
            }
            _ => {}
        }
        true
    }

    async fn pass(&self, direction: Direction, bytes: usize, cuts: u64) {
        while !self.admits(direction, bytes, cuts) {
            tokio::time::sleep(POLL).await;
        }
        let rate = self.0.lock().unwrap().rate.filter(|_| direction == Direction::ToFar);
        if let Some(rate) = rate {
            tokio::time::sleep(Duration::from_secs(1) * u32::try_from(bytes).unwrap() / rate).await;
        }
    }
}

impl Link {
    /// An open link to a port of this machine.
    pub async fn to(far: u16) -> Self {
        // A small buffer: held bytes stay with their sender, so a peer that is stopped then stops in the middle of a message.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 << 10).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let near = listener.local_addr().unwrap().port();
        let gate = Gate::default();
        let (cuts, cut) = watch::channel(0);
        let accepting = tokio::spawn(accept(listener, far, gate.clone(), cut));
        Self { near, far, gate, cuts, accepting }
    }

    pub const fn near(&self) -> u16 {
        self.near
    }

    pub const fn far(&self) -> u16 {
        self.far
    }

    pub fn shut(&self) {
        self.gate.set(Budget { to_far: Some(0), to_near: Some(0) });
    }

    /// Holds both directions once this many more bytes have passed towards the far end.
    pub fn shut_after(&self, bytes: u64) {
        self.gate.set(Budget { to_far: Some(bytes), to_near: None });
    }

    /// Holds only what the far end sends: it receives everything, and its answers are lost if the link is cut.
    pub fn shut_answers(&self) {
        self.gate.set(Budget { to_far: None, to_near: Some(0) });
    }

    /// True when both directions are held.
    pub fn is_shut(&self) -> bool {
        self.gate.0.lock().unwrap().budget.to_far == Some(0)
    }

    /// Carries at most this many bytes a second towards the far end.
    pub fn slow_down(&self, rate: u32) {
        self.gate.0.lock().unwrap().rate = Some(rate);
    }

    /// Lets everything pass, held bytes first.
    pub fn open(&self) {
        self.gate.set(Budget::default());
    }

    /// Closes all connections, drops held bytes, and opens the link for new connections.
    pub fn cut(&self) {
        let cuts = {
            let mut state = self.gate.0.lock().unwrap();
            *state = GateState { budget: Budget::default(), rate: state.rate, cuts: state.cuts + 1 };
            state.cuts
        };
        self.cuts.send_replace(cuts);
    }
}

async fn accept(listener: TcpListener, far: u16, gate: Gate, cut: watch::Receiver<u64>) {
    let mut relays = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        // Nobody at the far end: the near connection closes at once, as it would without the link.
        let Ok(far) = TcpStream::connect(("127.0.0.1", far)).await else { continue };
        for stream in [&near, &far] {
            stream.set_nodelay(true).unwrap();
        }
        let (gate, mut cut) = (gate.clone(), cut.clone());
        let cuts = *cut.borrow_and_update();
        relays.spawn(async move {
            let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
            let both = async {
                tokio::join!(
                    relay(from_near, to_far, &gate, Direction::ToFar, cuts),
                    relay(from_far, to_near, &gate, Direction::ToNear, cuts)
                )
            };
            tokio::select! {
                biased;
                _ = cut.changed() => {}
                _ = both => {}
            }
        });
        while relays.try_join_next().is_some() {}
    }
}

async fn relay(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    gate: &Gate,
    direction: Direction,
    cuts: u64,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        gate.pass(direction, length, cuts).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
    // The end of a connection is delayed like its bytes.
    gate.pass(direction, 0, cuts).await;
    let _ = to.shutdown().await;
}
