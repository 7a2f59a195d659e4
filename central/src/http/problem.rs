//! Refusals, all of one form.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::report::{BadWish, Busy};

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// In words.
    pub error: String,
    /// The parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    #[serde(skip)]
    status: StatusCode,
}

impl Problem {
    /// A refusal in words.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { error: error.into(), field: None, value: None, allowed: None, status }
    }

    /// A parameter or key with a wrong value.
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

impl From<BadWish> for Problem {
    fn from(wish: BadWish) -> Self {
        Self::bad(wish.field, &wish.value, &wish.allowed)
    }
}

impl From<Busy> for Problem {
    fn from(busy: Busy) -> Self {
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
