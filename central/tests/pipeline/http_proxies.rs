//! A balancer before ClickHouse.

use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Leads each connection to the next of some ports.
pub struct Balancer {
    pub port: u16,
    accepting: JoinHandle<()>,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Balancer {
    pub async fn before(far: [u16; 2]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            let mut passing = JoinSet::new();
            for port in far.into_iter().cycle() {
                let Ok((near, _)) = listener.accept().await else { return };
                let far = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                passing.spawn(pass(near, far));
            }
        });
        Self { port, accepting }
    }
}

async fn pass(mut near: TcpStream, mut far: TcpStream) {
    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
}
