//! Promise: what the files of `deploy/compose`, `deploy/docker` and `deploy/kubernetes` name exists, and their command lines and those of
//! `deploy/OPERATIONS.md` work.

mod bounds;
mod compose;
mod kubernetes;
mod pages;
mod restore;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use marketprism_tests::parts;
use marketprism_tests::process::run;
use serde_json::Value;

/// Mounted into the containers of edge and central.
const SECRETS: [&str; 2] = ["/run/marketprism-tls", "/run/marketprism"];

fn deploy(path: &str) -> PathBuf {
    parts::root().join("deploy").join(path)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a YAML text.
fn yaml(text: &str) -> Vec<Value> {
    let script = "import json, sys, yaml\nprint(json.dumps(list(yaml.safe_load_all(sys.argv[1]))))";
    serde_json::from_str(&run(Command::new(parts::python()).args(["-c", script, text]))).unwrap()
}

fn words(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// `check` of edge or central on a configuration whose mounted files are in `secrets`.
fn checked(program: &str, config: &Path, secrets: &Path, variables: &[(String, String)]) {
    let folder = tempfile::tempdir().unwrap();
    let adapters = parts::adapter_of("binance_spot");
    let there = |text: &str| {
        let text =
            text.replace("/usr/lib/marketprism/adapters", adapters.parent().unwrap().to_str().unwrap());
        SECRETS
            .iter()
            .fold(text, |text, mount| text.replace(&format!("{mount}/"), &format!("{}/", secrets.display())))
    };
    let file = folder.path().join("config.toml");
    std::fs::write(&file, there(&text(config))).unwrap();
    let mut command = Command::new(parts::binary(program));
    command.args(["check", "--config"]).arg(&file).current_dir(folder.path());
    command.envs(variables.iter().map(|(name, value)| (name, there(value))));
    run(&mut command);
}

/// Each `$NATS_...` of a configuration and its include has a value.
fn nats_variables_are_given(files: &[PathBuf], given: &BTreeSet<String>) {
    for file in files {
        for word in text(file).split('$').skip(1).filter(|word| word.starts_with("NATS_")) {
            let name: String = word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            assert!(given.contains(&name), "{}: ${name} has no value", file.display());
        }
    }
}
