//! A fresh self-signed certificate per run, which is its own authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("creating a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("using the certificate: {0}")]
    Rustls(#[from] rustls::Error),
    #[error("writing {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
}

/// Writes the certificate, for `localhost`, `127.0.0.1` and `::1`, to `dir/ca.pem`.
pub fn acceptor(dir: &Path) -> Result<(TlsAcceptor, PathBuf), TlsError> {
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
        .map_err(|source| TlsError::Write { path: path.clone(), source })?;
    Ok((TlsAcceptor::from(Arc::new(config)), path))
}
