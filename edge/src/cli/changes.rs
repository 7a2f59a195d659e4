//! Commands that sign adapters, and that change those of a running edge.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use hyper::Method;
use marketprism_adapter_conformance::golden_folder;
use marketprism_adapter_host::contract::Description;
use marketprism_adapter_host::{
    Adapter, DifferenceKind, Engine, GOLDEN_SECTION, Limits, SigningKey, component_digest,
    with_custom_section,
};
use marketprism_schema::AdapterLabel;
use marketprism_service::{read_file, read_text};
use serde::Deserialize;
use tokio::time::sleep;

use super::edge_client::{EdgeArguments, EdgeClient};
use crate::limits::COMPONENT_BYTES_MAX;
use crate::swap::{SwapOutcome, SwapRecord, pack_golden};

/// Between two looks at a change that runs.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Bytes of a key file.
const KEY_BYTES_MAX: u64 = 4_096;

#[derive(Debug, Args)]
pub(super) struct KeygenArguments {
    /// New file for the secret key, readable by its owner only. The public key, for `adapters.trusted_keys`, is printed.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct SignArguments {
    /// Component of the adapter.
    #[arg(value_name = "FILE")]
    adapter: PathBuf,
    /// Secret key of `adapter keygen`.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The adapter's folder with `frames` and `expected`, which the component then carries. Default: `adapters/<name>` above the
    /// component `<name>.wasm`, if there is one.
    #[arg(long, value_name = "DIR")]
    frames: Option<PathBuf>,
    /// File for the signed component. Default: in place.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct LoadArguments {
    /// Component of the new version.
    #[arg(value_name = "FILE")]
    adapter: PathBuf,
    #[command(flatten)]
    edge: EdgeArguments,
    /// Kind of difference to the running version that does not stop the change: a data type, `commands` or `notes`; may be given several times.
    #[arg(long = "accept", value_name = "KIND")]
    accepted: Vec<String>,
    /// Return when the edge has taken the component, not when the change has ended.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct RollBackArguments {
    /// Name of the adapter, without version.
    #[arg(value_name = "NAME")]
    adapter: String,
    #[command(flatten)]
    edge: EdgeArguments,
}

pub(super) fn keygen(arguments: &KeygenArguments) -> anyhow::Result<String> {
    let text = SigningKey::generate().context("this machine gives no random numbers")?;
    let key = SigningKey::parse(&text).context("new key")?;
    let path = arguments.out.display();
    let mut file = OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600).open(&arguments.out);
    file.and_then(|mut file| writeln!(file, "{text}")).with_context(|| format!("{path}"))?;
    Ok(format!("{}\n", key.verifying_key()))
}

pub(super) fn sign(arguments: &SignArguments) -> anyhow::Result<String> {
    let SignArguments { adapter, key, frames, out } = arguments;
    let text = read_text(key, KEY_BYTES_MAX).with_context(|| key.display().to_string())?;
    let signer = SigningKey::parse(&text)
        .with_context(|| format!("{}: no secret key of `adapter keygen`", key.display()))?;
    let mut component = component(adapter)?;
    let given = |folder: &PathBuf| {
        golden_folder(folder)
            .filter(|_| folder.is_dir())
            .with_context(|| format!("--frames {}: expected a folder with `frames`", folder.display()))
    };
    let golden = match frames {
        Some(folder) => Some(given(folder)?),
        None => golden_folder(adapter),
    };
    if let Some(folder) = &golden {
        component = with_custom_section(&component, GOLDEN_SECTION, &pack_golden(folder)?);
    }
    let label = match label(&component) {
        Ok(label) => {
            component = label.put(&component)?;
            format!("{} {}", label.name, label.version)
        }
        Err(error) => format!("none: {error:#}"),
    };
    let signed = signer.sign(&component);
    let out = out.as_ref().unwrap_or(adapter);
    let part = out.with_extension("part");
    let written = fs::write(&part, &signed).and_then(|()| fs::rename(&part, out));
    written.with_context(|| out.display().to_string())?;
    let golden = golden.map_or_else(|| "none".to_owned(), |folder| folder.display().to_string());
    let (file, digest) = (out.display(), component_digest(&signed));
    Ok(format!(
        "{file}\nsha256:{digest}\nsigned by {}\nlabel: {label}\ngolden frames: {golden}\n",
        signer.verifying_key()
    ))
}

