//! A feed whose task panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use marketprism_adapter_host::fixtures::FixtureKind;
use marketprism_edge::audit::Auditor;
use marketprism_edge::feed::{EdgeContext, FeedPhase, FrameObserver, SourceMap};
use marketprism_edge::queue::DiscardQueue;
use marketprism_socket::SocketEvent;
use marketprism_tests::wait::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::configuration::{folder, good, read};
use crate::feeds::{adapter, run};

/// Panics in the feed's task at the first answer.
#[derive(Default)]
struct PanickingObserver(AtomicUsize);

impl FrameObserver for PanickingObserver {
    fn answer(&self, _: &str, _: &bytes::Bytes, _: i64) {
        assert!(self.0.fetch_add(1, Ordering::AcqRel) > 0, "the first answer");
    }

    fn event(&self, _: &SocketEvent, _: &SourceMap) {}
}

/// A proxy that gives every request an empty list itself.
async fn answer(mut stream: TcpStream) {
    let mut request = [0; 4_096];
    while let Ok(read) = stream.read(&mut request).await {
        let head: &[u8] = match &request[..read] {
            [] => return,
            connect if connect.starts_with(b"CONNECT") => b"HTTP/1.1 200 OK\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        };
        if stream.write_all(head).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_panics_starts_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(answer(stream));
        }
    });
    let folder = folder();
    let text = format!("{}proxy = \"http://{proxy}\"\n", good(folder.path()));
    let config = read(&text, folder.path(), &[]).unwrap();
    let auditor = Arc::new(Auditor::off());
    let edge = EdgeContext::new(&config, Arc::new(DiscardQueue::default()), auditor).unwrap();
    let edge = Arc::new(edge);
    let observer = Arc::new(PanickingObserver::default());
    let adapter = adapter(FixtureKind::RequestLoop);
    let (status, running) = run(&edge, &config.feeds[0], adapter, Arc::clone(&observer) as _);
    eventually("the lists are read again", || async { observer.0.load(Ordering::Acquire) > 1 }).await;
    edge.stop.cancel();
    running.await.unwrap();
    assert_eq!(status.phase(), FeedPhase::Stopped);
    server.abort();
}
