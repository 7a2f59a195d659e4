//! The targets by name.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use marketprism_adapter_binance::Binance;
use marketprism_adapter_bybit::Bybit;
use marketprism_adapter_deribit::Deribit;
use marketprism_adapter_kraken::Kraken;
use marketprism_adapter_okx::Okx;
use marketprism_adapter_template::Template;

use crate::adapter::{FuzzedMarket, markets, run};
use crate::{lifting, validation};

#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the binary and of the corpus folder.
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
    #[must_use]
    pub fn named(name: &str) -> Target {
        let found = TARGETS.into_iter().flatten().find(|target| target.name == name);
        *found.unwrap_or_else(|| panic!("no target {name}"))
    }

    /// Where its corpus is kept.
    #[must_use]
    pub fn corpus(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../adapters").join(name)
}
