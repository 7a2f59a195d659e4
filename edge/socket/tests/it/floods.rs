//! Venues that send more than anybody takes: memory stays bounded, and other feeds get their turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use marketprism_adapter_host::contract::Connection;
use marketprism_service::clock::now_ns;
use marketprism_socket::{
    Budgets, FeedSockets, InputBounds, InputReceiver, SocketCounter, SocketEvent, SocketOptions, http_client,
    input_queue,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::plans::{connection, plan, request};
use crate::venue::{Server, eventually, next, quick, start, start_with, stop, until, until_frame};

const MIB: usize = 1 << 20;
const PING: [u8; 2] = [0x89, 0];

/// Resident memory of this process, which is the venue too.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// A binary frame of a server, in two parts to be written one after the other.
fn frame_head(length: usize) -> Vec<u8> {
    [&[0x82, 127][..], &(length as u64).to_be_bytes()].concat()
}

fn long_ping() -> Vec<u8> {
    [&[0x89, 125][..], &[b'x'; 125]].concat()
}

/// A websocket server that writes raw bytes and reads nothing.
async fn raw<F, R>(serve: F) -> Server
where
    F: Fn(TcpStream, usize) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    Server::websocket(move |socket, number| serve(socket.into_inner(), number)).await
}

fn named(server: &Server, count: usize) -> Vec<Connection> {
    of(&server.ws(), count)
}

fn of(url: &str, count: usize) -> Vec<Connection> {
    let one = |number| Connection { name: format!("public-{number}"), ..connection(url.to_owned()) };
    (0..count).map(one).collect()
}

/// Runs a server until the test ends, on a thread of its own, which does not compete for those of the sockets; returns its address.
fn apart<R: Future<Output = Server>>(
    server: impl FnOnce() -> R + Send + 'static,
) -> (String, JoinHandle<()>) {
    let (started, address) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let server = server().await;
            started.send(server.ws()).unwrap();
            std::future::pending::<()>().await
        });
    });
    (address.recv().unwrap(), thread)
}

