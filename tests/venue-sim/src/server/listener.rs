//! The listener, which can be taken down on command.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use marketprism_service::accept;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::http::{Service, serve};
use crate::delivery::{Socket, SocketSwitch};

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Wait after a failed bind.
const RETRY_AFTER: Duration = Duration::from_millis(20);

pub async fn run(
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    service: Service,
    mut down: watch::Receiver<Option<Instant>>,
) {
    let stop = service.stop.clone();
    let mut listener = Some(listener);
    loop {
        let Some(open) = listener.as_ref() else {
            let until = *down.borrow_and_update();
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(until.unwrap_or_else(Instant::now)) => {}
            }
            match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                Err(error) => {
                    tracing::warn!(%address, %error, "binding again failed, retrying");
                    sleep(RETRY_AFTER).await;
                }
            }
            continue;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = down.changed() => match changed {
                Ok(()) => listener = None,
                Err(_) => return,
            },
            (stream, peer) = accept(open) => {
                service.tasks.spawn(welcome(stream, peer, tls.clone(), service.clone()));
            }
        }
    }
}

async fn welcome(stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, service: Service) {
    let switch = Arc::new(SocketSwitch::default());
    let socket = match tls {
        None => Socket::plain(stream, switch.clone()),
        Some(acceptor) => match timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Socket::tls(stream, switch.clone()),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "tls handshake failed");
                return;
            }
            Err(_) => return,
        },
    };
    serve(service, socket, peer, switch).await;
}
