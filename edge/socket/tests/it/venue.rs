//! Venue of the tests: a websocket and REST server whose behaviour each test defines.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use marketprism_adapter_host::contract::Plan;
use marketprism_socket::{
    Budgets, FeedSockets, InputBounds, InputReceiver, InputSender, ReceivedFrame, SocketEvent, SocketOptions,
    input_queue,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Limit of every wait: reached only by a fault, also on a machine that is busy with other things.
pub const DEADLINE: Duration = Duration::from_secs(120);

pub type ServerSocket = WebSocketStream<TcpStream>;

/// A server that ends with the test.
pub struct Server {
    pub address: String,
    pub accepted: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Serves every TCP connection with `serve`, which gets the stream and its number from 1.
    pub async fn tcp<F, R>(serve: F) -> Self
    where
        F: Fn(TcpStream, usize) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                serving.spawn(serve(stream, number));
            }
        });
        Self { address, accepted, _tasks: tasks }
    }

    pub async fn websocket<F, R>(serve: F) -> Self
    where
        F: Fn(ServerSocket, usize) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let serve = Arc::new(serve);
        Self::tcp(move |stream, number| {
            let serve = Arc::clone(&serve);
            async move {
                if let Ok(socket) = tokio_tungstenite::accept_async(stream).await {
                    serve(socket, number).await;
                }
            }
        })
        .await
    }

    /// Answers each REST request after a wait; `answer` gets its number and head and returns the HTTP bytes.
    pub async fn rest<F>(answer: F) -> Self
    where
        F: Fn(usize, &str) -> (Duration, Vec<u8>) + Send + Sync + 'static,
    {
        let answer = Arc::new(answer);
        Self::tcp(move |mut stream, number| {
            let answer = Arc::clone(&answer);
            async move {
                let head = read_head(&mut stream).await;
                let (wait, bytes) = answer(number, &head);
                tokio::time::sleep(wait).await;
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
            }
        })
        .await
    }

    /// Accepts websockets and neither reads nor sends.
    pub async fn mute() -> Self {
        Self::websocket(|socket, _| async move {
            std::future::pending::<()>().await;
            drop(socket);
        })
        .await
    }

    pub async fn silent() -> Self {
        Self::websocket(|mut socket, _| async move { read_to_end(&mut socket).await }).await
    }

    pub fn ws(&self) -> String {
        format!("ws://{}/stream", self.address)
    }

    pub fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

pub async fn read_head<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

pub fn quick() -> SocketOptions {
    let mut options = SocketOptions::default();
    options.backoff.base = Duration::from_millis(20);
    options.backoff.cap = Duration::from_millis(200);
    options.close_timeout = Duration::from_millis(500);
    options.overlap = Duration::from_secs(5);
    options.overlap_settle = Duration::from_millis(20);
    options.stagger = Duration::from_millis(2);
    options
}

/// A queue of a number of events, without a bound in bytes that matters.
pub fn inputs_of(events: usize) -> (InputSender, InputReceiver) {
    input_queue(InputBounds { events, bytes: 1 << 30 })
}

/// Starts a plan with short timeouts.
pub fn start(plan: &Plan) -> (FeedSockets, InputReceiver) {
    start_with(plan, quick(), 8)
}

pub fn start_with(plan: &Plan, options: SocketOptions, capacity: usize) -> (FeedSockets, InputReceiver) {
    let (sender, inputs) = inputs_of(capacity);
    (FeedSockets::start(plan, options, Budgets::new(), sender).unwrap(), inputs)
}

/// Sends `text` every `period`, and reads, until the socket ends.
pub async fn send_every(socket: &mut ServerSocket, period: Duration, text: &str) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(period) => if socket.send(Message::text(text)).await.is_err() { return },
            message = socket.next() => if !matches!(message, Some(Ok(_))) { return },
        }
    }
}

