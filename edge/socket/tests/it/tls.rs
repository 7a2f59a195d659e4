//! Trusted certificate authorities.

use std::sync::Arc;

use futures_util::SinkExt;
use marketprism_socket::{Budgets, SocketCounter, SocketError, SocketOptions, http_client};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

use crate::plans::{connection, plan, request};
use crate::venue::{
    Server, answer, eventually, quick, read_head, read_to_end, start, start_with, stop, until_frame,
};

/// PEM of a certificate authority, and a server configuration that it signed for `localhost` and 127.0.0.1.
pub fn authority() -> (String, Arc<ServerConfig>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (authority.pem(), Arc::new(config))
}

async fn wss_server(config: Arc<ServerConfig>) -> Server {
    Server::tcp(move |stream, _| {
        let acceptor = TlsAcceptor::from(Arc::clone(&config));
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            socket.send(Message::text("secret")).await.unwrap();
            read_to_end(&mut socket).await;
        }
    })
    .await
}

pub fn trusting(pem: &str) -> (tempfile::TempDir, SocketOptions) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, pem).unwrap();
    let mut options = quick();
    options.ca_files = vec![path];
    (dir, options)
}

#[tokio::test]
async fn wss_works_with_the_own_authority() {
    let (pem, config) = authority();
    let server = wss_server(config).await;
    let (_dir, options) = trusting(&pem);
    let by_address = connection(format!("wss://{}/stream", server.address));
    let mut by_name = connection(by_address.url.replace("127.0.0.1", "localhost"));
    by_name.name = "by name".to_owned();
    let (sockets, mut inputs) = start_with(&plan(vec![by_address, by_name]), options, 8);
    for _ in 0..2 {
        assert_eq!(until_frame(&mut inputs).await.data.as_ref(), b"secret");
    }
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn wss_without_the_authority_is_refused_in_clear_words() {
    let (_, config) = authority();
    let server = wss_server(config).await;
    let plan = plan(vec![connection(format!("wss://{}/stream", server.address))]);
    let (sockets, mut inputs) = start(&plan);
    eventually("a refusal", || sockets.counters()[SocketCounter::ConnectFailedTls] > 0).await;
    let status = sockets.status().remove(0);
    let words = status.last_error.unwrap();
    assert!(words.starts_with("tls with 127.0.0.1 failed: ") && words.contains("UnknownIssuer"), "{words}");
    assert!(status.reconnects["connect_failed"] >= 1);
    stop(sockets, &mut inputs).await;
}

#[tokio::test]
async fn https_trusts_the_same_authorities() {
    let (pem, config) = authority();
    let server = Server::tcp(move |stream, _| {
        let acceptor = TlsAcceptor::from(Arc::clone(&config));
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            read_head(&mut stream).await;
            stream.write_all(&answer("200 OK", "", "secret")).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    let request = request(format!("https://{}/a", server.address));
    let (_dir, options) = trusting(&pem);
    let client = http_client(&options).unwrap();
    assert_eq!(client.fetch(&Budgets::new(), &request).await.unwrap().as_ref(), b"secret");
    let mut untrusting = quick();
    untrusting.request_tries = 1;
    let failure = http_client(&untrusting).unwrap().fetch(&Budgets::new(), &request).await.unwrap_err();
    assert!(failure.label() == "connect" && failure.to_string().contains("UnknownIssuer"), "{failure}");
}

#[tokio::test]
async fn a_server_that_prefers_http_2_is_offered_only_what_is_spoken() {
    let (pem, config) = authority();
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::tcp(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let chosen = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec).unwrap_or_default();
            read_head(&mut stream).await;
            let chosen = String::from_utf8(chosen).unwrap();
            stream.write_all(&answer("200 OK", "", &chosen)).await.unwrap();
        }
    })
    .await;
    let (_dir, options) = trusting(&pem);
    let request = request(format!("https://{}/a", server.address));
    let answered = http_client(&options).unwrap().fetch(&Budgets::new(), &request).await.unwrap();
    assert_eq!(answered.as_ref(), b"http/1.1");
}

/// The first of two authorities was left out without a word.
#[test]
fn a_byte_order_mark_before_an_authority_costs_nothing() {
    let (pem, _) = authority();
    let (_dir, options) = trusting(&format!("\u{feff}{pem}"));
    http_client(&options).unwrap();
}

#[test]
fn bad_ca_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let refusal = || {
        let options = SocketOptions { ca_files: vec![path.clone()], ..SocketOptions::default() };
        match http_client(&options) {
            Err(error @ SocketError::CaFile { .. }) => error.to_string(),
            other => panic!("accepted: {other:?}"),
        }
    };
    assert!(refusal().contains(path.to_str().unwrap()));
    std::fs::write(&path, "").unwrap();
    assert!(refusal().contains("contains no certificate"));
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(refusal().contains("allowed: a readable PEM file"));
}
