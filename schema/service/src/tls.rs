//! TLS of clients: authorities, own certificate, and the errors of a handshake in words.

use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::read_pem;

const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// Trusts the public authorities and those of `ca_file`. `identity`: files of the client's certificate and its key. Later changes of
/// the files need a restart.
pub fn tls_client(ca_file: Option<&Path>, identity: Option<(&Path, &Path)>) -> anyhow::Result<ClientConfig> {
    let roots = known_authorities(ca_file)?;
    // Explicit provider: none is installed for the process.
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some((certificate, key)) = identity else { return Ok(builder.with_no_client_auth()) };
    builder
        .with_client_auth_cert(read_certificates(certificate)?, read_key(key)?)
        .with_context(|| format!("{} and {}", certificate.display(), key.display()))
}

/// The public authorities and those of `ca_file`.
pub(crate) fn known_authorities(ca_file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        add_authorities(&mut roots, path)?;
    }
    Ok(roots)
}

/// Lists of a system hold old certificates that cannot be read: the others count.
fn add_authorities(roots: &mut RootCertStore, path: &Path) -> anyhow::Result<()> {
    let (added, ignored) = roots.add_parsable_certificates(read_certificates(path)?);
    let path = path.display();
    anyhow::ensure!(added > 0, "{path}: none of its {ignored} certificates is one of an authority");
    if ignored > 0 {
        tracing::warn!(%path, added, ignored, "certificates of authorities not readable, the others are used");
    }
    Ok(())
}

/// The certificates of a file, at least one.
pub(crate) fn read_certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let none = || format!("{}: no certificate in PEM form", path.display());
    let pem = read_pem(path).with_context(|| path.display().to_string())?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().with_context(none)?;
    anyhow::ensure!(!found.is_empty(), none());
    Ok(found)
}

pub(crate) fn read_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let shown = path.display();
    let pem = read_pem(path).with_context(|| shown.to_string())?;
    PrivateKeyDer::from_pem_slice(&pem).with_context(|| {
        // `BEGIN ENCRYPTED PRIVATE KEY`, or `Proc-Type: 4,ENCRYPTED` in an older form.
        if pem.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) {
            format!(
                "{shown}: the private key is encrypted (allowed: a key without a passphrase, as \
                 `openssl pkey -in {shown} -out FILE` writes it)"
            )
        } else {
            format!("{shown}: no private key in PEM form")
        }
    })
}

/// The refused handshake among the causes of an error, with the key that mends it.
pub fn tls_problem(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref::<rustls::Error>() {
            return Some(explained(refusal));
        }
        // The source of such an error is that of the error in it.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

fn explained(error: &rustls::Error) -> String {
    use AlertDescription as Alert;
    use CertificateError as Certificate;
    use rustls::Error as Tls;
    let remedy = match error {
        Tls::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            "the server's certificate is of no known authority; name the authority's file with ca_file"
        }
        Tls::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => {
            "the server's certificate is for another name; connect under a name that it has, or set server_name"
        }
        Tls::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "the server's certificate has expired; renew it, and compare the clocks"
        }
        Tls::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            "the server's certificate is not valid yet; compare the clocks"
        }
        Tls::InvalidCertificate(_) => "the server's certificate is not valid",
        Tls::AlertReceived(Alert::CertificateRequired) => {
            "the server requires a client certificate; set client_cert_file and client_key_file"
        }
        Tls::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::DecryptError
            | Alert::AccessDenied,
        ) => "the server refuses the certificate of client_cert_file",
        Tls::AlertReceived(Alert::UnrecognisedName) => "the server does not know this name; set server_name",
        Tls::InvalidMessage(_) => "the server does not speak TLS at this port",
        _ => "the TLS handshake failed",
    };
    format!("{remedy} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_handshake_names_the_key_that_mends_it() {
        let of = |error: rustls::Error| {
            let outer = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
            let outer = anyhow::Error::new(outer).context("connect");
            tls_problem(outer.as_ref()).unwrap()
        };
        for (error, key) in [
            (rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer), "ca_file"),
            (rustls::Error::InvalidCertificate(CertificateError::NotValidForName), "server_name"),
            (rustls::Error::InvalidCertificate(CertificateError::NotValidYet), "compare the clocks"),
            (rustls::Error::AlertReceived(AlertDescription::CertificateRequired), "client_cert_file"),
            (rustls::Error::AlertReceived(AlertDescription::UnknownCA), "refuses the certificate"),
        ] {
            assert!(of(error.clone()).contains(key), "{error}");
        }
        assert_eq!(tls_problem(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }

    /// As in `/etc/ssl/certs/ca-certificates.crt` of some companies.
    #[test]
    fn one_unreadable_certificate_of_a_list_costs_itself_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list.pem");
        let own = rcgen::generate_simple_self_signed(vec!["h".to_owned()]).unwrap().cert.pem();
        let unreadable = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
        std::fs::write(&file, format!("{unreadable}{own}")).unwrap();
        assert!(tls_client(Some(&file), None).is_ok());
        std::fs::write(&file, unreadable).unwrap();
        let error = tls_client(Some(&file), None).unwrap_err().to_string();
        assert!(error.ends_with("list.pem: none of its 1 certificates is one of an authority"), "{error}");
    }

    /// During a rotation the first authority of such a file was left out without a word.
    #[test]
    fn a_byte_order_mark_costs_no_certificate_and_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("list.pem"), folder.path().join("key.pem"));
        let [old, new] = [(); 2].map(|()| rcgen::generate_simple_self_signed(vec!["h".to_owned()]).unwrap());
        std::fs::write(&file, format!("\u{feff}{}{}", old.cert.pem(), new.cert.pem())).unwrap();
        assert_eq!(read_certificates(&file).unwrap().len(), 2);
        std::fs::write(&key, format!("\u{feff}{}", old.signing_key.serialize_pem())).unwrap();
        assert!(read_key(&key).is_ok());
    }

    #[test]
    fn an_encrypted_key_is_called_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        let of = |kind: &str, head: &str| {
            format!("-----BEGIN {kind}-----\n{head}MAMCAQE=\n-----END {kind}-----\n")
        };
        let refusal = |text: String| {
            std::fs::write(&file, text).unwrap();
            read_key(&file).unwrap_err().to_string()
        };
        for text in [
            of("ENCRYPTED PRIVATE KEY", ""),
            of("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n"),
        ] {
            let refusal = refusal(text);
            assert!(refusal.contains("key.pem: the private key is encrypted"), "{refusal}");
        }
        let refusal = refusal("nothing".to_owned());
        assert!(refusal.contains("key.pem: no private key in PEM form"), "{refusal}");
    }

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "nothing").unwrap();
        let error = tls_client(Some(&file), None).unwrap_err().to_string();
        assert!(error.contains("ca.pem: no certificate in PEM form"), "{error}");
        assert!(tls_client(None, None).is_ok());
    }
}
