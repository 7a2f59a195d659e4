//! Bearer tokens of requests that change something. Compared in constant time.

use std::fmt;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use subtle::ConstantTimeEq as _;

/// Refusal of a request that needs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// The program has no token, so nobody may change anything.
    NotConfigured,
    /// The request has none.
    Missing,
    /// The request has another one.
    Wrong,
}

impl TokenRefusal {
    /// Status of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NotConfigured => StatusCode::FORBIDDEN,
            Self::Missing | Self::Wrong => StatusCode::UNAUTHORIZED,
        }
    }
}

impl fmt::Display for TokenRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConfigured => {
                "no token is configured, so requests that change something are refused; write a token to a file and set token_file \
                 under [http], or set MARKETPRISM_HTTP__TOKEN"
            }
            Self::Missing => "authorization: header `Authorization: Bearer <token>` required",
            Self::Wrong => "authorization: wrong token",
        })
    }
}

/// Allows a request that changes something. A password is not taken: a browser would send it with a request that a page of another site
/// makes.
///
/// # Errors
/// The request does not have the token, or there is none.
pub fn check_bearer(token: Option<&str>, headers: &HeaderMap) -> Result<(), TokenRefusal> {
    let token = token.ok_or(TokenRefusal::NotConfigured)?;
    let given = credentials(headers, b"bearer ").ok_or(TokenRefusal::Missing)?;
    if is_token(token, given) { Ok(()) } else { Err(TokenRefusal::Wrong) }
}

/// Constant time, wherever the first difference is.
pub fn is_token(token: &str, given: &[u8]) -> bool {
    given.ct_eq(token.as_bytes()).into()
}

/// The rest of the header `Authorization` after a scheme such as `bearer `.
pub fn credentials<'h>(headers: &'h HeaderMap, scheme: &[u8]) -> Option<&'h [u8]> {
    let (given, rest) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(scheme.len())?;
    given.eq_ignore_ascii_case(scheme).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configured_token_is_accepted() {
        let answer = |token: Option<&str>, given: Option<&str>| {
            let headers = given.map(|given| (AUTHORIZATION, given.parse().unwrap())).into_iter().collect();
            check_bearer(token, &headers).err().map(|refusal| refusal.status().as_u16())
        };
        assert_eq!(answer(Some("secret"), Some("Bearer secret")), None);
        assert_eq!(answer(Some("secret"), Some("bearer secret")), None);
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "Basic OnNlY3JldA==", "secret"] {
            assert_eq!(answer(Some("secret"), Some(wrong)), Some(401), "{wrong}");
        }
        assert_eq!(answer(Some("secret"), None), Some(401));
        assert_eq!(answer(None, Some("Bearer ")), Some(403));
    }
}
