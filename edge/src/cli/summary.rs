//! Summary of a valid configuration, as `check` prints it.

use std::fmt::Write;
use std::net::UdpSocket;

use marketprism_adapter_host::contract::Venue;
use marketprism_config::MaskedUrl;

use crate::config::{Adapters, Config, FeedConfig};

pub(super) fn summary(config: &Config, adapters: &Adapters) -> String {
    let mut text = String::from("configuration is valid\n");
    // Writing to a string does not fail.
    let _ = writeln!(text, "edge {} in {}, nats {}", config.name, config.region, config.nats.shown_urls());
    for feed in &config.feeds {
        let data_types: Vec<&str> = feed.data_types.iter().map(|kind| kind.as_str()).collect();
        let _ = writeln!(
            text,
            "feed {}: {} of {}, adapter {}",
            feed.exchange,
            data_types.join(", "),
            feed.symbols.join(", "),
            feed.adapter.display()
        );
        let adapter = adapters.get(&feed.adapter);
        let venue = adapter.as_ref().and_then(|adapter| adapter.venue(&feed.exchange));
        for line in venue.map(|venue| egress_lines(feed, venue)).unwrap_or_default() {
            let _ = writeln!(text, "  {line}");
        }
    }
    let journal = &config.journal;
    let _ = if journal.enabled {
        let (dir, mib, sync) = (config.journal_dir(), journal.max_bytes >> 20, journal.sync_interval);
        writeln!(text, "journal in {}, up to {mib} MiB, synced every {sync:?}", dir.display())
    } else {
        writeln!(text, "no journal: what the broker has not stored is lost with the process")
    };
    let _ = writeln!(text, "http on {}, metrics on {}", config.http.listen, config.http.metrics_listen);
    text
}

/// The way to each base address of a feed.
fn egress_lines(feed: &FeedConfig, venue: &Venue) -> Vec<String> {
    let from = feed.egress.local_address.map(|local| match UdpSocket::bind((local, 0)) {
        Ok(_) => format!(" from {local}"),
        Err(error) => format!(" from {local}, which this machine does not have now ({error})"),
    });
    let from = from.unwrap_or_default();
    let addresses = venue.endpoints.iter().map(|endpoint| {
        let default = || MaskedUrl::from(endpoint.default_url.as_str());
        feed.endpoints.get(&endpoint.name).cloned().unwrap_or_else(default)
    });
    let line = |address: MaskedUrl| {
        let url = address.parse(&["wss", "ws", "https", "http"]).ok()?;
        Some(format!("{address} {}{from}", feed.egress.proxy.route(&url)))
    };
    addresses.filter_map(line).collect()
}
