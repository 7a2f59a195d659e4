//! Turns core modules into components, and checks their imports and exports.

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, DecodedWasm};
use wit_parser::{Resolve, WorldItem, WorldKey};

const PACKAGE: &str = "marketprism:adapter/";
const LOG: &str = "marketprism:adapter/log@1.0.0";
const ADAPTER: &str = "marketprism:adapter/adapter@1.0.0";

/// Turns a core module with embedded contract types into a component; fails for imports outside the
/// contract and for missing exports.
pub fn encode(module: &[u8]) -> Result<Vec<u8>> {
    let encoder = ComponentEncoder::default().validate(true).module(module);
    encoder
        .context("not a core module with the contract's types")?
        .encode()
        .context("cannot make a component of it")
}

/// Checks that a component imports only `log` and exports the adapter.
pub fn inspect(component: &[u8]) -> Result<()> {
    let DecodedWasm::Component(resolve, world) =
        wit_component::decode(component).context("not a component")?
    else {
        bail!("a WIT package, not a component");
    };
    let world = resolve.worlds.get(world).context("a component without a world")?;
    for (key, item) in &world.imports {
        let name = resolve.name_world_key(key);
        if name != LOG && !only_types(&resolve, key, item) {
            bail!("it imports `{name}`; an adapter may import nothing but `{LOG}`");
        }
    }
    let exports: Vec<String> = world.exports.keys().map(|key| resolve.name_world_key(key)).collect();
    if exports != [ADAPTER] {
        bail!("it exports [{}]; an adapter exports `{ADAPTER}`", exports.join(", "));
    }
    Ok(())
}

/// An interface of the contract without functions: it names types, and can do nothing.
fn only_types(resolve: &Resolve, key: &WorldKey, item: &WorldItem) -> bool {
    let WorldItem::Interface { id, .. } = item else { return false };
    let functions = resolve.interfaces.get(*id).is_none_or(|interface| !interface.functions.is_empty());
    !functions && resolve.name_world_key(key).starts_with(PACKAGE)
}
