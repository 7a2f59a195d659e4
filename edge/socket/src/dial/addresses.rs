//! Addresses of a name: their order (RFC 8305 section 4), one attempt, and the most specific of their failures.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, lookup_host};
use url::Host;

use crate::limits::ADDRESSES_MAX;

/// The addresses of a name, both families in turn.
pub(super) async fn resolve(name: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found: Vec<SocketAddr> =
        lookup_host((name, port)).await.map_err(|error| error.to_string())?.collect();
    if found.is_empty() {
        return Err("the name has no address".to_owned());
    }
    Ok(in_turn(found))
}

/// The first stays first: the resolver has sorted them by preference.
fn in_turn(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (mut preferred, mut others) = (Vec::new(), Vec::new());
    for address in found {
        let family = if address.is_ipv6() == first_is_v6 { &mut preferred } else { &mut others };
        if !family.contains(&address) {
            family.push(address);
        }
    }
    let mut others = others.into_iter();
    let mut ordered = Vec::new();
    for address in preferred {
        ordered.push(address);
        ordered.extend(others.next());
    }
    ordered.extend(others);
    ordered.truncate(ADDRESSES_MAX);
    ordered
}

/// Those that a connection from the local address can reach.
pub(super) fn of_family(found: Vec<SocketAddr>, local: Option<IpAddr>) -> Result<Vec<SocketAddr>, String> {
    let Some(local) = local else { return Ok(found) };
    let usable: Vec<SocketAddr> =
        found.into_iter().filter(|address| address.is_ipv4() == local.is_ipv4()).collect();
    if usable.is_empty() {
        let family = if local.is_ipv4() { "IPv4" } else { "IPv6" };
        return Err(format!("no {family} address, as the local address {local} needs"));
    }
    Ok(usable)
}

pub(super) async fn connect_to(address: SocketAddr, local: Option<IpAddr>) -> Result<TcpStream, Error> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(local) = local {
        let bound = socket.bind((local, 0).into());
        bound.map_err(|error| Error::new(error.kind(), format!("local address {local}: {error}")))?;
    }
    socket.connect(address).await
}

/// The most specific failure first, then the others.
pub(super) fn failure_text(tried: &[SocketAddr], failures: &[Option<Error>], limit: Duration) -> String {
    let mut failed: Vec<(u8, String)> = tried
        .iter()
        .zip(failures)
        .map(|(address, failure)| match failure {
            Some(error) => (specificity(error.kind()), format!("{address}: {error}")),
            None => (2, format!("{address}: no answer within {} ms", limit.as_millis())),
        })
        .collect();
    failed.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    let texts: Vec<String> = failed.into_iter().map(|(_, text)| text).collect();
    texts.join("; ")
}

/// An answer is more specific than silence, silence more specific than a family that is missing here.
const fn specificity(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => 5,
        ErrorKind::HostUnreachable => 3,
        ErrorKind::NetworkUnreachable => 1,
        _ => 4,
    }
}

/// A name or address, in brackets or not.
pub(super) fn host(text: &str) -> Result<Host, String> {
    Host::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::race::race;

    fn parsed(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_the_preferred_one_begins() {
        let found = parsed(&["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "[::3]:1", "2.2.2.2:1"]);
        let ordered = parsed(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        assert_eq!(in_turn(found), ordered);
        let many: Vec<SocketAddr> = (0..40).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        assert_eq!(in_turn(many).len(), ADDRESSES_MAX);
    }

    #[test]
    fn the_failure_of_a_machine_that_answers_is_reported_first() {
        let tried = parsed(&["[::1]:443", "1.1.1.1:443", "2.2.2.2:443"]);
        let failures =
            [Some(ErrorKind::NetworkUnreachable.into()), Some(ErrorKind::ConnectionRefused.into()), None];
        let text = failure_text(&tried, &failures, Duration::from_secs(10));
        assert_eq!(
            text,
            "1.1.1.1:443: connection refused; 2.2.2.2:443: no answer within 10000 ms; [::1]:443: network unreachable"
        );
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_holds_up_the_others_for_a_moment_only() {
        // Whoever is not accepted stays in the backlog: once it is full, further SYNs are dropped.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.3:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let silent = full.local_addr().unwrap();
        for _ in 0..8 {
            let _ = tokio::time::timeout(Duration::from_millis(20), connect_to(silent, None)).await;
        }
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let live = open.local_addr().unwrap();
        let (limit, delay) = (Duration::from_secs(60), Duration::from_millis(50));
        let raced = race(vec![silent, live], limit, delay, |address| connect_to(address, None));
        let found = tokio::time::timeout(Duration::from_secs(20), raced).await.expect("delayed");
        assert_eq!(found.unwrap().peer_addr().unwrap(), live);
    }

    #[test]
    fn a_local_address_keeps_its_family_or_says_what_is_missing() {
        let found = parsed(&["[::1]:1", "1.1.1.1:1"]);
        let local: IpAddr = "10.0.0.1".parse().unwrap();
        assert_eq!(of_family(found.clone(), Some(local)), Ok(parsed(&["1.1.1.1:1"])));
        let refused = of_family(parsed(&["[::1]:1"]), Some(local)).unwrap_err();
        assert_eq!(refused, "no IPv4 address, as the local address 10.0.0.1 needs");
    }
}
