//! Masks the secrets of addresses in texts: user information, and parameters that hold a key, token or password.

use std::borrow::Cow;
use std::ops::Range;

use crate::host_limits::limit_among;

/// Stands for a secret.
pub const MASK: &str = "***";

/// A parameter with one of these in its name holds a secret.
const SECRET_NAMES: [&str; 10] =
    ["pass", "pwd", "secret", "token", "key", "auth", "credential", "signature", "session", "jwt"];

/// The text with the secrets of every address in it masked, for logs, errors and pages.
pub fn mask(text: &str) -> Cow<'_, str> {
    let mut secrets: Vec<Range<usize>> = user_infos(text).chain(parameters(text)).collect();
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    secrets.sort_by_key(|secret| secret.start);
    let (mut masked, mut shown) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        if secret.start >= shown {
            masked.push_str(text.get(shown..secret.start).unwrap_or_default());
            masked.push_str(MASK);
            shown = secret.end;
        }
    }
    masked.push_str(text.get(shown..).unwrap_or_default());
    Cow::Owned(masked)
}

/// The parts between `://` and `@`.
fn user_infos(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://").filter_map(|(at, separator)| {
        let start = at + separator.len();
        let rest = text.get(start..)?;
        let address = rest.get(..rest.find(ends_address).unwrap_or(rest.len()))?;
        let authority = address.get(..address.find(['/', '?', '#']).unwrap_or(address.len()))?;
        let end = match authority.rfind('@') {
            Some(end) => end,
            // Not a port: a password with an unescaped `/`, `?` or `#`.
            None if !ends_in_port(authority) => address.rfind('@')?,
            None => return None,
        };
        (end > 0).then(|| start..start + end)
    })
}

fn ends_address(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '"' | '\'' | '`' | '<' | '>')
}

fn ends_in_port(authority: &str) -> bool {
    authority.ends_with(']')
        || authority.rsplit_once(':').is_none_or(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The values of parameters whose name says that they are secret.
fn parameters(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices(['?', '&', '#', ';']).filter_map(|(at, separator)| {
        let rest = text.get(at + separator.len()..)?;
        let length = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && !"_-.".contains(letter))?;
        let (name, rest) = (rest.get(..length)?, rest.get(length..)?.strip_prefix('=')?);
        if !is_secret(name) {
            return None;
        }
        let end = rest.find(|letter| ends_address(letter) || "&#;".contains(letter)).unwrap_or(rest.len());
        // Punctuation of the sentence around the address.
        let value = rest.get(..end)?.trim_end_matches([')', ']', '}', ',', '.', ':']);
        let start = text.len() - text.get(at..)?.len() + separator.len() + length + 1;
        (!value.is_empty()).then(|| start..start + value.len())
    })
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "sig" || SECRET_NAMES.iter().any(|part| name.contains(part))
}

/// A command line without the values of options whose name says that they are secret.
pub fn mask_arguments(arguments: &[String]) -> String {
    let mut is_value_of_secret = false;
    let masked = arguments.iter().map(|argument| {
        let is_value = std::mem::take(&mut is_value_of_secret);
        let (name, value) = argument.split_once('=').map_or((argument.as_str(), None), |(n, v)| (n, Some(v)));
        if is_value && !argument.starts_with('-') {
            return Cow::Borrowed(MASK);
        }
        let is_option = argument.starts_with('-') || value.is_some();
        match value {
            Some(_) if is_option && is_secret(name) => Cow::Owned(format!("{name}={MASK}")),
            _ => {
                is_value_of_secret = is_option && value.is_none() && is_secret(name);
                mask(argument)
            }
        }
    });
    masked.collect::<Vec<_>>().join(" ")
}

/// An error with its causes in one line, each text once, masked; with the limit of the host that is behind it, if one is.
pub fn error_text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors show their cause already.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    if let Some(limit) = limit_among(error).filter(|limit| !text.contains(limit)) {
        text.push_str("; ");
        text.push_str(&limit);
    }
    mask(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_addresses_are_masked_and_the_rest_stays() {
        for (text, masked) in [
            ("http://u:secret@db:8123/?database=x", "http://***@db:8123/?database=x"),
            ("nats://token@a:1,nats://u:s@b:2", "nats://***@a:1,nats://***@b:2"),
            (
                "error sending request for url (http://u:p@h/?api_key=abc): refused",
                "error sending request for url (http://***@h/?api_key=***): refused",
            ),
            (
                "wss://h/ws?a=1&Signature=s3%3D&b=2#access_token=t",
                "wss://h/ws?a=1&Signature=***&b=2#access_token=***",
            ),
            ("http://u:se/cr?et@host:1/x", "http://***@host:1/x"),
            ("http://u:p@ss@host", "http://***@host"),
            ("GET /integrity?token=abc HTTP/1.1", "GET /integrity?token=*** HTTP/1.1"),
            ("{\"url\":\"http://u:p@h\"}", "{\"url\":\"http://***@h\"}"),
        ] {
            assert_eq!(mask(text), masked);
        }
        for plain in [
            "https://h:443/@scope/x?symbol=BTC&limit=5",
            "http://[::1]:8123/a@b",
            "http://host/a:b@c",
            "a@b.c",
            "allowed: nats://host:port",
            "",
            "://@",
        ] {
            assert_eq!(mask(plain), plain);
        }
    }

    #[test]
    fn a_command_line_shows_no_secret_option() {
        let line = "x --url http://u:s@h --password s1 --api-token=s2 AUTH=s3 --key --port 1 token";
        let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let shown = "x --url http://***@h --password *** --api-token=*** AUTH=*** --key --port 1 token";
        assert_eq!(mask_arguments(&arguments), shown);
    }

    #[test]
    fn an_error_tells_the_limit_of_the_host_that_is_behind_it() {
        let files = anyhow::Error::new(std::io::Error::from_raw_os_error(24)).context("cannot connect");
        let text = error_text(files.as_ref());
        assert!(
            text.starts_with("cannot connect: Too many open files (os error 24); the process may"),
            "{text}"
        );
        assert!(text.contains("RLIMIT_NOFILE") && text.contains("LimitNOFILE="), "{text}");
    }

    #[test]
    fn an_error_tells_each_cause_once() {
        let cause = std::io::Error::other("http://u:secret@h is away");
        let error = anyhow::Error::new(cause).context("cannot connect to http://u:secret@h");
        let text = error_text(error.as_ref());
        assert_eq!(text, "cannot connect to http://***@h: http://***@h is away");
        let doubled = anyhow::anyhow!("away").context("file x: away");
        assert_eq!(error_text(doubled.as_ref()), "file x: away");
    }
}
