//! `broker-users`: the users of a nats-server for the edges of a file, and passwords for those that have none.

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use marketprism_config::{ConfigError, Document, Problems};
use marketprism_schema::{
    BrokerRegion, BrokerUser, CENTRAL_USER, EDGE_NAME_ALLOWED, EXCHANGE_NAME_ALLOWED, broker_authorization,
    hub_accounts, is_edge_name, is_exchange_name, leaf_accounts,
};
use marketprism_service::print;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::replaced_file::ReplacedFile;

const READER: &str = "reader";
const SYSTEM: &str = "sys";
const LEAF_PREFIX: &str = "leaf-";
/// JetStream domain of `deploy/nats/cluster.conf`.
const HUB_DOMAIN: &str = "hub";
const SINGLE: &str = "single";
const CLUSTER: &str = "cluster";
/// Password of the shipped variables.
const PLACEHOLDER: &str = "change-me";

#[derive(Debug, Args)]
pub struct BrokerUsersArgs {
    /// File with an [[edge]] for each edge: its name, its exchanges, and its region if it is behind a leaf node.
    edges: PathBuf,
    /// The server: `single`, `cluster`, or the region of a leaf node.
    #[arg(long, value_name = "SERVER", default_value = SINGLE)]
    server: String,
    /// Folder of the server's configuration.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The server's variables: each of its users that has no password there, or `change-me`, gets one that is drawn; all others stay.
    #[arg(long, value_name = "FILE")]
    env: Option<PathBuf>,
}

/// The file of the edges.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct BrokerEdges {
    #[schemars(extend("x-required" = true))]
    edge: Vec<BrokerEdge>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct BrokerEdge {
    /// `edge.name` of its configuration.
    #[schemars(extend("x-required" = true, "x-allowed" = EDGE_NAME_ALLOWED))]
    name: String,
    /// Region of the leaf node that it connects to.
    region: Option<String>,
    /// Exchange ids of its feeds: it may publish their events and no others.
    #[schemars(extend("x-required" = true, "uniqueItems" = true))]
    exchanges: Vec<String>,
}

/// A file for nats-server to include.
struct UsersFile {
    name: &'static str,
    text: String,
    /// Users whose passwords are variables in it.
    users: Vec<String>,
}

impl BrokerEdges {
    fn parse(source: &str, text: &str) -> Result<Self, ConfigError> {
        let document = Document::parse(source, text, PathBuf::new(), std::iter::empty())?;
        let (edges, mut problems) = document.read::<Self>();
        edges.check(&mut problems);
        problems.finish().map(|()| edges)
    }

    fn check(&self, problems: &mut Problems<'_>) {
        let mut names = BTreeSet::new();
        for (index, edge) in self.edge.iter().enumerate() {
            let key = |key: &str| format!("edge[{index}].{key}");
            let (name, path) = (edge.name.as_str(), key("name"));
            let is_taken = [CENTRAL_USER, READER, SYSTEM].contains(&name) || name.starts_with(LEAF_PREFIX);
            let allowed =
                format!("{EDGE_NAME_ALLOWED}; not {CENTRAL_USER}, {READER}, {SYSTEM} or {LEAF_PREFIX}...");
            problems.demand(is_edge_name(name) && !is_taken, &path, format!("is {name:?}"), allowed);
            problems.demand(
                names.insert(name),
                &path,
                format!("is {name:?} a second time"),
                "each name once",
            );
            if let Some(region) = &edge.region {
                let is_legal = is_edge_name(region) && ![SINGLE, CLUSTER].contains(&region.as_str());
                let allowed = format!("{EDGE_NAME_ALLOWED}; not {SINGLE} or {CLUSTER}");
                problems.demand(is_legal, &key("region"), format!("is {region:?}"), allowed);
            }
            for exchange in &edge.exchanges {
                let what = format!("has {exchange:?}");
                problems.demand(is_exchange_name(exchange), &key("exchanges"), what, EXCHANGE_NAME_ALLOWED);
            }
        }
    }

