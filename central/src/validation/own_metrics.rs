//! Memory of the central that listens at this configuration's address, from its `/metrics`.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Http;
use crate::diagnose::reachable;
use crate::limits::{LISTENER_ANSWER_WAIT, METRICS_BYTES_MAX};
use crate::metrics::RESIDENT_BYTES;
use crate::report::sources::Answer;
use crate::role::Role;

pub async fn resident_bytes(http: &Http) -> Answer<u64> {
    if http.tls_cert_file.is_some() {
        return Err("the listener speaks TLS: read its /metrics".to_owned());
    }
    let answer = match timeout(LISTENER_ANSWER_WAIT, metrics(http)).await {
        Ok(answer) => answer.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no answer within {} s", LISTENER_ANSWER_WAIT.as_secs())),
    };
    read(&answer)
}

async fn metrics(http: &Http) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(reachable(http.address(Role::All))).await?;
    let token = http.read_token.as_ref().or(http.token.as_ref());
    let access =
        token.map(|token| format!("Authorization: Bearer {}\r\n", token.reveal())).unwrap_or_default();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{access}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(METRICS_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn read(answer: &str) -> Answer<u64> {
    let first = answer.lines().next().unwrap_or_default();
    if !first.starts_with("HTTP/1.1 200") {
        return Err(format!("/metrics answers {first:?}"));
    }
    let value = answer.lines().find_map(|line| line.strip_prefix(RESIDENT_BYTES)?.strip_prefix(' '));
    let bytes = value.and_then(|value| value.trim().parse().ok());
    bytes.ok_or_else(|| format!("/metrics has no {RESIDENT_BYTES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_metrics_and_a_refusal_is_named() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 12288\n";
        assert_eq!(read(text), Ok(12_288));
        assert!(read("HTTP/1.1 401 Unauthorized\r\n").unwrap_err().contains("401"));
        assert!(read("HTTP/1.1 200 OK\r\n\r\na 1\n").unwrap_err().contains(RESIDENT_BYTES));
    }
}