/// Numbers that count up every `period`, the same for each receiver.
pub fn ticker(period: Duration) -> (broadcast::Sender<u64>, JoinSet<()>) {
    let (ticks, _) = broadcast::channel(4096);
    let sender = ticks.clone();
    let mut task = JoinSet::new();
    task.spawn(async move {
        for tick in 0.. {
            let _ = sender.send(tick);
            tokio::time::sleep(period).await;
        }
    });
    (ticks, task)
}

pub async fn next_frame(inputs: &mut InputReceiver) -> ReceivedFrame {
    match next(inputs).await {
        SocketEvent::Frame(frame) => frame,
        other => panic!("not a frame: {other:?}"),
    }
}

/// The next frame, skipping other inputs.
pub async fn until_frame(inputs: &mut InputReceiver) -> ReceivedFrame {
    until(inputs, |input| match input {
        SocketEvent::Frame(frame) => Some(frame),
        _ => None,
    })
    .await
}

pub async fn read_to_end<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) {
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
}

pub async fn next(inputs: &mut InputReceiver) -> SocketEvent {
    timeout(DEADLINE, inputs.recv()).await.expect("no input in time").expect("inputs ended")
}

/// The next input that `want` selects.
pub async fn until<T>(inputs: &mut InputReceiver, mut want: impl FnMut(SocketEvent) -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = want(next(inputs).await) {
                return found;
            }
        }
    };
    timeout(DEADLINE, looking).await.expect("the wanted input did not come in time")
}

pub async fn noticed<T>(noticed: &mut mpsc::Receiver<T>) -> T {
    timeout(DEADLINE, noticed.recv())
        .await
        .expect("the server noticed nothing in time")
        .expect("the server ended")
}

pub async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let poll = async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(DEADLINE, poll).await.is_ok(), "not in time: {what}");
}

/// Stops while receiving, as the pipeline does, and returns the inputs until the end.
pub async fn stop(sockets: FeedSockets, inputs: &mut InputReceiver) -> Vec<SocketEvent> {
    let stopping = sockets.stop(DEADLINE);
    tokio::pin!(stopping);
    let mut rest = Vec::new();
    loop {
        tokio::select! {
            _ = &mut stopping => break,
            Some(input) = inputs.recv() => rest.push(input),
        }
    }
    while let Ok(input) = inputs.try_recv() {
        rest.push(input);
    }
    rest
}

/// An address that refuses connections: the socket is bound, so that no other process gets the port, and does not listen.
pub fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Result of `measure` and the longest stall of this runtime meanwhile, which is at most `most`: after a longer one it measures again.
/// The venue's tasks note when they read: two arrivals seem closer than they were by a stall before the first of them.
pub async fn without_stalls<T>(most: Duration, mut measure: impl AsyncFnMut() -> T) -> (T, Duration) {
    const STEP: Duration = Duration::from_millis(1);
    for _ in 0..10 {
        let longest_us = Arc::new(AtomicU64::new(0));
        let longest = Arc::clone(&longest_us);
        let mut watching = JoinSet::new();
        watching.spawn(async move {
            loop {
                let began = Instant::now();
                tokio::time::sleep(STEP).await;
                let took_us = u64::try_from(began.elapsed().as_micros()).unwrap();
                longest.fetch_max(took_us, Ordering::Relaxed);
            }
        });
        let measured = measure().await;
        // What the runtime does between two wakes of that task is a stall too.
        let stall = Duration::from_micros(longest_us.load(Ordering::Relaxed)) + 2 * STEP;
        if stall <= most {
            return (measured, stall);
        }
    }
    panic!("the runtime stalled for more than {most:?} in each of 10 measurements");
}

/// The largest number of arrivals in any window.
pub fn most_within(times: &[Instant], window: Duration) -> usize {
    let within = |first: &Instant| times.iter().filter(|at| **at >= *first && **at < *first + window).count();
    times.iter().map(within).max().unwrap_or(0)
}
