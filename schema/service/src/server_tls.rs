//! The certificate of a TLS server, read again when its files change. A pair that cannot be used leaves the one before in place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::tls::{read_certificates, read_key};
use crate::{FileStamp, error_text};

/// Least time between two looks at the files: handshakes of a flood look once.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Certificate chain and key of a server.
#[derive(Debug)]
pub struct ServerTls {
    certificate: PathBuf,
    key: PathBuf,
    check_every: Duration,
    state: Mutex<LoadedPair>,
}

#[derive(Debug)]
struct LoadedPair {
    config: Arc<ServerConfig>,
    /// Of the files that `config` was read from, or that could not be used.
    stamps: [Option<FileStamp>; 2],
    checked: Instant,
}

impl ServerTls {
    /// Reads the files; a chain that cannot be read or does not belong to the key is an error.
    pub fn load(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let stamps = stamps(certificate, key);
        let config = read_pair(certificate, key)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            check_every: CHECK_EVERY,
            state: Mutex::new(LoadedPair { config, stamps, checked: Instant::now() }),
        })
    }

    /// With the newest certificate.
    pub(crate) async fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let is_due = {
            let mut state = self.lock();
            let is_due = state.checked.elapsed() >= self.check_every;
            if is_due {
                state.checked = Instant::now();
            }
            is_due
        };
        if is_due {
            let tls = Arc::clone(self);
            // The files may lie on a slow disk. A panic leaves the certificate as it is.
            let _ = tokio::task::spawn_blocking(move || tls.check()).await;
        }
        TlsAcceptor::from(Arc::clone(&self.lock().config))
    }

    fn check(&self) {
        let stamps = stamps(&self.certificate, &self.key);
        if self.lock().stamps == stamps {
            return;
        }
        let read = read_pair(&self.certificate, &self.key);
        let mut state = self.lock();
        // Certificate and key are two files: between the two writes they do not belong together, and the second write is a change again.
        state.stamps = stamps;
        let (certificate, key) = (self.certificate.display(), self.key.display());
        match read {
            Ok(config) => {
                state.config = config;
                tracing::info!(%certificate, %key, "certificate read again: its files have changed");
            }
            Err(error) => {
                let error = error_text(error.as_ref());
                tracing::warn!(%certificate, %key, error, "changed certificate not usable, the one before stays in use");
            }
        }
    }

    // Each change is complete within one lock, so a panic of another holder does not matter.
    fn lock(&self) -> MutexGuard<'_, LoadedPair> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(certificate: &Path, key: &Path) -> [Option<FileStamp>; 2] {
    [certificate, key].map(|path| FileStamp::of(path).ok())
}

fn read_pair(certificate: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let (chain, secret) = (read_certificates(certificate)?, read_key(key)?);
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| format!("{} and {}", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls_pki_types::{CertificateDer, ServerName};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;

    use super::*;

    /// With a time of its own: within one tick of the kernel's file times two writes have the same.
    fn write(path: &Path, text: String) {
        let before = std::fs::metadata(path).and_then(|before| before.modified());
        std::fs::write(path, text).unwrap();
        if let Ok(before) = before {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(before + Duration::from_secs(1)).unwrap();
        }
    }

    /// Writes a self-signed certificate and its key, each if asked for.
    fn write_pair(folder: &Path, with_key: bool) -> rcgen::CertifiedKey<rcgen::KeyPair> {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        write(&folder.join("server.pem"), pair.cert.pem());
        if with_key {
            write(&folder.join("server.key"), pair.signing_key.serialize_pem());
        }
        pair
    }

    async fn presented(tls: &Arc<ServerTls>, trusted: &CertificateDer<'static>) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        let server = async { tls.acceptor().await.accept(listener.accept().await.unwrap().0).await };
        let (client, _server) = tokio::join!(client, server);
        client.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_changed_certificate_is_presented_and_one_without_its_key_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let first = write_pair(folder.path(), true);
        let tls =
            ServerTls::load(&folder.path().join("server.pem"), &folder.path().join("server.key")).unwrap();
        let tls = Arc::new(ServerTls { check_every: Duration::ZERO, ..tls });
        presented(&tls, first.cert.der()).await.unwrap();

        let half = write_pair(folder.path(), false);
        presented(&tls, first.cert.der()).await.unwrap();
        assert!(presented(&tls, half.cert.der()).await.is_err(), "a certificate without its key is in use");

        write(&folder.path().join("server.key"), half.signing_key.serialize_pem());
        presented(&tls, half.cert.der()).await.unwrap();
        std::fs::remove_file(folder.path().join("server.pem")).unwrap();
        presented(&tls, half.cert.der()).await.unwrap();
    }
}