/// The component as it describes itself. One that cannot be run is signed without.
fn label(component: &[u8]) -> anyhow::Result<AdapterLabel> {
    let adapter = Adapter::from_bytes(&Engine::new(None)?, component, &Limits::default())?;
    let Description { name, version, .. } = adapter.description().clone();
    Ok(AdapterLabel { name, version, contract: adapter.contract().to_owned() })
}

fn component(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_file(path, COMPONENT_BYTES_MAX).with_context(|| path.display().to_string())
}

/// The kinds of differences of these names.
pub(super) fn accepted(names: &[String]) -> anyhow::Result<BTreeSet<DifferenceKind>> {
    let parse = |name: &String| DifferenceKind::parse(name).with_context(|| DifferenceKind::unknown(name));
    names.iter().map(parse).collect()
}

/// Returns the report, and true if the new version runs.
pub(super) async fn load(arguments: LoadArguments) -> anyhow::Result<(String, bool)> {
    let LoadArguments { adapter, edge, accepted: names, no_wait } = arguments;
    accepted(&names)?;
    let client = EdgeClient::of(&edge)?;
    let path = format!("/adapters/load?accept={}", names.join(","));
    let number = begin(&client, &path, component(&adapter)?).await?;
    if no_wait {
        return Ok((format!("change {number} of an adapter begins\n"), true));
    }
    let record = ended(&client, number).await?;
    Ok((report(&record), record.outcome == SwapOutcome::Promoted))
}

/// Returns the report, and true if the earlier version runs.
pub(super) async fn roll_back(arguments: RollBackArguments) -> anyhow::Result<(String, bool)> {
    let client = EdgeClient::of(&arguments.edge)?;
    let name: String = url::form_urlencoded::byte_serialize(arguments.adapter.as_bytes()).collect();
    let number = begin(&client, &format!("/adapters/rollback?adapter={name}"), Vec::new()).await?;
    let record = ended(&client, number).await?;
    let is_back = record.reason.as_deref().is_some_and(|reason| reason.ends_with("by request"));
    Ok((report(&record), is_back))
}

/// The running versions and the changes of them.
pub(super) async fn list(arguments: &EdgeArguments) -> anyhow::Result<String> {
    let page = page(&EdgeClient::of(arguments)?).await?;
    let mut text = String::new();
    for RunningVersion { exchange, id, state } in &page.feeds {
        let _ = writeln!(text, "{exchange}  {id}  {state}");
    }
    for record in &page.swaps {
        text.push_str(&report(record));
    }
    Ok(text)
}

fn report(record: &SwapRecord) -> String {
    let from = record.from.as_deref().unwrap_or("?");
    let to = record.to.as_deref().unwrap_or(&record.digest);
    let mut text = format!("change {}: {from} -> {to}: {}", record.number, record.outcome.as_str());
    if let Some(reason) = &record.reason {
        let _ = write!(text, " at step {}: {reason}", record.step.as_str());
    }
    let pause = record.pauses_us.iter().max().map(|micros| format!(", longest pause {micros} us"));
    let _ = writeln!(
        text,
        "\n  {} frames in the shadow, {} on probation{}",
        record.shadow_frames,
        record.probation_frames,
        pause.unwrap_or_default()
    );
    for (kind, found) in &record.differences {
        let _ = writeln!(text, "  {kind}: {} frames differ", found.frames);
        for example in &found.examples {
            let _ = writeln!(
                text,
                "    {}\n      running: {}\n      new: {}",
                example.frame, example.running, example.new
            );
        }
    }
    text
}

#[derive(Deserialize)]
struct AdaptersPage {
    feeds: Vec<RunningVersion>,
    swaps: Vec<SwapRecord>,
}

#[derive(Deserialize)]
struct RunningVersion {
    exchange: String,
    id: String,
    state: String,
}

#[derive(Deserialize)]
struct StartedChange {
    swap: u64,
}

/// Requests a change; returns its number.
async fn begin(client: &EdgeClient, path: &str, body: Vec<u8>) -> anyhow::Result<u64> {
    let started: StartedChange = client.ask(Method::POST, path, body).await?;
    Ok(started.swap)
}

async fn page(client: &EdgeClient) -> anyhow::Result<AdaptersPage> {
    client.ask(Method::GET, "/adapters", Vec::new()).await
}

async fn ended(client: &EdgeClient, number: u64) -> anyhow::Result<SwapRecord> {
    loop {
        let record = page(client).await?.swaps.into_iter().find(|record| record.number == number);
        let record = record.with_context(|| format!("the edge has forgotten change {number}"))?;
        if record.outcome != SwapOutcome::Running {
            return Ok(record);
        }
        sleep(LOOK_EVERY).await;
    }
}
