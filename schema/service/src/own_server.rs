//! Requests of a command to the server of its own configuration: addresses under which it listens, and its certificate.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::tls::{known_authorities, read_certificates};

/// Addresses at which a listener is asked on its own machine, best first. One of all IPv6 addresses may refuse IPv4, or have nothing else.
pub fn own_addresses(listen: SocketAddr) -> Vec<SocketAddr> {
    let at = |ip| SocketAddr::new(ip, listen.port());
    match listen {
        SocketAddr::V4(address) if address.ip().is_unspecified() => vec![at(Ipv4Addr::LOCALHOST.into())],
        SocketAddr::V6(address) if address.ip().is_unspecified() => {
            vec![at(Ipv6Addr::LOCALHOST.into()), at(Ipv4Addr::LOCALHOST.into())]
        }
        _ => vec![listen],
    }
}

/// Trusts the certificate in the server's own file, whatever its authority and name, besides the public authorities and those of `ca_file`.
pub fn own_server_tls(certificate: Option<&Path>, ca_file: Option<&Path>) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(default_provider());
    let authorities = Arc::new(known_authorities(ca_file)?);
    let others = WebPkiServerVerifier::builder_with_provider(authorities, Arc::clone(&provider)).build()?;
    // Commands for another machine's server have no such file.
    let chain = certificate.and_then(|path| read_certificates(path).ok()).unwrap_or_default();
    let own = chain.into_iter().next();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OwnOrKnown { own, others }))
        .with_no_client_auth();
    Ok(config)
}

#[derive(Debug)]
struct OwnOrKnown {
    own: Option<CertificateDer<'static>>,
    others: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for OwnOrKnown {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.own.as_ref() == Some(certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        self.others.verify_server_cert(certificate, chain, name, ocsp, now)
    }

    // The server has the key of the certificate that it presents.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::sign::{CertifiedKey, SingleCertAndKey};
    use rustls::{ClientConnection, ServerConfig, ServerConnection};
    use rustls_pki_types::PrivateKeyDer;

    use super::*;

    #[test]
    fn a_listener_of_all_addresses_is_asked_at_the_loopback_ones() {
        let shown = |listen: &str| {
            let addresses = own_addresses(listen.parse().unwrap());
            addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>()
        };
        assert_eq!(shown("0.0.0.0:8085"), ["127.0.0.1:8085"]);
        assert_eq!(shown("[::]:8085"), ["[::1]:8085", "127.0.0.1:8085"]);
        assert_eq!(shown("10.8.0.2:8085"), ["10.8.0.2:8085"]);
    }

    /// Certificate and key for `central.example`, of an authority that nobody knows.
    fn certified() -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["central.example".to_owned()]).unwrap();
        (params.signed_by(&key, &authority).unwrap(), key)
    }

    /// Handshake with a server that presents a certificate and signs with a key.
    fn shake(client: ClientConfig, certificate: &Certificate, key: &KeyPair) -> Result<(), Error> {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(default_provider());
        let key = provider.key_provider.load_private_key(key).unwrap();
        let presented = CertifiedKey::new(vec![certificate.der().clone()], key);
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(presented)));
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn the_certificate_of_the_own_configuration_is_trusted_and_no_other_of_its_authority_or_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.pem");
        let (own, key) = certified();
        std::fs::write(&file, own.pem()).unwrap();
        let client = || own_server_tls(Some(&file), None).unwrap();
        shake(client(), &own, &key).unwrap();
        let (other, other_key) = certified();
        assert!(shake(client(), &other, &other_key).is_err(), "another certificate");
        assert!(shake(client(), &own, &other_key).is_err(), "the certificate without its key");
        assert!(
            own_server_tls(Some(&folder.path().join("missing.pem")), None).is_ok(),
            "another machine's server"
        );
    }
}
