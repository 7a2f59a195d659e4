//! Error answers.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::report::AnswerError;
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

impl From<AnswerError> for Problem {
    fn from(error: AnswerError) -> Self {
        let status = match error {
            AnswerError::TooMany => StatusCode::TOO_MANY_REQUESTS,
            AnswerError::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
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
