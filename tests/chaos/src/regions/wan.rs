//! A long way between two namespaces: every packet goes through this process, which delays it, loses some, and can carry nothing at all. So
//! it needs no `netem` of the kernel's, and neither end is notified of a cut.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::namespace::{self, Namespace, ip};

/// Packets on their way in one direction. With so many no more are read: the device's own queue fills, and the kernel drops what does not fit.
const PACKETS_MAX: usize = 4_096;
const PACKET_BYTES_MAX: usize = 65_535;
pub const TUN: &str = "/dev/net/tun";
/// `TUNSETIFF` of `linux/if_tun.h`.
const SET_DEVICE: libc::c_ulong = 0x4004_54ca;

#[derive(Debug, Default)]
struct WanState {
    is_cut: AtomicBool,
    carried: AtomicU64,
    bytes: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug)]
pub struct Wan {
    state: Arc<WanState>,
    directions: [JoinHandle<()>; 2],
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.directions.iter().for_each(JoinHandle::abort);
    }
}

/// One end: a namespace, the name of its device, and its address.
pub type End<'a> = (&'a Namespace, &'a str, &'a str);

impl Wan {
    /// `loss`: share of packets. The packets are carried by tasks of `runtime`.
    pub fn between(ends: [End<'_>; 2], runtime: &Runtime, delay: Duration, loss: f64, seed: u64) -> Self {
        let _inside = runtime.enter();
        let addresses = ends.map(|(_, _, address)| address);
        let [near, far] = [(ends[0], addresses[1]), (ends[1], addresses[0])].map(|(end, peer)| {
            let (namespace, device, own) = end;
            let file = open(device).unwrap_or_else(|error| panic!("{TUN}, device {device}: {error}"));
            ip(&["link", "set", device, "netns", namespace.name()]).unwrap();
            namespace::address(namespace, device, own, peer);
            // SAFETY: the file is the descriptor's only owner, and nothing here closes or exchanges it.
            #[allow(unsafe_code)]
            let registered = unsafe { AsyncFd::register(file) };
            Arc::new(registered.unwrap())
        });
        let state = Arc::new(WanState::default());
        let carry = |from: &Arc<AsyncFd<File>>, to: &Arc<AsyncFd<File>>, seed| {
            let direction = Direction {
                from: Arc::clone(from),
                to: Arc::clone(to),
                state: Arc::clone(&state),
                delay,
                loss,
                random: StdRng::seed_from_u64(seed),
            };
            runtime.spawn(direction.carry())
        };
        let directions = [carry(&near, &far, seed), carry(&far, &near, !seed)];
        Self { state, directions }
    }

    /// From now on nothing passes, and what is on its way is lost.
    pub fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
    }

    pub fn open(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }

    /// Bytes that passed.
    pub fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::Relaxed)
    }

    /// Packets that passed, and packets that were lost.
    pub fn packets(&self) -> (u64, u64) {
        (self.state.carried.load(Ordering::Relaxed), self.state.lost.load(Ordering::Relaxed))
    }
}

struct Direction {
    from: Arc<AsyncFd<File>>,
    to: Arc<AsyncFd<File>>,
    state: Arc<WanState>,
    delay: Duration,
    loss: f64,
    random: StdRng,
}

impl Direction {
    async fn carry(mut self) {
        let mut on_their_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        loop {
            let due = on_their_way.front().map(|(due, _)| *due);
            tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some((_, packet)) = on_their_way.pop_front() {
                        self.deliver(&packet);
                    }
                }
                packet = read(&self.from), if on_their_way.len() < PACKETS_MAX => {
                    if self.random.random_bool(self.loss) {
                        self.state.lost.fetch_add(1, Ordering::Relaxed);
                    } else {
                        on_their_way.push_back((Instant::now() + self.delay, packet));
                    }
                }
            }
        }
    }

    /// A device that takes no packet loses it, as a router does.
    fn deliver(&self, packet: &[u8]) {
        let is_cut = self.state.is_cut.load(Ordering::SeqCst);
        let is_carried = !is_cut && self.to.get_ref().write(packet).is_ok();
        if is_carried {
            self.state.bytes.fetch_add(packet.len() as u64, Ordering::Relaxed);
        }
        let count = if is_carried { &self.state.carried } else { &self.state.lost };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

async fn read(from: &AsyncFd<File>) -> Vec<u8> {
    let mut packet = vec![0; PACKET_BYTES_MAX];
    loop {
        let mut ready = from.readable().await.unwrap();
        match ready.try_io(|file| file.get_ref().read(&mut packet)) {
            Ok(Ok(length)) => {
                packet.truncate(length);
                return packet;
            }
            // A device that is not up yet, or no more.
            Ok(Err(error)) if error.kind() != ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// A new device of this thread's namespace.
fn open(device: &str) -> std::io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(TUN)?;
    // The name and flags of `struct ifreq`.
    let mut request = [0_u8; 40];
    assert!(device.len() < 16, "{device}");
    request[..device.len()].copy_from_slice(device.as_bytes());
    let flags = u16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap();
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads and writes `struct ifreq`, 40 bytes, which `request` has.
    #[allow(unsafe_code)]
    let status = unsafe { libc::ioctl(file.as_raw_fd(), SET_DEVICE as _, request.as_mut_ptr()) };
    if status == 0 { Ok(file) } else { Err(std::io::Error::last_os_error()) }
}
