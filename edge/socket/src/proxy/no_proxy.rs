//! The list of `NO_PROXY`: targets that are reached directly.

use std::net::IpAddr;

use url::{Host, Url};

/// Names with everything below them, addresses, networks, each with an optional port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<ExemptTarget>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct ExemptTarget {
    host: ExemptHost,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ExemptHost {
    Every,
    /// Also the names below it.
    Name(String),
    Network {
        address: IpAddr,
        bits: u32,
    },
}

impl NoProxy {
    /// Reads a list separated by commas or spaces. Gives each entry of no form to `ignored`: programs differ in the forms that they
    /// know, and without it a target is only reached through the proxy.
    pub fn parse(list: &str, mut ignored: impl FnMut(&str)) -> Self {
        let entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        let read = |entry: &str| {
            let target = ExemptTarget::parse(entry);
            if target.is_none() {
                ignored(entry);
            }
            target
        };
        Self(entries.filter_map(read).collect())
    }

    pub(super) fn holds(&self, target: &Url) -> bool {
        let port = target.port_or_known_default();
        self.0.iter().any(|exempt| {
            (exempt.port.is_none() || exempt.port == port)
                && target.host().is_some_and(|host| exempt.host.holds(&host))
        })
    }
}

impl ExemptTarget {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self { host: ExemptHost::Every, port: None });
        }
        if let Some(network) = network(entry) {
            return Some(Self { host: network, port: None });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let host = network(host).or_else(|| name(host))?;
        Some(Self { host, port })
    }
}

/// An address, in brackets or not, or a network of them.
fn network(text: &str) -> Option<ExemptHost> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = bare.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
    Some(ExemptHost::Network { address, bits })
}

fn name(text: &str) -> Option<ExemptHost> {
    let text = text.strip_prefix('*').unwrap_or(text);
    let text = text.strip_prefix('.').unwrap_or(text).trim_end_matches('.');
    match Host::parse(text).ok()? {
        Host::Domain(name) if !name.contains('*') => Some(ExemptHost::Name(name)),
        _ => None,
    }
}

impl ExemptHost {
    fn holds(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::Every, _) => true,
            (Self::Name(name), Host::Domain(host)) => {
                let host = host.trim_end_matches('.');
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            (Self::Network { address: IpAddr::V4(network), bits }, Host::Ipv4(host)) => {
                let apart = network.to_bits() ^ host.to_bits();
                apart.checked_shr(32 - bits).unwrap_or(0) == 0
            }
            (Self::Network { address: IpAddr::V6(network), bits }, Host::Ipv6(host)) => {
                let apart = network.to_bits() ^ host.to_bits();
                apart.checked_shr(128 - bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(list: &str, target: &str) -> bool {
        let parsed = NoProxy::parse(list, |entry| panic!("{entry} is refused"));
        parsed.holds(&Url::parse(target).unwrap())
    }

    #[test]
    fn names_hold_for_all_below_them_and_networks_for_their_addresses() {
        for (list, target) in [
            ("*", "wss://any"),
            ("a.b,Venue.Example", "wss://stream.venue.example:9443/ws"),
            (".venue.example", "https://venue.example"),
            ("*.venue.example", "https://api.venue.example"),
            ("venue.example.", "https://VENUE.example."),
            ("venue.example:443", "wss://venue.example"),
            ("10.0.0.0/8 , ::1", "ws://10.255.1.2:9"),
            ("10.0.0.0/8,[::1]:80", "http://[::1]/"),
            ("fd00::/8", "https://[fdff::1]"),
            ("0.0.0.0/0", "https://1.2.3.4"),
            ("127.0.0.1:9400", "ws://127.0.0.1:9400"),
        ] {
            assert!(holds(list, target), "{list} {target}");
        }
        for (list, target) in [
            ("", "wss://any"),
            ("venue.example", "wss://othervenue.example"),
            ("venue.example:443", "wss://venue.example:9443"),
            ("10.0.0.0/8", "ws://11.0.0.1"),
            ("10.0.0.1", "ws://10.0.0.2"),
            ("::1", "ws://127.0.0.1"),
            ("0.0.0.0/0", "https://name"),
        ] {
            assert!(!holds(list, target), "{list} {target}");
        }
    }

    #[test]
    fn an_entry_of_no_form_is_ignored_and_the_others_count() {
        let mut ignored = Vec::new();
        let list = NoProxy::parse("10.0.0.0/33,169.254/16,10.*,h:port,a b^c,<local>,ok", |entry| {
            ignored.push(entry.to_owned());
        });
        assert_eq!(ignored, ["10.0.0.0/33", "169.254/16", "10.*", "h:port", "b^c", "<local>"]);
        assert!(list.holds(&Url::parse("http://ok").unwrap()));
    }
}
