//! CONNECT of SOCKS 5 (RFC 1928), with user and password (RFC 1929).

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::refusal::ProxyRefusal;
use super::transport::Transport;
use crate::proxy::ProxyLogin;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const PASSWORD_LOGIN: u8 = 2;
const NO_METHOD: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

#[derive(Debug, Clone)]
pub(super) enum SocksTarget {
    Address(SocketAddr),
    /// The proxy resolves it.
    Name(String, u16),
}

pub(super) async fn connect(
    stream: &mut Box<dyn Transport>,
    target: &SocksTarget,
    login: Option<&ProxyLogin>,
) -> Result<(), ProxyRefusal> {
    let greeting: &[u8] =
        if login.is_some() { &[VERSION, 2, NO_LOGIN, PASSWORD_LOGIN] } else { &[VERSION, 1, NO_LOGIN] };
    send(stream, greeting).await?;
    let [version, method] = read(stream).await?;
    expect_version(version, method)?;
    match (method, login) {
        (NO_LOGIN, _) => {}
        (PASSWORD_LOGIN, Some(login)) => log_in(stream, login).await?,
        (NO_METHOD, None) => {
            let reason = "the proxy wants a user and password (proxy_user, proxy_password_file)";
            return Err(ProxyRefusal::lasting(reason));
        }
        (NO_METHOD, Some(_)) => {
            return Err(ProxyRefusal::lasting("the proxy takes no log-in by user and password"));
        }
        (other, _) => {
            let reason = format!("the proxy chose log-in method {other}, which was not offered");
            return Err(ProxyRefusal::passing(reason));
        }
    }
    send(stream, &request(target)?).await?;
    let [version, reply, _, form] = read(stream).await?;
    expect_version(version, reply)?;
    if reply != 0 {
        return Err(refused(reply));
    }
    read_bound_address(stream, form).await
}

async fn log_in(stream: &mut Box<dyn Transport>, login: &ProxyLogin) -> Result<(), ProxyRefusal> {
    let mut message = vec![LOGIN_VERSION];
    for text in [login.user.reveal(), login.password.reveal()] {
        push_text(&mut message, text)?;
    }
    send(stream, &message).await?;
    let [_, status] = read(stream).await?;
    match status {
        0 => Ok(()),
        _ => Err(ProxyRefusal::lasting("the proxy refuses the user or password")),
    }
}

fn push_text(message: &mut Vec<u8>, text: &str) -> Result<(), ProxyRefusal> {
    let too_long =
        |_| ProxyRefusal::lasting("a name, user or password is longer than SOCKS allows (255 bytes)");
    message.push(u8::try_from(text.len()).map_err(too_long)?);
    message.extend_from_slice(text.as_bytes());
    Ok(())
}

fn request(target: &SocksTarget) -> Result<Vec<u8>, ProxyRefusal> {
    let mut message = vec![VERSION, CONNECT, 0];
    let port = match target {
        SocksTarget::Address(SocketAddr::V4(address)) => {
            message.push(IPV4);
            message.extend_from_slice(&address.ip().octets());
            address.port()
        }
        SocksTarget::Address(SocketAddr::V6(address)) => {
            message.push(IPV6);
            message.extend_from_slice(&address.ip().octets());
            address.port()
        }
        SocksTarget::Name(name, port) => {
            message.push(NAME);
            push_text(&mut message, name)?;
            *port
        }
    };
    message.extend_from_slice(&port.to_be_bytes());
    Ok(message)
}

/// It is of no use, but the target's bytes come after it.
async fn read_bound_address(stream: &mut Box<dyn Transport>, form: u8) -> Result<(), ProxyRefusal> {
    let length = match form {
        IPV4 => 4,
        IPV6 => 16,
        NAME => {
            let [length] = read(stream).await?;
            usize::from(length)
        }
        other => {
            return Err(ProxyRefusal::passing(format!("the proxy's reply has address type {other}")));
        }
    };
    let mut rest = vec![0; length + 2];
    stream.read_exact(&mut rest).await.map(drop).map_err(lost)
}

fn expect_version(version: u8, next: u8) -> Result<(), ProxyRefusal> {
    if version == VERSION {
        return Ok(());
    }
    let hint = if version == b'H' && next == b'T' { "; is it an HTTP proxy?" } else { "" };
    let reason = format!("the proxy's answer is no SOCKS 5: it begins with {version:#04x} {next:#04x}{hint}");
    Err(ProxyRefusal::passing(reason))
}

fn refused(reply: u8) -> ProxyRefusal {
    let (meaning, lasting) = match reply {
        1 => ("general failure", false),
        2 => ("not allowed by its rules", true),
        3 => ("network unreachable", false),
        4 => ("host unreachable", false),
        5 => ("connection refused by the target", false),
        6 => ("time to live expired", false),
        7 => ("command not supported", true),
        8 => ("address type not supported", true),
        _ => ("unknown code", false),
    };
    ProxyRefusal { reason: format!("the proxy refused to connect: code {reply}, {meaning}"), lasting }
}

async fn send(stream: &mut Box<dyn Transport>, message: &[u8]) -> Result<(), ProxyRefusal> {
    stream.write_all(message).await.map_err(lost)?;
    stream.flush().await.map_err(lost)
}

async fn read<const N: usize>(stream: &mut Box<dyn Transport>) -> Result<[u8; N], ProxyRefusal> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(lost)?;
    Ok(bytes)
}

fn lost(error: Error) -> ProxyRefusal {
    ProxyRefusal::passing(match error.kind() {
        ErrorKind::UnexpectedEof => "the proxy closed the connection inside the SOCKS handshake".to_owned(),
        _ => format!("connection to the proxy lost: {error}"),
    })
}
