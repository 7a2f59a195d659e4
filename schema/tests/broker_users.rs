//! The shipped users of brokers are what the code writes.

#![allow(clippy::unwrap_used)]

use marketprism_schema::{BrokerRegion, BrokerUser, broker_authorization, hub_accounts, leaf_accounts};

/// Of the edges in `deploy/examples`.
const REGIONS: [(&str, &str, &[&str]); 3] = [
    ("tokyo", "tokyo-1", &["binance_spot", "binance_derivatives", "okx_spot"]),
    ("frankfurt", "frankfurt-1", &["deribit_derivatives"]),
    ("virginia", "virginia-1", &["kraken_spot"]),
];
const DOMAIN: &str = "hub";

fn password(user: &str) -> String {
    format!("$NATS_PASSWORD_{}", user.to_uppercase().replace('-', "_"))
}

fn files() -> Vec<(String, String)> {
    let regions: Vec<BrokerRegion> = REGIONS
        .iter()
        .map(|(name, edge, exchanges)| BrokerRegion {
            name: (*name).to_owned(),
            edges: vec![((*edge).to_owned(), exchanges.iter().map(|&one| one.to_owned()).collect())],
            password: password(&format!("leaf-{name}")),
        })
        .collect();
    let edges: Vec<BrokerUser> = REGIONS
        .iter()
        .map(|(_, edge, exchanges)| BrokerUser::edge(edge, exchanges, &password(edge)))
        .collect();
    let of_all =
        [BrokerUser::central(&password("central")), BrokerUser::reader("reader", &password("reader"))];
    let single: Vec<BrokerUser> = of_all.iter().chain(&edges).cloned().collect();
    let mut files = vec![
        ("authorization.conf".to_owned(), broker_authorization(&single)),
        ("accounts.conf".to_owned(), hub_accounts(&of_all, &regions, &password("sys"))),
    ];
    for region in &regions {
        let text = leaf_accounts(region, DOMAIN, &edges, &password("sys"));
        files.push((format!("leaf-accounts-{}.conf", region.name), text));
    }
    files
}

#[test]
fn the_shipped_users_are_up_to_date() {
    let mut outdated = Vec::new();
    for (name, wanted) in files() {
        let path = format!("{}/../deploy/nats/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::fs::read_to_string(&path).unwrap_or_default() != wanted {
            std::fs::write(path, &wanted).unwrap();
            outdated.push(name);
        }
    }
    assert!(
        outdated.is_empty(),
        "{outdated:?} of deploy/nats were out of date; they are rewritten: commit them"
    );
}
