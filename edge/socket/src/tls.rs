//! TLS configuration for sockets and requests: public authorities (webpki-roots) and configured ones.

use std::path::PathBuf;
use std::sync::Arc;

use marketprism_service::read_pem;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::error::SocketError;

pub(crate) fn client_config(ca_files: &[PathBuf]) -> Result<ClientConfig, SocketError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for path in ca_files {
        let refuse = |reason: String| SocketError::CaFile { path: path.clone(), reason };
        let pem = read_pem(path).map_err(|error| refuse(error.to_string()))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        // Lists of a system hold old certificates that cannot be read: the others count.
        let (added, ignored) =
            roots.add_parsable_certificates(found.map_err(|error| refuse(error.to_string()))?);
        match (added, ignored) {
            (0, 0) => return Err(refuse("contains no certificate".to_owned())),
            (0, ignored) => return Err(refuse(format!("none of its {ignored} certificates is readable"))),
            (_, 0) => {}
            (added, ignored) => {
                let path = path.display();
                tracing::warn!(%path, added, ignored, "certificates of authorities not readable, the others are used");
            }
        }
    }
    // Explicit provider: none is installed for the process.
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| SocketError::Tls(error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    // Websockets and requests both need it; a server takes what is offered for what is spoken.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
