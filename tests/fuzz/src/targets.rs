//! The targets by name, and the seeds of their corpora.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use marketprism_adapter_binance::Binance;
use marketprism_adapter_bybit::Bybit;
use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_kraken::Kraken;
use marketprism_adapter_okx::Okx;
use marketprism_adapter_sdk::testkit::{RecordKind, read};
use marketprism_adapter_template::Template;

use crate::adapter::{FuzzedMarket, SEPARATOR, markets, run};
use crate::{lifting, validation};

#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    /// Takes any bytes; panics when an invariant does not hold.
    pub run: fn(&[u8]),
    /// For an adapter: its markets, as inputs number them.
    pub(crate) markets: Option<fn() -> &'static [FuzzedMarket]>,
}

macro_rules! adapters {
    ($($name:ident: $adapter:ident),+ $(,)?) => {
        mod of {
            $(pub(super) fn $name() -> &'static [super::FuzzedMarket] {
                static MARKETS: super::OnceLock<Vec<super::FuzzedMarket>> = super::OnceLock::new();
                MARKETS.get_or_init(|| super::markets::<super::$adapter>(&super::folder(stringify!($name))))
            })+
        }
        const ADAPTERS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: |input| run::<$adapter>(of::$name(), input),
            markets: Some(of::$name),
        }),+];
    };
}

adapters! {
    binance: Binance,
    bybit: Bybit,
    deribit: Deribit,
    kraken: Kraken,
    okx: Okx,
    template: Template,
}

const HOST: &[Target] = &[
    Target { name: "lifting", run: lifting::run, markets: None },
    Target { name: "validation", run: validation::run, markets: None },
];

pub const TARGETS: [&[Target]; 2] = [ADAPTERS, HOST];

impl Target {
    /// The target of this name.
    ///
    /// # Panics
    /// There is none.
    pub fn named(name: &str) -> Target {
        let found = TARGETS.into_iter().flatten().find(|target| target.name == name);
        *found.unwrap_or_else(|| panic!("no target {name}"))
    }

    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../adapters").join(name)
}

const SEEDS: usize = 48;

const BYTES: usize = 1_500;

/// Frames with this many equal first bytes count as one kind.
const ALIKE: usize = 60;

/// The seeds of a target: for an adapter its golden frames, one of each kind; for the host some results.
pub fn seeds(target: Target) -> Vec<Vec<u8>> {
    match target.markets {
        Some(markets) => {
            let exchanges = markets().iter().map(|market| market.exchange.as_str());
            let mut seeds: Vec<Vec<u8>> = Vec::new();
            for (number, exchange) in (0_u8..).zip(exchanges) {
                seeds.extend(golden(target.name, number, exchange));
            }
            seeds
        }
        None if target.name == "lifting" => results(),
        None => vec![
            vec![1, 1, 4, 10, 20, 30, 40, 0, 1, 7, 0, 9, 1, 5, 5, 0, 0, 2, 2, 0, 1, 1],
            (0..=255).collect(),
        ],
    }
}

fn golden(adapter: &str, number: u8, exchange: &str) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let mut seen = BTreeSet::new();
    let frames = folder(adapter).join("frames");
    let files = std::fs::read_dir(&frames).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<_> = files.collect();
    files.sort();
    for file in files {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.starts_with(&format!("{exchange}.")) || name.ends_with(".instruments.jsonl") {
            continue;
        }
        for record in read(&file).unwrap_or_else(|error| panic!("{error}")) {
            let text = record.data.as_bytes();
            let alike = (record.kind == RecordKind::In, text.get(..ALIKE).unwrap_or(text).to_vec());
            let plain = text.len() <= BYTES && !text.contains(&SEPARATOR);
            if plain && matches!(record.kind, RecordKind::In | RecordKind::Rest) && seen.insert(alike) {
                // Source numbers of answers follow those of the connections; which one they belong to, the fuzzer finds.
                let source = u8::from(record.kind == RecordKind::Rest);
                seeds.push([&[number, source], text].concat());
            }
        }
    }
    let step = seeds.len().div_ceil(SEEDS).max(1);
    seeds.into_iter().step_by(step).collect()
}

/// A result with one note (`ignored: status` of frame 0), and the same with lists that lie elsewhere.
fn results() -> Vec<Vec<u8>> {
    let lists = |lists: [u32; 6]| lists.iter().flat_map(|field| field.to_le_bytes()).collect::<Vec<u8>>();
    let mut valid = lists([24, 0, 24, 0, 24, 1]);
    valid.resize(24 + 64, 0);
    if let Some(reason) = valid.get_mut(24 + 8) {
        *reason = 5;
    }
    let mut event = lists([24, 1, 160, 4, 24, 0]);
    event.resize(256, 0);
    let mut huge = valid.clone();
    if let Some(count) = huge.get_mut(20..24) {
        count.copy_from_slice(&u32::MAX.to_le_bytes());
    }
    vec![valid, event, huge]
}
