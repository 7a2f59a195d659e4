//! Promise: central and `make up` reach ClickHouse over TLS, hot and cold, and name the key that a refused handshake lacks.

use std::path::Path;
use std::sync::Arc;

use marketprism_local::{ClickHouse as LocalClickHouse, ClickHouseTls, Client, Settings as LocalSettings};
use marketprism_tests::broker::Broker;
use marketprism_tests::central::{Central, Settings};
use marketprism_tests::clickhouse::ClickHouse;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::certificates::certificates;

const NAME: &str = "clickhouse.internal";

/// TLS in front of a plain port, for clients with a certificate of the authority. Returns its port.
async fn tls_front(folder: &Path, far: u16) -> (u16, JoinHandle<()>) {
    let chain = |name: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(folder.join(name)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let mut roots = RootCertStore::empty();
    roots.add(chain("ca.pem").remove(0)).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            chain("server.pem"),
            PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut near) = acceptor.accept(near).await else { return };
                let mut far = TcpStream::connect(("127.0.0.1", far)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    (port, serving)
}

type Variables = Vec<(String, String)>;

/// The keys for TLS of hot and cold as variables of central, with some of them changed; an empty one is left out.
fn variables(folder: &Path, changed: &[(&str, String)]) -> Variables {
    let file = |name: &str| folder.join(name).display().to_string();
    let keys = [
        ("CA_FILE", file("ca.pem")),
        ("CLIENT_CERT_FILE", file("client.pem")),
        ("CLIENT_KEY_FILE", file("client.key")),
        ("SERVER_NAME", NAME.to_owned()),
    ];
    let mut variables = Vec::new();
    for side in ["", "COLD__"] {
        for (key, right) in &keys {
            let changed = changed.iter().find(|(name, _)| name == key).map(|(_, value)| value);
            let value = changed.unwrap_or(right);
            if !value.is_empty() {
                variables.push((format!("MARKETPRISM_CLICKHOUSE__{side}{key}"), value.clone()));
            }
        }
    }
    variables
}

fn set(central: &mut Central, variables: &Variables) {
    let variables: Vec<(&str, String)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    central.set_variables(&variables);
}

async fn init_names_the_key(central: &mut Central, folder: &Path, other: &Path) {
    let file = |name: &str| other.join(name).display().to_string();
    let none = String::new();
    for (changed, expected) in [
        (vec![("CA_FILE", file("ca.pem"))], "of no known authority; name the authority's file with ca_file"),
        (vec![("SERVER_NAME", "another.internal".to_owned())], "for another name"),
        (
            vec![("CLIENT_CERT_FILE", none.clone()), ("CLIENT_KEY_FILE", none.clone())],
            "set client_cert_file and client_key_file",
        ),
        (
            vec![("CLIENT_CERT_FILE", file("client.pem")), ("CLIENT_KEY_FILE", file("client.key"))],
            "the server refuses the certificate of client_cert_file",
        ),
    ] {
        set(central, &variables(folder, &changed));
        let (status, _, error) = central.ask(&["init"]).await;
        assert!(status != Some(0) && error.contains(expected), "{expected}: {error}");
    }
}

async fn make_up_asks_over_tls(folder: &Path, url: &str) {
    let given = variables(folder, &[]).into_iter().chain([("CLICKHOUSE_URL".to_owned(), url.to_owned())]);
    let server = LocalSettings::read(&given.collect()).unwrap().clickhouse.unwrap();
    let client = Client::new().unwrap();
    assert_eq!(client.query(&server, "SELECT 7").await.unwrap(), [["7"]]);
    let tls = ClickHouseTls { server_name: None, ..server.tls.clone() };
    let nameless = LocalClickHouse { tls, ..server };
    let error = client.query(&nameless, "SELECT 7").await.unwrap_err().to_string();
    assert!(error.contains("for another name"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_is_reached_over_tls_and_a_refused_handshake_names_the_key() {
    let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    certificates(folder.path(), &[NAME]);
    certificates(other.path(), &[NAME]);
    let (broker, clickhouse) = tokio::join!(Broker::start(folder.path()), ClickHouse::start(folder.path()));
    let (port, serving) = tls_front(folder.path(), clickhouse.port()).await;
    let hot = clickhouse.url().replace("http://", "https://");
    let hot = hot.replace(&clickhouse.port().to_string(), &port.to_string());
    let nats = broker.nats();
    // Another name of the machine, as if the cold database were on a server of its own.
    let cold = hot.replace("127.0.0.1", "localhost");
    let settings = Settings { cold: Some(&cold), ..Settings::plain(&nats, &hot) };
    let mut central = Central::prepared(folder.path(), &settings);
    set(&mut central, &variables(folder.path(), &[]));
    central.init().await;
    let tables =
        "SELECT count() FROM system.tables WHERE startsWith(database, 'marketprism_') AND name = 'trades'";
    assert_eq!(clickhouse.number(tables).await.unwrap(), 2);
    let (_, found, _) = central.ask(&["diagnose"]).await;
    assert!(found.contains(&format!("clickhouse cold: https://localhost:{port}")), "{found}");
    init_names_the_key(&mut central, folder.path(), other.path()).await;
    make_up_asks_over_tls(folder.path(), &hot).await;
    serving.abort();
}
