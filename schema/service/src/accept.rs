//! Binding an address, and accepting connections within a bound.

use std::io::{ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{LogLimit, error_text};

/// Pause after a failed accept: descriptors have run out, most likely, and it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const ADDRESS_RETRY: Duration = Duration::from_millis(500);
const ADDRESS_LOG: Duration = Duration::from_secs(60);

/// Binds an address. Waits without a limit for one that the machine does not have yet, as that of a network that comes up after the services;
/// every other error fails at once.
pub async fn bind_when_available(address: SocketAddr) -> Result<TcpListener> {
    retry_until_available(address, async || TcpListener::bind(address).await).await
}

async fn retry_until_available<T>(
    address: SocketAddr,
    mut bind: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let mut lines = LogLimit::new(ADDRESS_LOG);
    loop {
        let error = match bind().await {
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => error,
            bound => return bound,
        };
        if lines.allow(std::time::Instant::now()).is_some() {
            let error = error_text(&error);
            tracing::warn!(%address, error, "this machine does not have the address yet; waiting for it");
        }
        sleep(ADDRESS_RETRY).await;
    }
}

/// The next connection, without Nagle's delay. A failed accept is logged, as `lines` allows, and tried again after a pause. The limit is that of the
/// listener: a `select` drops this future whenever something else happens first.
pub async fn accept(listener: &TcpListener, lines: &mut LogLimit) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // A failure costs latency only.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                if let Some(held_back) = lines.allow(std::time::Instant::now()) {
                    tracing::warn!(error = error_text(&error), held_back, "a connection was not accepted");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Runs one task per connection, at most `most` at a time, until `stop`. The listener is closed then; the tasks that still run are
/// given to the caller.
pub async fn serve_connections<F>(
    listener: TcpListener,
    most: usize,
    stop: impl Future<Output = ()>,
    mut serve: impl FnMut(TcpStream) -> F,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut connections, mut lines) = (JoinSet::new(), LogLimit::default());
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return connections,
            Some(_) = connections.join_next() => {}
            (stream, _) = accept(&listener, &mut lines), if connections.len() < most => {
                connections.spawn(serve(stream));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    /// An address of a VPN that came after 30 s ended the service for good.
    #[tokio::test(start_paused = true)]
    async fn an_address_that_comes_late_is_waited_for_and_a_port_in_use_is_not() {
        let (began, late) = (Instant::now(), Duration::from_secs(3_600));
        let bound = retry_until_available("10.8.0.2:9093".parse().unwrap(), async || {
            if began.elapsed() < late { Err(Error::from(ErrorKind::AddrNotAvailable)) } else { Ok(()) }
        });
        bound.await.unwrap();
        let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let began = Instant::now();
        let refused = bind_when_available(held.local_addr().unwrap()).await.unwrap_err();
        assert_eq!((refused.kind(), began.elapsed()), (ErrorKind::AddrInUse, Duration::ZERO));
    }

    #[tokio::test]
    async fn a_connection_above_the_bound_waits_until_another_one_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serve = async |mut stream: TcpStream| {
            let _ = stream.write_all(b"x").await;
            let _ = stream.read(&mut [0]).await;
        };
        let stopped = async { drop(stopped.await) };
        let server = tokio::spawn(async move { serve_connections(listener, 1, stopped, serve).await.len() });
        let mut first = TcpStream::connect(address).await.unwrap();
        first.read_exact(&mut [0]).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(100), second.read_exact(&mut [0])).await;
        assert!(answer.is_err(), "the second one was served beside the first");
        drop(first);
        second.read_exact(&mut [0]).await.unwrap();
        stop.send(()).unwrap();
        assert_eq!(server.await.unwrap(), 1);
    }
}
