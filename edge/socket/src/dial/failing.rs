//! Addresses that accept connections and then fail: a tunnel that swallows large packets, a front end that is dead behind its kernel or behind its
//! TLS. They are tried after the other addresses of their name, the one that failed longest ago first; none is left out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::transport::Transport;
use crate::limits::{FAILING_ADDRESS_KEPT, FAILING_ADDRESSES_MAX};

/// Times of their last failures.
#[derive(Debug, Default, Clone)]
pub(super) struct FailingAddresses(Arc<Mutex<BTreeMap<SocketAddr, Instant>>>);

/// Use of an address, which has failed unless it answers: also when the caller's time ends before.
pub(super) struct Attempt {
    failing: FailingAddresses,
    address: Option<SocketAddr>,
}

impl Attempt {
    pub(super) fn answered(mut self) {
        if let Some(address) = self.address.take() {
            self.failing.current().remove(&address);
        }
    }

    /// Nothing was asked.
    fn unused(mut self) {
        self.address = None;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.failing.failed(address);
        }
    }
}

/// A connection whose address has failed if it closes, or is given up, before it has answered what was sent: the handshake of a websocket, a
/// request, a greeting of a proxy.
pub(super) struct Answering {
    stream: Box<dyn Transport>,
    is_asked: bool,
    /// Until the first byte is read.
    attempt: Option<Attempt>,
}

impl Answering {
    pub(super) fn new(stream: Box<dyn Transport>, attempt: Attempt) -> Self {
        Self { stream, is_asked: false, attempt: Some(attempt) }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.is_asked
            && let Some(attempt) = self.attempt.take()
        {
            attempt.unused();
        }
    }
}

impl AsyncRead for Answering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before
            && let Some(attempt) = self.attempt.take()
        {
            attempt.answered();
        }
        read
    }
}

impl AsyncWrite for Answering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.is_asked = true;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl FailingAddresses {
    /// `None`: a proxy chose the address.
    pub(super) fn attempt(&self, address: Option<SocketAddr>) -> Attempt {
        Attempt { failing: self.clone(), address }
    }

    fn failed(&self, address: SocketAddr) {
        let mut failures = self.current();
        if failures.len() >= FAILING_ADDRESSES_MAX {
            let oldest = failures.iter().min_by_key(|(_, at)| **at).map(|(address, _)| *address);
            oldest.and_then(|oldest| failures.remove(&oldest));
        }
        failures.insert(address, Instant::now());
    }

    /// Addresses without a failure keep their order.
    pub(super) fn put_last(&self, addresses: &mut [SocketAddr]) {
        let failures = self.current();
        addresses.sort_by_key(|address| failures.get(address).copied());
    }

    fn current(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Instant>> {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, at| at.elapsed() < FAILING_ADDRESS_KEPT);
        failures
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use url::{Host, Url};

    use super::*;
    use crate::dial::Dialer;
    use crate::options::SocketOptions;
    use crate::tls;

    fn dialer() -> Dialer {
        let options = SocketOptions { tls_timeout: Duration::from_millis(100), ..SocketOptions::default() };
        Dialer::new(&options, Arc::new(tls::client_config(&[]).unwrap()))
    }

    /// With two addresses.
    async fn listeners() -> [(TcpListener, SocketAddr); 2] {
        let mut bound = Vec::new();
        for ip in ["127.0.0.2:0", "127.0.0.3:0"] {
            let listener = TcpListener::bind(ip).await.unwrap();
            let address = listener.local_addr().unwrap();
            bound.push((listener, address));
        }
        bound.try_into().unwrap()
    }

    /// The resolver gives the same order each time: the address beside the dead one was never asked.
    #[tokio::test]
    async fn an_address_whose_tls_fails_gives_way_to_the_next_one_of_its_name() {
        let dialer = dialer();
        let [(_dead, dead), (_live, live)] = listeners().await;
        let host = Host::Domain("venue.example".to_owned());
        let connect = async || {
            let tcp = dialer.connect(vec![dead, live], Duration::from_secs(30)).await.ok().unwrap();
            (tcp.peer_addr().unwrap(), tcp)
        };
        let (first, tcp) = connect().await;
        assert_eq!(first, dead, "the resolver's order");
        let failure = dialer.secure(Box::new(tcp), &host, Some(first)).await.err().unwrap();
        assert!(failure.contains(&dead.to_string()), "{failure}");
        assert_eq!(connect().await.0, live);
        dialer.failing.attempt(Some(dead)).answered();
        assert_eq!(connect().await.0, dead);
    }

    /// Only a failure of TLS counted: a front end that is dead behind it held up each handshake of a websocket, and each request.
    #[tokio::test]
    async fn an_address_that_answers_nothing_gives_way_to_the_next_one_of_its_name() {
        let dialer = dialer();
        let [(_dead, dead), (live_listener, live)] = listeners().await;
        let next = || {
            let mut order = [dead, live];
            dialer.failing.put_last(&mut order);
            order[0]
        };
        let url_of =
            |scheme: &str, address: SocketAddr| Url::parse(&format!("{scheme}://{address}")).unwrap();
        drop(dialer.dial(&url_of("ws", dead)).await.unwrap());
        assert_eq!(next(), dead, "a connection that was not used has not failed");
        let mut unanswered = dialer.dial(&url_of("ws", dead)).await.unwrap();
        unanswered.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(unanswered);
        assert_eq!(next(), live);
        let mut answered = dialer.dial(&url_of("ws", live)).await.unwrap();
        answered.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let (mut peer, _) = live_listener.accept().await.unwrap();
        peer.write_all(b"H").await.unwrap();
        assert_eq!(answered.read_u8().await.unwrap(), b'H');
        drop(answered);
        assert_eq!(next(), live, "still the one that answers");
        dialer.failing.attempt(Some(dead)).answered();
        assert_eq!(next(), dead);
    }
}
