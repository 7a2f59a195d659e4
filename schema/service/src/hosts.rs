//! Host names under which a listener answers. A web page can reach a listener of the user's machine under a name of its own
//! (DNS rebinding); the browser names it in the header Host.

use std::net::{IpAddr, SocketAddr};

/// Names of a listener.
#[derive(Debug, Clone)]
pub struct HostRule {
    names: Vec<String>,
    is_loopback: bool,
}

impl HostRule {
    /// `names`: allowed besides `localhost` and loopback addresses; `*` allows every name. A listener that other machines reach also
    /// answers under any address and any name without a dot: no web page can own these.
    pub fn new(listen: SocketAddr, names: &[String]) -> Self {
        Self { names: names.to_vec(), is_loopback: listen.ip().is_loopback() }
    }

    /// True for a header Host (`name` or `name:port`) of this listener. Browsers always send one.
    pub fn permits(&self, host: Option<&str>) -> bool {
        let Some(host) = host.filter(|host| !host.is_empty()).map(host_name) else { return true };
        let host = without_root(host);
        let is_same = |name: &str| without_root(name).eq_ignore_ascii_case(host);
        let is_named = self.names.iter().any(|name| name == "*" || is_same(name));
        let by_kind = match host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback() || !self.is_loopback,
            Err(_) if self.is_loopback => host.eq_ignore_ascii_case("localhost"),
            Err(_) => !host.contains('.'),
        };
        is_named || by_kind
    }
}

/// Host of `host`, `host:port` or `[address]:port`.
fn host_name(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _port)) => host,
        None => authority.rsplit_once(':').map_or(authority, |(host, _port)| host),
    }
}

/// Without the point at the end, with which clients leave search domains out.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_web_page_could_own_is_refused() {
        let local = HostRule::new("127.0.0.1:1".parse().unwrap(), &["db.example".to_owned()]);
        for host in [
            "localhost:8085",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1",
            "127.1.2.3:1",
            "[::1]:8085",
            "db.example:8085",
            "db.example.:8085",
            "",
        ] {
            assert!(local.permits(Some(host)), "{host}");
        }
        for host in ["evil.example:8085", "127.0.0.1.evil.example", "10.0.0.1", "central", "null"] {
            assert!(!local.permits(Some(host)), "{host}");
        }
        let open = HostRule::new("0.0.0.0:1".parse().unwrap(), &[]);
        for host in ["10.0.0.1:8085", "central:8085", "central.", "localhost", "[2001:db8::1]:1"] {
            assert!(open.permits(Some(host)), "{host}");
        }
        assert!(!open.permits(Some("evil.example:8085")) && !open.permits(Some("evil.example.")));
        assert!(HostRule::new("0.0.0.0:1".parse().unwrap(), &["*".to_owned()]).permits(Some("a.example")));
    }
}