    fn users(&self) -> Vec<BrokerUser> {
        let user = |edge: &BrokerEdge| {
            let exchanges: Vec<&str> = edge.exchanges.iter().map(String::as_str).collect();
            BrokerUser::edge(&edge.name, &exchanges, &reference(&edge.name))
        };
        self.edge.iter().map(user).collect()
    }

    /// In the order of the file.
    fn regions(&self) -> Vec<BrokerRegion> {
        let mut regions: Vec<BrokerRegion> = Vec::new();
        for edge in &self.edge {
            let Some(name) = &edge.region else { continue };
            let added = (edge.name.clone(), edge.exchanges.clone());
            match regions.iter_mut().find(|region| region.name == *name) {
                Some(region) => region.edges.push(added),
                None => regions.push(BrokerRegion {
                    name: name.clone(),
                    edges: vec![added],
                    password: reference(&format!("{LEAF_PREFIX}{name}")),
                }),
            }
        }
        regions
    }

    fn file_of(&self, server: &str) -> anyhow::Result<UsersFile> {
        let of_all =
            [BrokerUser::central(&reference(CENTRAL_USER)), BrokerUser::reader(READER, &reference(READER))];
        let (edges, regions) = (self.users(), self.regions());
        let names = |users: &[BrokerUser]| users.iter().map(|user| user.name.clone()).collect::<Vec<_>>();
        Ok(match server {
            SINGLE => {
                let users: Vec<BrokerUser> = of_all.into_iter().chain(edges).collect();
                let text = broker_authorization(&users);
                UsersFile { name: "authorization.conf", text, users: names(&users) }
            }
            CLUSTER => {
                let is_here = |user: &BrokerUser| {
                    !regions.iter().flat_map(|r| &r.edges).any(|(name, _)| *name == user.name)
                };
                let users: Vec<BrokerUser> =
                    of_all.into_iter().chain(edges.into_iter().filter(is_here)).collect();
                let leaves = regions.iter().map(|region| format!("{LEAF_PREFIX}{}", region.name));
                let all = names(&users).into_iter().chain(leaves).chain([SYSTEM.to_owned()]).collect();
                let text = hub_accounts(&users, &regions, &reference(SYSTEM));
                UsersFile { name: "accounts.conf", text, users: all }
            }
            name => {
                let Some(region) = regions.iter().find(|region| region.name == name) else {
                    let known: Vec<&str> = regions.iter().map(|region| region.name.as_str()).collect();
                    bail!(
                        "--server is {name:?} (allowed: {SINGLE}, {CLUSTER}, or a region of the edges: {})",
                        known.join(", ")
                    );
                };
                let own = region.edges.iter().map(|(edge, _)| edge.clone());
                let users = own.chain([SYSTEM.to_owned()]).collect();
                let text = leaf_accounts(region, HUB_DOMAIN, &edges, &reference(SYSTEM));
                UsersFile { name: "leaf-accounts.conf", text, users }
            }
        })
    }
}

fn variable(user: &str) -> String {
    format!("NATS_PASSWORD_{}", user.to_uppercase().replace('-', "_"))
}

/// A password as nats-server reads it.
fn reference(user: &str) -> String {
    format!("${}", variable(user))
}

/// Begins with a letter: nats-server would read digits as a number.
fn drawn_password() -> String {
    format!("p{:032x}", rand::random::<u128>())
}

/// The variables with a password for every user, and the users that got one now.
fn with_passwords(variables: &str, users: &[String]) -> (String, Vec<String>) {
    let mut lines: Vec<String> = variables.lines().map(str::to_owned).collect();
    let mut drawn = Vec::new();
    for user in users {
        let start = format!("{}=", variable(user));
        let given = lines.iter_mut().find(|line| line.starts_with(&start));
        let password = given.as_ref().and_then(|line| line.strip_prefix(&start)).unwrap_or_default();
        if !["", PLACEHOLDER].contains(&password.trim()) {
            continue;
        }
        let line = format!("{start}{}", drawn_password());
        match given {
            Some(given) => *given = line,
            None => lines.push(line),
        }
        drawn.push(user.clone());
    }
    (lines.join("\n") + "\n", drawn)
}

