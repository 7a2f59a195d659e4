//! Addresses of servers, which may hold a password or a key.

use std::borrow::Cow;
use std::fmt;

use marketprism_service::{MASK, mask};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

/// An address whose user information and secret parameters do not show, formatted or serialized; only [`MaskedUrl::reveal`] gives it
/// whole.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(transparent)]
pub struct MaskedUrl(String);

impl MaskedUrl {
    /// The address itself, for the one place that connects.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// True if no address is given.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parses it; the error names what is wrong, without the address.
    pub fn parse(&self, schemes: &[&str]) -> Result<Url, String> {
        let url = Url::parse(&self.0).map_err(|error| error.to_string())?;
        if !schemes.contains(&url.scheme()) {
            return Err(format!("scheme {:?}", url.scheme()));
        }
        // The parser reads `http:///x` and `http:x` as host x.
        let authority =
            self.0.trim_start().get(url.scheme().len()..).and_then(|rest| rest.strip_prefix("://"));
        if authority.is_none_or(|rest| rest.starts_with(['/', '?', '#', '\\'])) {
            return Err("no host".to_owned());
        }
        if self.0.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
            return Err("a space".to_owned());
        }
        if url.port() == Some(0) { Err("port 0".to_owned()) } else { Ok(url) }
    }

    /// Removes user and password from the address and returns them; `None` if it holds neither, or is no address.
    pub fn take_user_info(&mut self) -> Option<(String, String)> {
        let url = Url::parse(&self.0).ok()?;
        let decoded = |text: &str| {
            // A form's pair decodes the same escapes; `+` and `&` are literal here.
            let escaped = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
            let pair = url::form_urlencoded::parse(escaped.as_bytes()).next();
            pair.map(|(text, _)| text.into_owned()).unwrap_or_default()
        };
        let taken = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
        if taken.0.is_empty() && taken.1.is_empty() {
            return None;
        }
        let (scheme, rest) = self.0.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let host = rest.get(..end)?.rfind('@')? + 1;
        self.0 = format!("{scheme}://{}", rest.get(host..)?);
        Some(taken)
    }

    /// Changes a part of the address; false if it is none or the change is refused.
    pub fn change(&mut self, change: impl FnOnce(&mut Url) -> bool) -> bool {
        let Ok(mut url) = Url::parse(&self.0) else { return false };
        let is_changed = change(&mut url);
        if is_changed {
            url.as_str().trim_end_matches('/').clone_into(&mut self.0);
        }
        is_changed
    }

    fn masked(&self) -> Cow<'_, str> {
        let is_address = Url::parse(&self.0).is_ok_and(|url| url.has_host());
        match self.0.rsplit_once('@') {
            // Not readable as an address: all before the last `@` may be a password.
            Some((before, rest)) if !is_address => {
                let scheme = before.find("://").and_then(|end| before.get(..end + 3)).unwrap_or_default();
                Cow::Owned(format!("{scheme}{MASK}@{}", mask(rest)))
            }
            _ => mask(&self.0),
        }
    }
}

impl From<&str> for MaskedUrl {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for MaskedUrl {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for MaskedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.masked(), f)
    }
}

impl fmt::Display for MaskedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for MaskedUrl {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.masked())
    }
}

impl JsonSchema for MaskedUrl {
    fn schema_name() -> Cow<'static, str> {
        "MaskedUrl".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-url": true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_an_address_shows_its_secret() {
        for text in [
            "http://u:secret@h:1",
            "http://secret@h",
            "nats://u:se/secret@h:4222",
            "u:secret@h:4222",
            "secret@h",
            "http://h/?password=secret",
            "http://u:secret@",
            "http://u:secret@h:port",
            "://u:secret@h",
        ] {
            let url = MaskedUrl::from(text);
            let shown = format!("{url} {url:?} {url:#?} {}", serde_json::to_string(&url).unwrap());
            assert!(!shown.contains("secret") && shown.contains(MASK), "{text}: {shown}");
            assert_eq!(url.reveal(), text);
        }
        assert_eq!(MaskedUrl::from("http://u:s@h:1/x").to_string(), "http://***@h:1/x");
        assert_eq!(MaskedUrl::from("https://h/a@b").to_string(), "https://h/a@b");
    }

    #[test]
    fn only_a_scheme_with_a_host_is_accepted() {
        let of = |text: &str| MaskedUrl::from(text).parse(&["http", "https"]).map(drop);
        assert_eq!(of("https://h:1/path"), Ok(()));
        for text in [
            "ftp://h",
            "ws://h",
            "http://",
            "http:///x",
            "http:x",
            "h:1",
            "",
            "http://a b",
            "http://h /x",
            "http://h:0",
        ] {
            assert!(of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn user_and_password_are_taken_out_decoded() {
        let mut url = MaskedUrl::from("http://ann:p%40s+s%3D%26@h:8123/");
        assert_eq!(url.take_user_info(), Some(("ann".to_owned(), "p@s+s=&".to_owned())));
        assert_eq!(url.take_user_info(), None);
        assert_eq!(url.reveal(), "http://h:8123/");
    }
}
