//! Checks of the component as a whole.

use marketprism_adapter_host::contract::{
    Capability, ChecksumRule, DataType, SequenceRule, SnapshotSource, Venue,
};
use marketprism_adapter_host::{Adapter, LoadError};

use crate::findings::Findings;
use crate::names::{data_type, market_type, word};
use crate::report::Check;

const CONTRACT: (&str, &str) = ("contract", "targets a contract of this edge and imports nothing but `log`");

/// The host refused to load the component: there is nothing more to check.
pub(crate) fn refused(error: &LoadError) -> Check {
    let mut findings = Findings::new(CONTRACT.0, CONTRACT.1);
    findings.cause(error.to_string());
    findings.done("")
}

/// Loading has checked it.
pub(crate) fn contract(adapter: &Adapter) -> Check {
    Findings::new(CONTRACT.0, CONTRACT.1).done(format!("marketprism:adapter@{}", adapter.contract()))
}

/// `again` is the same component, loaded another time.
pub(crate) fn describe(adapter: &Adapter, again: &Adapter) -> Check {
    let mut findings = Findings::new("describe", "describes itself consistently, alike in every instance");
    let description = adapter.description();
    if description != again.description() {
        findings.cause("describe gives another description in another instance");
    }
    let parts: Vec<&str> = description.version.split('-').next().unwrap_or_default().split('.').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.parse::<u32>().is_err()) {
        let version = &description.version;
        findings.cause(format!("version is {version:?}, allowed is a semantic version such as 1.2.3"));
    }
    for venue in &description.venues {
        sound(venue, &mut findings);
    }
    let cells: usize = description.venues.iter().map(|venue| venue.capabilities.len()).sum();
    findings.done(format!("{} exchange ids, {cells} capabilities", description.venues.len()))
}

fn sound(venue: &Venue, findings: &mut Findings) {
    let exchange = &venue.exchange;
    for (what, is_empty) in [
        ("market_types", venue.market_types.is_empty()),
        ("capabilities", venue.capabilities.is_empty()),
        ("endpoints", venue.endpoints.is_empty()),
    ] {
        if is_empty {
            findings.cause(format!("{exchange}: {what} is empty, allowed is one at least"));
        }
    }
    for (position, endpoint) in venue.endpoints.iter().enumerate() {
        let schemes = ["ws://", "wss://", "http://", "https://"];
        if !schemes.iter().any(|scheme| endpoint.default_url.starts_with(scheme)) {
            let (name, url) = (&endpoint.name, &endpoint.default_url);
            findings.cause(format!(
                "{exchange}: endpoint {name} is {url:?}, allowed is an address of a socket or REST"
            ));
        }
        if venue.endpoints.iter().take(position).any(|other| other.name == endpoint.name) {
            findings.cause(format!("{exchange}: endpoint {} is named twice", endpoint.name));
        }
    }
    for (position, capability) in venue.capabilities.iter().enumerate() {
        let name = data_type(capability.data_type);
        if venue.capabilities.iter().take(position).any(|other| other.data_type == capability.data_type) {
            findings.cause(format!("{exchange}: {name} is declared twice"));
        }
        for problem in contradictions(venue, capability) {
            findings.cause(format!("{exchange}, {name}: {problem}"));
        }
    }
}

fn contradictions(venue: &Venue, capability: &Capability) -> Vec<String> {
    let mut found = Vec::new();
    if capability.market_types.is_empty() {
        found.push("market_types is empty, allowed is one at least".to_owned());
    }
    for kind in capability.market_types.iter().filter(|kind| !venue.market_types.contains(kind)) {
        found.push(format!("market type {} is not one of the venue's", market_type(*kind)));
    }
    let is_book = capability.data_type == DataType::Orderbook;
    if is_book == (capability.snapshot == SnapshotSource::NotApplicable) {
        found.push(format!("snapshot is {}", word(&capability.snapshot)));
    }
    if is_book == (capability.max_depth == 0) {
        found.push(format!("max_depth is {}", capability.max_depth));
    }
    if !is_book && capability.sequence != SequenceRule::Unnumbered {
        found.push(format!("sequence is {}, only books have one", word(&capability.sequence)));
    }
    if !is_book && capability.checksum != ChecksumRule::Unchecked {
        found.push(format!("checksum is {}, only books have one", word(&capability.checksum)));
    }
    if capability.contiguous_trade_ids && capability.data_type != DataType::Trade {
        found.push("contiguous_trade_ids is true, only trades have them".to_owned());
    }
    found
}
