//! Bill of materials in the form of CycloneDX 1.5: the crates that a program is linked from, as `cargo metadata` resolves them.
//!
//! Features are those of the whole workspace, so it may name a crate too many, never one too few.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::architecture::Architecture;
use crate::checksums::hex;
use crate::tools::run;

#[derive(Debug, Deserialize)]
pub struct CrateGraph {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// Registry; none for the crates of this repository.
    source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    /// `dev`, `build`, or none for what is linked.
    kind: Option<String>,
}

impl CrateGraph {
    /// Of the locked versions, for one platform.
    pub fn read(root: &Path, architecture: Architecture) -> anyhow::Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo.args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            &architecture.target(),
        ]);
        cargo.arg("--manifest-path").arg(root.join("Cargo.toml"));
        serde_json::from_str(&run(&mut cargo)?).context("cargo metadata")
    }

    /// The bill of a program, whose package has its name.
    pub fn bill(&self, program: &str) -> anyhow::Result<Value> {
        let packages: BTreeMap<&str, &Package> =
            self.packages.iter().map(|one| (one.id.as_str(), one)).collect();
        let root = self.packages.iter().find(|package| package.name == program && package.source.is_none());
        let root = root.with_context(|| format!("no package {program}"))?;
        let linked = self.linked(&root.id);
        let mut components = Vec::new();
        let mut dependencies = Vec::new();
        for (id, needs) in &linked {
            let package = packages.get(id).with_context(|| format!("no package {id}"))?;
            if *id != root.id {
                components.push(component(package, "library"));
            }
            let needs: Vec<String> =
                needs.iter().filter_map(|id| packages.get(id)).map(|one| reference(one)).collect();
            dependencies.push(json!({ "ref": reference(package), "dependsOn": needs }));
        }
        let mut bill = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": { "component": component(root, "application") },
            "components": components,
            "dependencies": dependencies,
        });
        let number = serial_number(&bill);
        insert(&mut bill, "serialNumber", number.into());
        Ok(bill)
    }

    /// Packages that are linked, each with those that it links itself.
    fn linked(&self, root: &str) -> BTreeMap<&str, BTreeSet<&str>> {
        let nodes: BTreeMap<&str, &Node> =
            self.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let mut linked = BTreeMap::new();
        let mut waiting: Vec<&str> = nodes.get_key_value(root).map(|(id, _)| *id).into_iter().collect();
        while let Some(id) = waiting.pop() {
            if linked.contains_key(id) {
                continue;
            }
            let deps = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
            let deps = deps.iter().filter(|one| one.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            let needs: BTreeSet<&str> = deps.map(|one| one.pkg.as_str()).collect();
            waiting.extend(&needs);
            linked.insert(id, needs);
        }
        linked
    }
}

/// Package URL; that of a crate of this repository too, so that references are of one form.
fn reference(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version.replace('+', "%2B"))
}

fn component(package: &Package, kind: &str) -> Value {
    let url = reference(package);
    let mut component = json!({
        "type": kind,
        "bom-ref": url,
        "name": package.name,
        "version": package.version,
        "purl": url,
    });
    if let Some(license) = &package.license {
        let expression = license.replace(" / ", " OR ").replace('/', " OR ");
        insert(&mut component, "licenses", json!([{ "expression": expression }]));
    }
    component
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// A UUID made from the content: the same bill has the same number.
fn serial_number(content: &Value) -> String {
    let digest = hex(&Sha256::digest(content.to_string().as_bytes()));
    let part = |from: usize, to: usize| digest.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_names_what_is_linked_and_nothing_else() {
        let package = |name: &str, source: &str| {
            let source = if source.is_empty() { Value::Null } else { source.into() };
            json!({ "id": name, "name": name, "version": "1.0.0+a", "license": "MIT/Apache-2.0", "source": source })
        };
        let dep = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let graph = json!({
            "packages": [package("app", ""), package("linked", "r"), package("below", "r"), package("tester", "r"), package("builder", "r")],
            "resolve": { "nodes": [
                { "id": "app", "deps": [dep("linked", Value::Null), dep("tester", "dev".into()), dep("builder", "build".into())] },
                { "id": "linked", "deps": [dep("below", Value::Null)] },
                { "id": "below", "deps": [dep("linked", Value::Null)] },
            ] },
        });
        let graph: CrateGraph = serde_json::from_value(graph).unwrap();
        let bill = graph.bill("app").unwrap();
        let names: Vec<&str> =
            bill["components"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["below", "linked"]);
        assert_eq!(bill["components"][0]["purl"], "pkg:cargo/below@1.0.0%2Ba");
        assert_eq!(bill["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(
            bill["dependencies"][0],
            json!({ "ref": "pkg:cargo/app@1.0.0%2Ba", "dependsOn": ["pkg:cargo/linked@1.0.0%2Ba"] })
        );
        assert_eq!(bill["serialNumber"], graph.bill("app").unwrap()["serialNumber"]);
        assert_eq!(bill["serialNumber"].as_str().unwrap().len(), "urn:uuid:".len() + 36);
        assert!(graph.bill("other").is_err());
    }
}
