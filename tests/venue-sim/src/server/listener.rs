//! The listener, which can be taken down on command, and its TLS with a fresh self-signed certificate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use marketprism_service::{LogLimit, accept};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::http::{Service, serve};
use crate::delivery::{Socket, SocketSwitch};

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
const RETRY_AFTER: Duration = Duration::from_millis(20);

pub async fn run(
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    service: Service,
    mut down: watch::Receiver<Option<Instant>>,
) {
    let stop = service.stop.clone();
    let (mut listener, mut lines) = (Some(listener), LogLimit::default());
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
            (stream, peer) = accept(open, &mut lines) => {
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

/// Writes the certificate, for `localhost`, `127.0.0.1` and `::1`, to `dir/ca.pem`.
pub fn acceptor(dir: &Path) -> anyhow::Result<(TlsAcceptor, PathBuf)> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let path = dir.join("ca.pem");
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&path, cert.pem()))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok((TlsAcceptor::from(Arc::new(config)), path))
}
