//! Proxies before ClickHouse: one that takes no request above a size, as nginx does with `client_max_body_size`, and a balancer.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

const REFUSAL: &str = "<html><head><title>413 Request Entity Too Large</title></head></html>";

pub struct BodyLimit {
    pub port: u16,
    accepting: JoinHandle<()>,
}

impl Drop for BodyLimit {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl BodyLimit {
    pub async fn before(far: u16, max: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect((Ipv4Addr::LOCALHOST, far)).await.unwrap();
                passing.spawn(pass(near, far, max));
            }
        });
        Self { port, accepting }
    }
}

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
                passing.spawn(pass(near, far, usize::MAX));
            }
        });
        Self { port, accepting }
    }
}

async fn pass(mut near: TcpStream, mut far: TcpStream, max: usize) {
    let (mut asked, mut answered, mut sent) = (vec![0; 16 << 10], vec![0; 16 << 10], 0);
    loop {
        tokio::select! {
            read = near.read(&mut asked) => {
                let Ok(bytes @ 1..) = read else { return };
                sent += bytes;
                if sent > max {
                    return refuse(near).await;
                }
                if far.write_all(&asked[..bytes]).await.is_err() { return }
            }
            read = far.read(&mut answered) => {
                let Ok(bytes @ 1..) = read else { return };
                sent = 0;
                if near.write_all(&answered[..bytes]).await.is_err() { return }
            }
        }
    }
}

/// The rest of the request is read, so that the answer is not lost with the connection.
async fn refuse(mut near: TcpStream) {
    let head = format!(
        "HTTP/1.1 413 Payload Too Large\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        REFUSAL.len()
    );
    let _ = near.write_all((head + REFUSAL).as_bytes()).await;
    let rest = async { while near.read(&mut [0; 4096]).await.is_ok_and(|bytes| bytes > 0) {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
}
