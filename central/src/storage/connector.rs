//! Connections to a ClickHouse server. Certificates that are renewed on disk are used by the next connection: some last for hours only.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::http::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use marketprism_service::{error_text, read_file, tls_client};
use rustls_pki_types::ServerName;
use tower_service::Service;

use crate::config::Server;
use crate::limits;

type Connector = HttpsConnector<HttpConnector>;

/// Largest file that is compared; a system's whole list of authorities has some hundred kilobytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Least time between two looks at the files.
const CHECK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct ServerConnector {
    newest: Arc<Mutex<LoadedTls>>,
    current: Connector,
}

/// TLS by the files of a server, as they were.
struct LoadedTls {
    server: Server,
    files: Vec<Option<Vec<u8>>>,
    connector: Connector,
    checked: Instant,
    check_every: Duration,
}

impl ServerConnector {
    /// Does not connect. Fails on a file that cannot be used.
    pub(super) fn new(server: &Server) -> anyhow::Result<Self> {
        Self::checking(server, CHECK_EVERY)
    }

    fn checking(server: &Server, check_every: Duration) -> anyhow::Result<Self> {
        let (files, connector) = (contents(server), connector(server)?);
        let (server, current) = (server.clone(), connector.clone());
        let loaded = LoadedTls { server, files, connector, checked: Instant::now(), check_every };
        Ok(Self { newest: Arc::new(Mutex::new(loaded)), current })
    }
}

impl LoadedTls {
    /// Small files, and at most once for a connection.
    fn refresh(&mut self) {
        if self.checked.elapsed() < self.check_every {
            return;
        }
        self.checked = Instant::now();
        let files = contents(&self.server);
        if files == self.files {
            return;
        }
        let url = &self.server.url;
        match connector(&self.server) {
            Ok(connector) => {
                self.connector = connector;
                tracing::info!(%url, "certificates for clickhouse read again: their files have changed");
            }
            // Certificate and key are two files: the second write is a change again.
            Err(error) => {
                let error = error_text(error.as_ref());
                tracing::warn!(%url, error, "changed certificates not usable, those before stay in use");
            }
        }
        self.files = files;
    }
}

fn contents(server: &Server) -> Vec<Option<Vec<u8>>> {
    let (certificate, key) = server.identity().unzip();
    let files: [Option<&Path>; 3] = [server.ca_file.as_deref(), certificate, key];
    files.into_iter().map(|path| read_file(path?, FILE_BYTES_MAX).ok()).collect()
}

fn connector(server: &Server) -> anyhow::Result<Connector> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // The families are raced, the addresses of a family share this time.
    tcp.set_connect_timeout(Some(limits::CLICKHOUSE_CONNECT));
    tcp.set_keepalive(Some(limits::TCP_KEEPALIVE));
    let tls = tls_client(server.ca_file.as_deref(), server.identity())?;
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &server.server_name {
        let name = ServerName::try_from(name.clone()).with_context(|| format!("server_name {name:?}"))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_http1().wrap_connector(tcp))
}

impl Service<Uri> for ServerConnector {
    type Response = <Connector as Service<Uri>>::Response;
    type Error = <Connector as Service<Uri>>::Error;
    type Future = <Connector as Service<Uri>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Each change is complete within one lock, so a panic of another holder does not matter.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.refresh();
        self.current = newest.connector.clone();
        drop(newest);
        self.current.poll_ready(cx)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        self.current.call(target)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::server::WebPkiClientVerifier;
    use tokio_rustls::rustls::{RootCertStore, ServerConfig};

    use super::*;

    /// Writes an authority, and a certificate of it for clients and servers with its key.
    fn certify(folder: &Path) {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).unwrap();
        let (issuer, key) = (Issuer::new(authority, authority_key), KeyPair::generate().unwrap());
        let signed = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer);
        for (name, text) in
            [("ca.pem", root.pem()), ("own.pem", signed.unwrap().pem()), ("own.key", key.serialize_pem())]
        {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }

    /// Takes clients with a certificate of the folder's authority only.
    fn acceptor(folder: &Path) -> TlsAcceptor {
        let certificate = |name: &str| CertificateDer::from_pem_file(folder.join(name)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca.pem")).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivateKeyDer::from_pem_file(folder.join("own.key")).unwrap();
        let config = config.unwrap().with_client_cert_verifier(verifier.build().unwrap());
        TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate("own.pem")], key).unwrap()))
    }

    #[tokio::test]
    async fn renewed_certificates_and_authorities_are_used_without_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        certify(folder.path());
        let file = |name: &str| Some(folder.path().join(name));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let server = Server {
            url: url.as_str().into(),
            ca_file: file("ca.pem"),
            client_cert_file: file("own.pem"),
            client_key_file: file("own.key"),
            ..Server::default()
        };
        let mut connector = ServerConnector::checking(&server, Duration::ZERO).unwrap();
        let mut connects = async |acceptor: &TlsAcceptor| {
            std::future::poll_fn(|cx| connector.poll_ready(cx)).await.unwrap();
            let connecting = tokio::spawn(connector.call(url.parse().unwrap()));
            let taken = acceptor.accept(listener.accept().await.unwrap().0).await.is_ok();
            taken && connecting.await.unwrap().is_ok()
        };
        let first = acceptor(folder.path());
        assert!(connects(&first).await);
        certify(folder.path());
        let second = acceptor(folder.path());
        assert!(connects(&second).await, "the files of the new authority");
        assert!(!connects(&first).await, "the certificate of the earlier one");
        std::fs::write(folder.path().join("own.pem"), "half of it").unwrap();
        assert!(connects(&second).await, "a file that is being written changes nothing");
    }
}
