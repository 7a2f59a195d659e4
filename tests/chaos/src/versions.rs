//! Versions of an adapter, signed, and their load into a running edge.

use std::path::{Path, PathBuf};
use std::time::Duration;

use marketprism_tests::edge::{Edge, keygen, sign};
use marketprism_tests::parts;

pub const TOKEN: &str = "a token for tests only";
/// Limit of one change.
const CHANGE: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub struct SignedVersions {
    folder: PathBuf,
    component: Vec<u8>,
    /// Key that an edge trusts.
    pub public_key: String,
    number: u32,
}

impl SignedVersions {
    pub fn of(adapter: &str, folder: &Path) -> Self {
        let component = std::fs::read(parts::adapter(adapter)).unwrap();
        let public_key = keygen(&folder.join("key"));
        Self { folder: folder.to_owned(), component, public_key, number: 0 }
    }

    /// Equal program with another digest.
    pub fn next_file(&mut self) -> PathBuf {
        self.number += 1;
        let number = self.number.to_le_bytes();
        // A custom section: its kind, its length, its name with length.
        let section = [&[0, 12, 7][..], b"version", &number].concat();
        let component = [&self.component[..], &section].concat();
        sign(&self.folder, &component, &format!("version-{}", self.number), "key", None)
    }

    /// Loads the next version. A venue without frames refuses it: nothing can be compared.
    pub async fn load_into(&mut self, edge: &Edge) {
        load(&self.next_file(), edge).await;
    }
}

/// Loads a component into a running edge, or prints why not.
pub async fn load(file: &Path, edge: &Edge) {
    let mut command = tokio::process::Command::new(parts::binary("marketprism-edge"));
    command.args(["adapter", "load"]).arg(file).arg("--config").arg(edge.folder().join("edge.toml"));
    command.env("MARKETPRISM_HTTP__TOKEN", TOKEN).kill_on_drop(true);
    match tokio::time::timeout(CHANGE, command.output()).await {
        Ok(output) if output.as_ref().unwrap().status.success() => {}
        Ok(output) => {
            println!("adapter not changed: {}", String::from_utf8_lossy(&output.unwrap().stderr))
        }
        Err(_elapsed) => println!("adapter not changed within {CHANGE:?}"),
    }
}
