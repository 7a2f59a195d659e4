//! Error answers, and the authorization of requests that change something.

use axum::Json;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use marketprism_config::Secret;
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use crate::report::TooManyRequests;
use crate::time::InvalidParameter;

/// Error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    pub error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    #[serde(skip)]
    status: StatusCode,
}

impl Problem {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { error: error.into(), field: None, value: None, allowed: None, status }
    }

    pub fn bad(field: &str, value: &str, allowed: &str) -> Self {
        Self {
            error: format!("{field}: {value:?} is not allowed (allowed: {allowed})"),
            field: Some(field.to_owned()),
            value: Some(value.to_owned()),
            allowed: Some(allowed.to_owned()),
            status: StatusCode::BAD_REQUEST,
        }
    }
}

impl From<InvalidParameter> for Problem {
    fn from(error: InvalidParameter) -> Self {
        Self::bad(error.field, &error.value, &error.allowed)
    }
}

impl From<TooManyRequests> for Problem {
    fn from(busy: TooManyRequests) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, busy.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        let add = match status {
            StatusCode::UNAUTHORIZED => Some((header::WWW_AUTHENTICATE, "Bearer")),
            StatusCode::TOO_MANY_REQUESTS => Some((header::RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = add {
            response.headers_mut().insert(name, header::HeaderValue::from_static(value));
        }
        response
    }
}

pub fn check_token(configured: Option<&Secret>, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = configured else {
        let text = "no token is configured, so requests that change something are refused; write a token to a file and set \
                    token_file under [http], or set MARKETPRISM_HTTP__TOKEN";
        return Err(Problem::new(StatusCode::FORBIDDEN, text));
    };
    let given = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    let given = given.and_then(|value| value.split_first_chunk::<7>());
    match given {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"bearer ") => {
            // Constant time, wherever the first difference is.
            if bool::from(given.ct_eq(token.reveal().as_bytes())) {
                return Ok(());
            }
            Err(Problem::new(StatusCode::UNAUTHORIZED, "authorization: wrong token"))
        }
        _ => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "authorization: header `Authorization: Bearer <token>` required",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(configured: Option<&str>, given: Option<&str>) -> Option<u16> {
        let secret = configured.map(|token| Secret::new(token.to_owned()));
        let mut headers = HeaderMap::new();
        if let Some(given) = given {
            headers.insert(header::AUTHORIZATION, given.parse().unwrap());
        }
        let problem = check_token(secret.as_ref(), &headers).err()?;
        Some(axum::response::IntoResponse::into_response(problem).status().as_u16())
    }

    #[test]
    fn only_the_configured_token_is_accepted() {
        assert_eq!(answer(Some("secret"), Some("Bearer secret")), None);
        assert_eq!(answer(Some("secret"), Some("bearer secret")), None);
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "Basic secret", "secret"] {
            assert_eq!(answer(Some("secret"), Some(wrong)), Some(401), "{wrong}");
        }
        assert_eq!(answer(Some("secret"), None), Some(401));
        assert_eq!(answer(None, Some("Bearer ")), Some(403));
    }
}
