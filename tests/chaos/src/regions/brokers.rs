//! Brokers of `deploy/nats`: the centre's cluster, and a leaf node in each region. All regions also collect one venue that they share, so the
//! users and accounts are written for that.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::{self, context::ContextBuilder, stream::Info};
use async_nats::{Client, ConnectOptions};
use marketprism_schema::{BrokerRegion, BrokerUser, CENTRAL_CONNECTION, hub_accounts, leaf_accounts};
use marketprism_tests::nats_files::{NatsFromFiles, certificates, cluster};

use super::namespace::Namespace;
use super::plan::{REGIONS, wan_addresses};

/// JetStream domain of the centre.
pub const DOMAIN: &str = "hub";
const ANSWER: Duration = Duration::from_secs(5);

/// Certificates of every part; the brokers' are valid for the addresses under which the regions reach the centre.
pub fn write_certificates(folder: &Path) {
    let addresses: Vec<String> = (0..REGIONS.len()).map(|region| wan_addresses(region)[0].clone()).collect();
    certificates(folder, &[&format!("server,{}", addresses.join(",")), "client"]);
}

fn password(user: &str) -> String {
    format!("$NATS_PASSWORD_{}", user.to_uppercase().replace('-', "_"))
}

/// Accounts file of the cluster, and those of the leaf nodes. `exchanges`: those of each region.
fn accounts(exchanges: &[Vec<String>]) -> (String, Vec<String>) {
    let regions: Vec<BrokerRegion> = REGIONS
        .iter()
        .zip(exchanges)
        .map(|(region, exchanges)| BrokerRegion {
            name: region.name.to_owned(),
            edges: vec![(region.edge.to_owned(), exchanges.clone())],
            password: password(&format!("leaf-{}", region.name)),
        })
        .collect();
    let edge = |(region, exchanges): (&super::plan::RegionPlan, &Vec<String>)| {
        let exchanges: Vec<&str> = exchanges.iter().map(String::as_str).collect();
        BrokerUser::edge(region.edge, &exchanges, &password(region.edge))
    };
    let edges: Vec<BrokerUser> = REGIONS.iter().zip(exchanges).map(edge).collect();
    let users =
        [BrokerUser::central(&password("central")), BrokerUser::reader("reader", &password("reader"))];
    let hub = hub_accounts(&users, &regions, &password("sys"));
    let leaf = |region| leaf_accounts(region, DOMAIN, &edges, &password("sys"));
    (hub, regions.iter().map(leaf).collect())
}

/// The cluster, started inside the centre, and the leaf nodes, each started inside its region.
pub fn start(
    folder: &Path,
    tls: &Path,
    centre: &Namespace,
    regions: &[Namespace],
    exchanges: &[Vec<String>],
) -> (Vec<NatsFromFiles>, Vec<NatsFromFiles>) {
    let (hub_file, leaf_files) = accounts(exchanges);
    let (servers, leaf_ports) = centre.run(async || {
        let (mut servers, leaf_ports) = cluster(folder, tls, "0.0.0.0");
        for server in &mut servers {
            std::fs::write(folder.join(server.name()).join("accounts.conf"), &hub_file).unwrap();
            server.start();
        }
        (servers, leaf_ports)
    });
    let mut leaves = Vec::new();
    for (index, (region, namespace)) in REGIONS.iter().zip(regions).enumerate() {
        let [hub, _] = wan_addresses(index);
        let login = format!("leaf-{}", region.name);
        let secret = servers[0].password(&login.to_uppercase().replace('-', "_"));
        let url = |port| format!("tls://{login}:{secret}@{hub}:{port}");
        let hubs: Vec<String> = leaf_ports.iter().map(url).collect();
        let own = [("NATS_HUB_URLS", format!("[{}]", hubs.join(", ")))];
        leaves.push(namespace.run(async || {
            let mut leaf = NatsFromFiles::prepared(folder, tls, "leaf", &login, &own);
            std::fs::write(folder.join(&login).join("leaf-accounts.conf"), &leaf_files[index]).unwrap();
            leaf.start();
            leaf.listens().await;
            leaf
        }));
    }
    (servers, leaves)
}

/// A connection as central, from inside the centre.
pub async fn connect(tls: &Path, servers: &[NatsFromFiles]) -> Result<Client, String> {
    let urls: Vec<String> = servers.iter().map(NatsFromFiles::url).collect();
    let options =
        ConnectOptions::with_user_and_password("central".into(), servers[0].password("CENTRAL").to_owned())
            .custom_inbox_prefix(format!("_INBOX.{CENTRAL_CONNECTION}"))
            .add_root_certificates(tls.join("ca.pem"))
            .add_client_certificate(tls.join("client.pem"), tls.join("client-key.pem"));
    options.connect(urls).await.map_err(|error| error.to_string())
}

/// State of a stream, with that of its replicas.
pub async fn stream(client: &Client, name: &str) -> Result<Info, String> {
    let context: jetstream::Context = ContextBuilder::new().timeout(ANSWER).build(client.clone());
    let stream = context.get_stream(name).await.map_err(|error| error.to_string())?;
    Ok(stream.cached_info().clone())
}
