//! CONNECT of an HTTP proxy (RFC 9110 section 9.3.6).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::refusal::ProxyRefusal;
use super::transport::Transport;
use crate::limits::{PROXY_HEAD_BYTES_MAX, SNIPPET_BYTES};
use crate::proxy::ProxyLogin;

/// Words for a 407. `offered` is the header `Proxy-Authenticate`.
pub(crate) fn login_refused(has_login: bool, offered: &[&str]) -> String {
    let schemes: Vec<&str> =
        offered.iter().filter_map(|challenge| challenge.split_ascii_whitespace().next()).collect();
    if !schemes.is_empty() && !schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
        let schemes = schemes.join(", ");
        return format!("status 407: the proxy wants a log-in by {schemes}; supported is Basic");
    }
    match has_login {
        true => "status 407: the proxy refuses the user or password",
        false => "status 407: the proxy wants a user and password (proxy_user, proxy_password_file)",
    }
    .to_owned()
}

/// Asks the proxy for a connection to `host:port`.
pub(super) async fn open(
    stream: &mut Box<dyn Transport>,
    target: &str,
    login: Option<&ProxyLogin>,
    user_agent: &str,
) -> Result<(), ProxyRefusal> {
    let login_line =
        login.map(|login| format!("Proxy-Authorization: {}\r\n", login.basic())).unwrap_or_default();
    let asked = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {user_agent}\r\n{login_line}\r\n"
    );
    let lost =
        |error: std::io::Error| ProxyRefusal::passing(format!("connection to the proxy lost: {error}"));
    stream.write_all(asked.as_bytes()).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut received = Vec::new();
    let head_end = loop {
        if let Some(end) = end_of_head(&received) {
            break end;
        }
        let is_http = received.iter().zip(b"HTTP/").all(|(seen, wanted)| seen == wanted);
        if !is_http {
            return Err(no_http(&received));
        }
        if received.len() > PROXY_HEAD_BYTES_MAX {
            let reason =
                format!("the head of the proxy's answer is larger than {PROXY_HEAD_BYTES_MAX} bytes");
            return Err(ProxyRefusal::passing(reason));
        }
        match stream.read_buf(&mut received).await {
            Ok(0) if received.is_empty() => {
                return Err(ProxyRefusal::passing("the proxy closed the connection without an answer"));
            }
            Ok(0) => return Err(ProxyRefusal::passing("the proxy closed the connection inside its answer")),
            Ok(_) => {}
            Err(error) => return Err(lost(error)),
        }
    };
    let (head, rest) = received.split_at_checked(head_end).unwrap_or_default();
    let head = String::from_utf8_lossy(head);
    let Some((status, reason)) = status_line(&head) else { return Err(no_http(&received)) };
    match status {
        200..=299 if rest.is_empty() => Ok(()),
        // The target speaks second, in TLS and in HTTP.
        200..=299 => Err(ProxyRefusal::passing("the proxy sent data before the target was asked")),
        407 => Err(ProxyRefusal::lasting(login_refused(login.is_some(), &challenges(&head)))),
        _ => {
            let reason = format!("the proxy refused CONNECT: status {status} {reason}");
            // As sent for a target that does not answer, and for one that is not allowed.
            let lasting = (400..=499).contains(&status) && !matches!(status, 408 | 429);
            Err(ProxyRefusal { reason: reason.trim_end().to_owned(), lasting })
        }
    }
}

fn end_of_head(received: &[u8]) -> Option<usize> {
    received.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn status_line(head: &str) -> Option<(u16, &str)> {
    let line = head.lines().next()?;
    let (version, rest) = line.split_once(' ')?;
    let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let is_code = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    let reason = reason.get(..reason.floor_char_boundary(SNIPPET_BYTES)).unwrap_or(reason);
    version.strip_prefix("HTTP/1.").filter(|_| is_code)?;
    Some((code.parse().ok()?, reason))
}

fn challenges(head: &str) -> Vec<&str> {
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    headers
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("proxy-authenticate"))
        .map(|(_, challenge)| challenge)
        .collect()
}

fn no_http(received: &[u8]) -> ProxyRefusal {
    let text = String::from_utf8_lossy(received.get(..SNIPPET_BYTES.min(received.len())).unwrap_or_default());
    ProxyRefusal::passing(format!("the proxy's answer is no HTTP: {:?}", text.trim_end()))
}
