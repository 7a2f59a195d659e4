//! Addresses that accept connections whose TLS then fails: a tunnel that swallows large packets, a front end that is dead behind its kernel. They are
//! tried after the other addresses of their name, the one that failed longest ago first; none is left out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::limits::{FAILING_ADDRESS_KEPT, FAILING_ADDRESSES_MAX};

/// Times of their last failures.
#[derive(Debug, Default)]
pub(super) struct FailingAddresses(Mutex<BTreeMap<SocketAddr, Instant>>);

/// A handshake that has failed unless it succeeds: also when the caller's time ends before that of TLS.
pub(super) struct Handshake<'f> {
    failing: &'f FailingAddresses,
    address: Option<SocketAddr>,
}

impl Handshake<'_> {
    pub(super) fn succeeded(mut self) {
        if let Some(address) = self.address.take() {
            self.failing.current().remove(&address);
        }
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            self.failing.failed(address);
        }
    }
}

impl FailingAddresses {
    /// `None`: a proxy chose the address.
    pub(super) const fn handshake(&self, address: Option<SocketAddr>) -> Handshake<'_> {
        Handshake { failing: self, address }
    }

    fn failed(&self, address: SocketAddr) {
        let mut failures = self.current();
        if failures.len() >= FAILING_ADDRESSES_MAX {
            let oldest = failures.iter().min_by_key(|(_, at)| **at).map(|(address, _)| *address);
            oldest.and_then(|oldest| failures.remove(&oldest));
        }
        failures.insert(address, Instant::now());
    }

    /// Addresses without a failure keep their order.
    pub(super) fn put_last(&self, addresses: &mut [SocketAddr]) {
        let failures = self.current();
        addresses.sort_by_key(|address| failures.get(address).copied());
    }

    fn current(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Instant>> {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, at| at.elapsed() < FAILING_ADDRESS_KEPT);
        failures
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::net::TcpListener;
    use url::Host;

    use crate::dial::Dialer;
    use crate::options::SocketOptions;
    use crate::tls;

    /// The resolver gives the same order each time: the address beside the dead one was never asked.
    #[tokio::test]
    async fn an_address_whose_tls_fails_gives_way_to_the_next_one_of_its_name() {
        let options = SocketOptions { tls_timeout: Duration::from_millis(100), ..SocketOptions::default() };
        let dialer = Dialer::new(&options, Arc::new(tls::client_config(&[]).unwrap()));
        let dead = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let live = TcpListener::bind("127.0.0.3:0").await.unwrap();
        let [dead, live] = [&dead, &live].map(|listener| listener.local_addr().unwrap());
        let host = Host::Domain("venue.example".to_owned());
        let connect = async || {
            let tcp = dialer.connect(vec![dead, live], Duration::from_secs(30)).await.ok().unwrap();
            (tcp.peer_addr().unwrap(), tcp)
        };
        let (first, tcp) = connect().await;
        assert_eq!(first, dead, "the resolver's order");
        let failure = dialer.secure(Box::new(tcp), &host, Some(first)).await.err().unwrap();
        assert!(failure.contains(&dead.to_string()), "{failure}");
        assert_eq!(connect().await.0, live);
        dialer.failing.handshake(Some(dead)).succeeded();
        assert_eq!(connect().await.0, dead);
    }
}
