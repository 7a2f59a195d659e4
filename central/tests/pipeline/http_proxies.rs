//! A balancer, and a proxy that drops parameters, before ClickHouse.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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

/// Passes few parameters of a request, as chproxy does.
pub struct DroppingProxy {
    pub port: u16,
    accepting: JoinHandle<()>,
}

impl Drop for DroppingProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl DroppingProxy {
    const PASSED: [&str; 5] = ["query", "database", "default_format", "compress", "enable_http_compression"];

    pub async fn before(far: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                passing.spawn(Self::pass_request(near, far));
            }
        });
        Self { port, accepting }
    }

    /// The server closes the connection behind its answer, so that each request has one of its own.
    async fn pass_request(mut near: TcpStream, far: u16) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = near.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let (request, headers) = head.split_once("\r\n").unwrap();
        let (method, rest) = request.split_once(" /?").unwrap();
        let (parameters, version) = rest.split_once(' ').unwrap();
        let passed =
            parameters.split('&').filter(|one| Self::PASSED.contains(&one.split('=').next().unwrap()));
        let passed = passed.collect::<Vec<_>>().join("&");
        let head = format!("{method} /?{passed} {version}\r\nConnection: close\r\n{headers}");
        let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, far)).await.unwrap();
        if far.write_all(head.as_bytes()).await.is_ok() {
            pass(near, far).await;
        }
    }
}
