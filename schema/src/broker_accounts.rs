//! Accounts of a centre with regions behind leaf nodes, as text for nats-server's configuration.
//!
//! A region's leaf node logs in to an account of its own at the centre. That account imports what the region's edges may publish and ask for, and
//! exports what central asks of them. Nothing else passes, whoever controls the region, and no answer can be forged: they have subjects of
//! the server's.

use std::collections::BTreeMap;

use crate::{ADAPTERS_WANTED_SUBJECT, BrokerUser, EDGE_STATUS_SUBJECT, repair_subject};

/// Account with the streams.
pub const BROKER_ACCOUNT: &str = "MARKETPRISM";
/// Account of nats-server's own events and requests.
const SYSTEM_ACCOUNT: &str = "SYS";
const SYSTEM_USER: &str = "sys";

/// A region behind a leaf node.
#[derive(Debug, Clone)]
pub struct BrokerRegion {
    /// Name of its account, and of its leaf node's user behind `leaf-`.
    pub name: String,
    /// Its edges and their exchanges.
    pub edges: Vec<(String, Vec<String>)>,
    /// Of the leaf node's user, as [`BrokerUser::password`].
    pub password: String,
}

impl BrokerRegion {
    /// Subjects that its edges publish and ask for.
    fn services(&self) -> Vec<String> {
        let mut subjects: Vec<String> = Vec::new();
        for (edge, exchanges) in &self.edges {
            let exchanges: Vec<&str> = exchanges.iter().map(String::as_str).collect();
            for subject in BrokerUser::edge(edge, &exchanges, "").publish {
                if !subjects.contains(&subject) {
                    subjects.push(subject);
                }
            }
        }
        subjects
    }

    /// Central's requests to its edges: all answer `edge_status`.
    fn requests(&self) -> Vec<String> {
        let repairs = self.edges.iter().map(|(edge, _)| repair_subject(edge));
        repairs.chain([EDGE_STATUS_SUBJECT.to_owned()]).collect()
    }

    fn write(&self, out: &mut String) {
        let Self { name, password, .. } = self;
        out.push_str(&format!(
            "  \"{name}\": {{\n    users: [ {{ user: \"leaf-{name}\", password: {password} }} ]\n    imports: [\n"
        ));
        for subject in self.services() {
            import(out, "service", BROKER_ACCOUNT, &subject);
        }
        import(out, "stream", BROKER_ACCOUNT, ADAPTERS_WANTED_SUBJECT);
        out.push_str("    ]\n    exports: [\n");
        for subject in self.requests() {
            let kind = if subject == EDGE_STATUS_SUBJECT { ", response_type: stream" } else { "" };
            out.push_str(&format!(
                "      {{ service: \"{subject}\"{kind}, accounts: [\"{BROKER_ACCOUNT}\"] }}\n"
            ));
        }
        out.push_str("    ]\n  }\n");
    }
}

fn import(out: &mut String, kind: &str, account: &str, subject: &str) {
    out.push_str(&format!("      {{ {kind}: {{ account: \"{account}\", subject: \"{subject}\" }} }}\n"));
}

/// The `accounts` block of the centre: its users, an account for each region, and the system account.
pub fn hub_accounts(users: &[BrokerUser], regions: &[BrokerRegion], system_password: &str) -> String {
    let mut exports: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for region in regions {
        for subject in region.services() {
            exports.entry(subject).or_default().push(format!("\"{}\"", region.name));
        }
    }
    let all: Vec<String> = regions.iter().map(|region| format!("\"{}\"", region.name)).collect();
    let mut text = open_account(users);
    text.push_str("    exports: [\n");
    for (subject, accounts) in exports {
        text.push_str(&format!("      {{ service: \"{subject}\", accounts: [{}] }}\n", accounts.join(", ")));
    }
    // Without names it would be for every account.
    if !all.is_empty() {
        let accounts = all.join(", ");
        text.push_str(&format!(
            "      {{ stream: \"{ADAPTERS_WANTED_SUBJECT}\", accounts: [{accounts}] }}\n"
        ));
    }
    text.push_str("    ]\n    imports: [\n");
    for region in regions {
        for subject in region.requests() {
            import(&mut text, "service", &region.name, &subject);
        }
    }
    text.push_str("    ]\n  }\n");
    for region in regions {
        region.write(&mut text);
    }
    close_accounts(&mut text, system_password);
    text
}

/// The `accounts` block of a region's leaf node: its edges, in front of the centre's domain.
pub fn leaf_accounts(
    region: &BrokerRegion,
    domain: &str,
    edges: &[BrokerUser],
    system_password: &str,
) -> String {
    let users: Vec<BrokerUser> = edges
        .iter()
        .filter(|user| region.edges.iter().any(|(edge, _)| *edge == user.name))
        .cloned()
        .collect();
    let users: Vec<BrokerUser> = users.into_iter().map(|user| user.in_domain(domain)).collect();
    let mut text = open_account(&users);
    text.push_str("  }\n");
    close_accounts(&mut text, system_password);
    text
}

fn open_account(users: &[BrokerUser]) -> String {
    let mut text = format!("accounts {{\n  \"{BROKER_ACCOUNT}\": {{\n    jetstream: enabled\n    users: [\n");
    for user in users {
        user.write(&mut text);
    }
    text.push_str("    ]\n");
    text
}

fn close_accounts(text: &mut String, system_password: &str) {
    text.push_str(&format!(
        "  \"{SYSTEM_ACCOUNT}\": {{ users: [ {{ user: \"{SYSTEM_USER}\", password: {system_password} }} ] }}\n}}\n\
         system_account: \"{SYSTEM_ACCOUNT}\"\n"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_imports_what_its_own_edges_publish_and_no_more() {
        let region = |name: &str, edge: &str, exchange: &str| BrokerRegion {
            name: name.to_owned(),
            edges: vec![(edge.to_owned(), vec![exchange.to_owned()])],
            password: "p".to_owned(),
        };
        let regions = [region("tokyo", "t-1", "one"), region("virginia", "v-1", "two")];
        let text = hub_accounts(&[BrokerUser::central("c")], &regions, "s");
        let of_tokyo =
            text.split("  \"tokyo\": {").nth(1).unwrap().split("  \"virginia\": {").next().unwrap();
        assert!(
            of_tokyo.contains("subject: \"trade.one.*.*\"") && of_tokyo.contains("subject: \"audit.t-1\"")
        );
        for foreign in ["two", "v-1", "STREAM.DELETE", "STREAM.CREATE", "\">\""] {
            assert!(!of_tokyo.contains(foreign), "{foreign}: {of_tokyo}");
        }
        assert!(text.contains("{ service: \"trade.one.*.*\", accounts: [\"tokyo\"] }"), "{text}");
        assert!(text.contains(
            "{ service: \"$JS.API.STREAM.INFO.MARKET_DATA\", accounts: [\"tokyo\", \"virginia\"] }"
        ));
    }
}
