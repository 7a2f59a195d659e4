//! A small websocket and REST server that does what a test wants.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use marketprism_socket::{FeedSockets, Input, SocketOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;

/// Longer than anything in these tests takes.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub type ServerSocket = WebSocketStream<TcpStream>;

/// A server that ends with the test.
pub struct Server {
    pub address: String,
    /// Connections accepted so far.
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

    /// Serves every websocket with `serve`.
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

    /// Answers every REST request with what `answer` makes of its number and its head: a whole HTTP answer.
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

/// An HTTP answer.
pub fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// Options with short times.
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

/// The next input, or a failure of the test.
pub async fn next(inputs: &mut mpsc::Receiver<Input>) -> Input {
    timeout(DEADLINE, inputs.recv()).await.expect("no input in time").expect("inputs ended")
}

/// The next input that `want` takes; others are passed over.
pub async fn until<T>(inputs: &mut mpsc::Receiver<Input>, mut want: impl FnMut(Input) -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = want(next(inputs).await) {
                return found;
            }
        }
    };
    timeout(DEADLINE, looking).await.expect("the wanted input did not come in time")
}

/// What the server noticed next, or a failure of the test.
pub async fn noticed<T>(noticed: &mut mpsc::Receiver<T>) -> T {
    timeout(DEADLINE, noticed.recv())
        .await
        .expect("the server noticed nothing in time")
        .expect("the server ended")
}

/// Waits until `true`.
pub async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let poll = async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(timeout(DEADLINE, poll).await.is_ok(), "not in time: {what}");
}

/// Stops while the inputs are still received, as the pipeline does, and gives what came meanwhile.
pub async fn stop(sockets: FeedSockets, inputs: &mut mpsc::Receiver<Input>) -> Vec<Input> {
    let stopping = sockets.stop(DEADLINE);
    tokio::pin!(stopping);
    let mut rest = Vec::new();
    loop {
        tokio::select! {
            () = &mut stopping => break,
            Some(input) = inputs.recv() => rest.push(input),
        }
    }
    while let Ok(input) = inputs.try_recv() {
        rest.push(input);
    }
    rest
}
