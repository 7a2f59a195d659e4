//! `marketprism-chaos regions`: three regions behind leaf nodes over mTLS, each in a network namespace of its own behind a long way, and a centre of
//! three brokers with hot and cold apart. Under load one region is cut, a broker is killed, central is replaced by another build, and an
//! adapter is promoted from region to region. Each is reported while it lasts; in the end every event is stored once, and the report names what
//! happened and nothing else.

mod brokers;
mod counts;
mod namespace;
mod plan;
mod proof;
mod steps;
mod verdict;
mod wan;
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;

use marketprism_tests::parts;

use self::namespace::ip;
pub use self::plan::MINUTES_MIN;
use self::plan::{Plan, REGIONS};
use self::proof::Proof;
use self::world::World;

/// Percent. Below 10 the report names a disk; a run needs some.
const DISK_FREE_MIN: u64 = 13;

pub struct Settings {
    pub seed: u64,
    pub minutes: u64,
    /// Binary of the central that takes over; `None`: the same program with another digest.
    pub build: Option<PathBuf>,
}

/// Failures; without the right or the means to run, one that says so.
pub fn run(folder: &Path, settings: Settings) -> Vec<String> {
    if let Err(missing) = prerequisites(folder) {
        return vec![missing];
    }
    namespace::remove_abandoned();
    let plan = Plan::new(settings.seed, settings.minutes);
    for region in REGIONS {
        println!(
            "way of {:<10} {} ms one way, {} % of packets lost",
            region.name,
            region.delay.as_millis(),
            100.0 * region.loss
        );
    }
    let build = settings.build.unwrap_or_else(|| other_build(folder));
    let mut proof = Proof::begin(World::start(folder, plan, build), plan);
    proof.calm();
    proof.a_region_is_cut();
    proof.a_broker_is_killed();
    proof.central_is_replaced();
    proof.an_adapter_is_promoted();
    proof.calm();
    proof.verdict()
}

/// The right to make namespaces and devices, the program that does, and a disk of which the report has nothing to say.
fn prerequisites(folder: &Path) -> Result<(), String> {
    ip(&["-Version"]).map_err(|error| format!("{error}: install Debian's package iproute2"))?;
    let user = Command::new("id").arg("-u").output().map_err(|error| format!("id: {error}"))?;
    if user.stdout.trim_ascii() != b"0" {
        return Err("network namespaces need root: run it with sudo".to_owned());
    }
    if !Path::new(wan::TUN).exists() {
        return Err(format!("{} is missing: load the kernel module tun", wan::TUN));
    }
    let disk = Command::new("df").arg("--output=avail,size").arg(folder).output();
    let disk = disk.map_err(|error| format!("df: {error}"))?;
    let text = String::from_utf8_lossy(&disk.stdout).into_owned();
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    if let [free, size] = numbers[..]
        && free * 100 < size * DISK_FREE_MIN
    {
        let percent = free * 100 / size.max(1);
        return Err(format!(
            "the disk of {} has {percent} % free (allowed: {DISK_FREE_MIN}): the report would name it; set TMPDIR",
            folder.display()
        ));
    }
    Ok(())
}

/// The program with other bytes behind its end.
fn other_build(folder: &Path) -> PathBuf {
    let path = folder.join("marketprism-central-next");
    std::fs::copy(parts::binary("marketprism-central"), &path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend(b"another build");
    std::fs::write(&path, bytes).unwrap();
    path
}