/// A new file is for its owner and the group of the file `beside`, which the server reads too.
fn replace(path: &Path, text: &str, beside: Option<&Path>) -> anyhow::Result<()> {
    let group = beside.filter(|_| !path.exists()).and_then(|beside| fs::metadata(beside).ok());
    let mut file = ReplacedFile::create(path, Some(0o640))?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())?;
    file.commit()?;
    if let Some(group) = group {
        // Fails for a group that this user is not in: whoever installs the file chooses it then.
        let _ = chown(path, None, Some(group.gid()));
    }
    Ok(())
}

pub fn execute(args: &BrokerUsersArgs) -> anyhow::Result<()> {
    print(&(write_files(args)?.join("\n") + "\n"))?;
    Ok(())
}

/// Returns what it did, line by line.
fn write_files(args: &BrokerUsersArgs) -> anyhow::Result<Vec<String>> {
    let source = args.edges.display().to_string();
    let text = fs::read_to_string(&args.edges).with_context(|| source.clone())?;
    let file = BrokerEdges::parse(&source, &text)?.file_of(&args.server)?;
    let (mut said, mut has_changed) = (Vec::new(), false);
    // Before the users: a server that reads them without their passwords does not start.
    if let Some(env) = &args.env {
        let shown = env.display();
        let variables = match fs::read_to_string(env) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(|| shown.to_string())?,
        };
        let (variables, drawn) = with_passwords(&variables, &file.users);
        if drawn.is_empty() {
            said.push(format!("{shown}: every user has a password"));
        } else {
            replace(env, &variables, None)?;
            has_changed = true;
            said.push(format!("{shown}: new passwords for {}", drawn.join(", ")));
        }
    }
    let path = args.out.join(file.name);
    let shown = path.display();
    if fs::read_to_string(&path).is_ok_and(|present| present == file.text) {
        said.push(format!("{shown}: as before"));
    } else {
        replace(&path, &file.text, args.env.as_deref())?;
        has_changed = true;
        said.push(format!("{shown}: users {}", file.users.join(", ")));
    }
    if has_changed {
        said.push("restart nats-server: a reload does not read its variables again".to_owned());
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped(name: &str) -> String {
        let path = format!("{}/../deploy/nats/{name}", env!("CARGO_MANIFEST_DIR"));
        fs::read_to_string(&path).unwrap_or_default()
    }

    #[test]
    fn the_shipped_users_are_those_of_the_shipped_edges() {
        let edges = BrokerEdges::parse("edges.toml", &shipped("edges.toml")).unwrap();
        let mut outdated = Vec::new();
        for server in [SINGLE, CLUSTER, "tokyo", "frankfurt", "virginia"] {
            let file = edges.file_of(server).unwrap();
            let name = match file.name {
                "leaf-accounts.conf" => format!("leaf-accounts-{server}.conf"),
                name => name.to_owned(),
            };
            if shipped(&name) != file.text {
                fs::write(format!("{}/../deploy/nats/{name}", env!("CARGO_MANIFEST_DIR")), file.text)
                    .unwrap();
                outdated.push(name);
            }
            let env = match server {
                SINGLE | CLUSTER => format!("{server}.env"),
                _ => "leaf.env".to_owned(),
            };
            // leaf.env is written for Tokyo.
            let users =
                file.users.iter().filter(|user| env != "leaf.env" || server == "tokyo" || *user == SYSTEM);
            for user in users {
                assert!(shipped(&env).contains(&format!("\n{}=", variable(user))), "{env}: {user}");
            }
        }
        assert!(
            outdated.is_empty(),
            "{outdated:?} of deploy/nats were out of date; they are rewritten: commit them"
        );
    }

    #[test]
    fn names_that_would_widen_rights_are_refused_all_at_once() {
        let text = r#"
            [[edge]]
            name = "central"
            exchanges = ["one_spot", ">", "*"]
            [[edge]]
            name = "edge-1"
            region = "single"
            exchanges = ["one_spot"]
            [[edge]]
            name = "edge-1"
            exchange = ["one_spot"]
        "#;
        let error = BrokerEdges::parse("edges.toml", text).unwrap_err().to_string();
        for part in [
            "edge[0].name: is \"central\"",
            "edge[0].exchanges: has \">\"",
            "edge[0].exchanges: has \"*\"",
            "edge[1].region: is \"single\"",
            "a second time",
            "edge[2].exchange",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let edges =
            BrokerEdges::parse("edges.toml", "[[edge]]\nname = \"e\"\nexchanges = [\"x\"]\n").unwrap();
        let error = edges.file_of("tokio").err().unwrap().to_string();
        assert!(error.contains("\"tokio\""), "{error}");
        // An edge without a region logs in at the cluster itself.
        assert!(edges.file_of(CLUSTER).unwrap().text.contains("user: \"e\""));
    }

    #[test]
    fn a_password_is_drawn_once_and_every_other_variable_stays() {
        let users = ["central".to_owned(), "edge-1".to_owned(), "edge-2".to_owned()];
        let before = "# mine\nNATS_NAME=n\nNATS_PASSWORD_CENTRAL=secret\nNATS_PASSWORD_EDGE_1=change-me\n";
        let (after, drawn) = with_passwords(before, &users);
        assert_eq!(drawn, ["edge-1", "edge-2"]);
        assert!(
            after.starts_with("# mine\nNATS_NAME=n\nNATS_PASSWORD_CENTRAL=secret\nNATS_PASSWORD_EDGE_1=p"),
            "{after}"
        );
        assert!(!after.contains(PLACEHOLDER) && after.contains("\nNATS_PASSWORD_EDGE_2=p"), "{after}");
        assert_eq!(with_passwords(&after, &users), (after.clone(), Vec::new()));
    }

    /// `sudo` writes for a server that runs as another user, in a folder of root's.
    #[test]
    fn a_new_file_belongs_to_the_group_that_reads_the_variables() {
        let folder = tempfile::tempdir().unwrap();
        let (edges, env) = (folder.path().join("edges.toml"), folder.path().join("leaf.env"));
        fs::write(&edges, "[[edge]]\nname = \"edge-1\"\nexchanges = [\"one_spot\"]\n").unwrap();
        fs::write(&env, "").unwrap();
        // Of root only: for anybody else it is the own group.
        let _ = chown(&env, None, Some(4_321));
        let out = folder.path().to_owned();
        write_files(&BrokerUsersArgs { edges, server: SINGLE.to_owned(), out, env: Some(env.clone()) })
            .unwrap();
        let users = fs::metadata(folder.path().join("authorization.conf")).unwrap();
        assert_eq!((users.gid(), users.mode() & 0o777), (fs::metadata(&env).unwrap().gid(), 0o640));
    }

    #[test]
    fn a_restart_is_asked_for_once_users_or_passwords_are_new() {
        let folder = tempfile::tempdir().unwrap();
        let (edges, env) = (folder.path().join("edges.toml"), folder.path().join("single.env"));
        fs::write(&edges, "[[edge]]\nname = \"edge-1\"\nexchanges = [\"one_spot\"]\n").unwrap();
        let out = folder.path().to_owned();
        let args = BrokerUsersArgs { edges, server: SINGLE.to_owned(), out, env: Some(env.clone()) };
        let asks = || write_files(&args).unwrap().iter().any(|line| line.starts_with("restart nats-server"));
        assert!(asks(), "both are new");
        assert!(!asks(), "nothing is new");
        fs::write(&env, "NATS_PASSWORD_CENTRAL=change-me\n").unwrap();
        assert!(asks(), "the server still takes the passwords of before");
        fs::remove_file(folder.path().join("authorization.conf")).unwrap();
        assert!(asks(), "the users are new");
    }
}