fn start_bounded(connections: Vec<Connection>, bytes: u32) -> (FeedSockets, InputReceiver) {
    let (sender, inputs) = input_queue(InputBounds { events: 4_096, bytes });
    (FeedSockets::start(&plan(connections), quick(), Budgets::new(), sender).unwrap(), inputs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_nobody_takes_are_bounded_in_bytes_and_none_is_lost() {
    const FRAMES: usize = 10;
    let body = Arc::new(vec![b'x'; 15 * MIB]);
    let server = raw(move |mut stream, _| {
        let body = Arc::clone(&body);
        async move {
            for _ in 0..FRAMES {
                let _ = stream.write_all(&frame_head(body.len())).await;
                let _ = stream.write_all(&body).await;
            }
            std::future::pending().await
        }
    })
    .await;
    let before = resident();
    let (sockets, mut inputs) = start_bounded(named(&server, 4), 32 << 20);
    eventually("the queue is full", || sockets.counters()[SocketCounter::Stalls] >= 2).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let grown = resident().saturating_sub(before) / MIB;
    println!("{grown} MiB for a queue of 32 MiB and two large messages being read");
    assert!(grown < 120, "memory grew by {grown} MiB");
    assert!(sockets.queued_bytes() <= 32 * MIB && sockets.queued_bytes() > 30 * MIB);
    assert!(sockets.behind_for().is_some_and(|time| time >= Duration::from_millis(400)));
    for _ in 0..4 * FRAMES {
        assert_eq!(until_frame(&mut inputs).await.data.len(), 15 * MIB);
    }
    assert!(inputs.try_recv().is_err(), "the last one is processed");
    eventually("nobody waits", || sockets.behind_for().is_none()).await;
    let peak = resident().saturating_sub(before) / MIB;
    assert!(peak < 150, "memory grew by {peak} MiB while the frames were taken");
    stop(sockets, &mut inputs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_unfinished_large_messages_a_feed_reads_two_at_a_time() {
    let (finish, finished) = watch::channel(false);
    let body = Arc::new(vec![b'x'; 15 * MIB]);
    let server = raw(move |mut stream, _| {
        let (mut finished, body) = (finished.clone(), Arc::clone(&body));
        async move {
            let _ = stream.write_all(&frame_head(body.len())).await;
            let _ = stream.write_all(&body[MIB..]).await;
            let _ = finished.wait_for(|finished| *finished).await;
            let _ = stream.write_all(&body[..MIB]).await;
            std::future::pending().await
        }
    })
    .await;
    let before = resident();
    let (sockets, mut inputs) = start_bounded(named(&server, 8), 256 << 20);
    eventually("all are open", || sockets.counters()[SocketCounter::Opened] == 8).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let grown = resident().saturating_sub(before) / MIB;
    println!("{grown} MiB for 8 unfinished messages");
    assert!(grown < 70, "memory grew by {grown} MiB");
    finish.send(true).unwrap();
    for _ in 0..8 {
        assert_eq!(until_frame(&mut inputs).await.data.len(), 15 * MIB);
    }
    stop(sockets, &mut inputs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pongs_that_the_venue_does_not_read_are_bounded_and_end_the_connection() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let server = raw(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            let pings = long_ping().repeat(1_000);
            while stream.write_all(&pings).await.is_ok() {
                count.fetch_add(pings.len(), Ordering::Relaxed);
            }
        }
    })
    .await;
    let mut options = quick();
    options.write_timeout = Duration::from_secs(4);
    let before = resident();
    let (sockets, mut inputs) = start_with(&plan(named(&server, 1)), options, 64);
    eventually("32 MiB of pings are sent", || sent.load(Ordering::Relaxed) > 32 * MIB).await;
    let grown = resident().saturating_sub(before) / MIB;
    println!("{grown} MiB after 32 MiB of pings");
    assert!(grown < 12, "memory grew by {grown} MiB");
    let label = until(&mut inputs, |input| match input {
        SocketEvent::Closed { reason, .. } => Some(reason.label()),
        _ => None,
    });
    assert_eq!(label.await, "write_timeout");
    stop(sockets, &mut inputs).await;
}

/// Read together with 128 KiB of pings, a frame of 10 bytes would keep all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_frame_among_pings_takes_only_its_own_memory() {
    const FRAMES: usize = 200;
    let server = Server::websocket(|socket, _| async move {
        let (mut reader, mut writer) = socket.into_inner().into_split();
        let mut part = long_ping().repeat(1_000);
        part.extend([0x82, 10]);
        part.extend([b'x'; 10]);
        let writing = async {
            for _ in 0..FRAMES {
                let _ = writer.write_all(&part).await;
            }
        };
        let mut unread = tokio::io::sink();
        let (_written, _read) = tokio::join!(writing, tokio::io::copy(&mut reader, &mut unread));
    })
    .await;
    let before = resident();
    let (sockets, mut inputs) = start_with(&plan(named(&server, 1)), quick(), 4_096);
    eventually("all are queued", || sockets.counters()[SocketCounter::Frames] == FRAMES as u64).await;
    let grown = resident().saturating_sub(before) / 1024;
    println!("{grown} KiB for {FRAMES} frames of 10 bytes");
    assert!(grown < 12 * 1024, "memory grew by {grown} KiB");
    stop(sockets, &mut inputs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_feed_delays_the_frames_of_another_by_less_than_a_second() {
    let (flood, _flooding) = apart(|| {
        raw(|mut stream, _| async move {
            let pings = PING.repeat(MIB);
            while stream.write_all(&pings).await.is_ok() {}
        })
    });
    let (ticking, _ticks) = apart(|| {
        raw(|mut stream, _| async move {
            loop {
                let stamp = now_ns().to_be_bytes();
                let frame = [&[0x82, 8][..], &stamp].concat();
                if stream.write_all(&frame).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    });
    let mut options = quick();
    options.write_timeout = Duration::from_secs(60);
    let (flooded, mut unread) = start_with(&plan(of(&flood, 3)), options, 64);
    let (sockets, mut inputs) = start(&plan(of(&ticking, 1)));
    eventually("the flood runs", || flooded.counters()[SocketCounter::PingsAnswered] > 100_000).await;
    // A stall of the sender between stamp and write, too, looks like a delay: some of the rounds must be free of any, while a flood that
    // delays the other feed does so in each, and its median.
    let mut rounds = Vec::new();
    while !rounds.iter().any(|(_, longest)| *longest < 1_000) {
        assert!(rounds.len() < 5, "median and longest delay, ms, of each round: {rounds:?}");
        let mut delays = Vec::new();
        for _ in 0..150 {
            let frame = until_frame(&mut inputs).await;
            let sent = i64::from_be_bytes(frame.data.as_ref().try_into().unwrap());
            delays.push((frame.received_at_ns - sent) / 1_000_000);
        }
        delays.sort_unstable();
        rounds.push((delays[75], delays[149]));
        assert!(delays[75] < 1_000, "median and longest delay, ms, of each round: {rounds:?}");
    }
    println!("median and longest delay, ms, of each round: {rounds:?}");
    stop(sockets, &mut inputs).await;
    let stopping = now_ns();
    stop(flooded, &mut unread).await;
    let took = Duration::from_nanos(u64::try_from(now_ns() - stopping).unwrap());
    println!("the flood is stopped within {took:?}");
    assert!(took < Duration::from_secs(30), "a flood delayed the stop by {took:?}");
}

#[tokio::test]
async fn an_answer_with_an_endless_head_fails_within_bounded_memory() {
    let server = Server::tcp(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx-endless: ").await;
        let part = vec![b'x'; 64 << 10];
        while stream.write_all(&part).await.is_ok() {}
    })
    .await;
    let options = SocketOptions { request_tries: 1, ..quick() };
    let client = http_client(&options).unwrap();
    let before = resident();
    let failure = client.fetch(&Budgets::new(), &request(server.http("/"))).await.unwrap_err();
    let grown = resident().saturating_sub(before) / MIB;
    println!("{grown} MiB: {failure}");
    assert!(grown < 8 && failure.label() != "timeout", "{grown} MiB, {failure}");
}

#[tokio::test]
async fn a_full_queue_of_bytes_lets_smaller_events_wait_in_order() {
    let server = raw(|mut stream, _| async move {
        for length in [9_000, 9_000, 10] {
            let _ = stream.write_all(&frame_head(length)).await;
            let _ = stream.write_all(&vec![b'x'; length]).await;
        }
        std::future::pending().await
    })
    .await;
    let (sockets, mut inputs) = start_bounded(named(&server, 1), 10_000);
    eventually("the second one waits", || sockets.counters()[SocketCounter::Stalls] == 1).await;
    next(&mut inputs).await;
    let lengths =
        [until_frame(&mut inputs).await, until_frame(&mut inputs).await, until_frame(&mut inputs).await];
    assert_eq!(lengths.map(|frame| frame.data.len()), [9_000, 9_000, 10]);
    stop(sockets, &mut inputs).await;
}
