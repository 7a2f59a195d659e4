use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::Password;
use crate::engine::{Code, EngineError};

/// The only user.
pub const USER: &str = "default";

/// User and password of a request, from one of the places in which ClickHouse takes them: the headers `X-ClickHouse-User` and
/// `X-ClickHouse-Key`, basic authentication, the parameters `user` and `password` of the URL.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    pub fn read(query: &str, headers: &HeaderMap) -> Result<Credentials, EngineError> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let parameter = |wanted: &str| {
            let mut parameters = form_urlencoded::parse(query.as_bytes());
            parameters.find(|(name, _)| name == wanted).map(|(_, value)| value)
        };
        let (user, password) = (parameter("user"), parameter("password"));
        let given = [
            pair(header("x-clickhouse-user"), header("x-clickhouse-key")),
            headers.get(AUTHORIZATION).map(|value| basic(value.to_str().unwrap_or_default())).transpose()?,
            pair(user.as_deref(), password.as_deref()),
        ];
        let mut given = given.into_iter().flatten();
        let first = given.next().unwrap_or_else(|| Credentials::new(None, None));
        if given.next().is_some() {
            return Err(failed(
                "Invalid authentication: it is not allowed to use more than one of X-ClickHouse HTTP headers, \
                 Authorization HTTP header and URL parameters",
            ));
        }
        Ok(first)
    }

    fn new(user: Option<&str>, password: Option<&str>) -> Credentials {
        let user = user.filter(|user| !user.is_empty()).unwrap_or(USER);
        Credentials { user: user.to_owned(), password: password.unwrap_or_default().to_owned() }
    }

    /// Fails as ClickHouse does; the text does not distinguish between user and password.
    pub fn require(&self, password: &Password) -> Result<(), EngineError> {
        let right = password.is(&self.password);
        if right && self.user == USER {
            return Ok(());
        }
        Err(failed(format!(
            "{}: Authentication failed: password is incorrect, or there is no user with such name",
            self.user
        )))
    }
}

fn pair(user: Option<&str>, password: Option<&str>) -> Option<Credentials> {
    (user.is_some() || password.is_some()).then(|| Credentials::new(user, password))
}

fn basic(header: &str) -> Result<Credentials, EngineError> {
    let encoded = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
    let decoded = encoded.and_then(|(_, text)| STANDARD.decode(text.trim()).ok());
    let Some(text) = decoded.and_then(|bytes| String::from_utf8(bytes).ok()) else {
        return Err(failed(
            "Invalid authentication: the Authorization HTTP header is not basic authentication",
        ));
    };
    let (user, password) = text.split_once(':').unwrap_or((&text, ""));
    Ok(Credentials::new(Some(user), Some(password)))
}

fn failed(text: impl std::fmt::Display) -> EngineError {
    EngineError::new(Code::AUTHENTICATION_FAILED, text)
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use super::{Credentials, Password};

    fn code(query: &str, headers: &[(&'static str, &str)]) -> i32 {
        let map: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let checked =
            Credentials::read(query, &map).and_then(|given| given.require(&Password::of_test("s+c")));
        checked.map_or_else(|error| error.code, |()| 0)
    }

    #[test]
    fn credentials_are_taken_where_clickhouse_takes_them() {
        for (query, headers) in [
            ("query=SELECT+1&user=default&password=s%2Bc", &[][..]),
            ("password=s%2Bc", &[]),
            ("", &[("x-clickhouse-user", "default"), ("x-clickhouse-key", "s+c")]),
            ("", &[("x-clickhouse-key", "s+c")]),
            ("", &[("authorization", "Basic ZGVmYXVsdDpzK2M=")]),
        ] {
            assert_eq!(code(query, headers), 0, "{query} {headers:?}");
        }
        for (query, headers) in [
            ("", &[][..]),
            ("user=default", &[]),
            ("password=s+c", &[]),
            ("user=admin&password=s%2Bc", &[]),
            ("", &[("x-clickhouse-key", "wrong")]),
            ("", &[("authorization", "Bearer s+c")]),
            ("", &[("authorization", "Basic *")]),
            ("password=s%2Bc", &[("x-clickhouse-key", "s+c")]),
        ] {
            assert_eq!(code(query, headers), 516, "{query} {headers:?}");
        }
    }
}
