//! The token of requests that change something.

use std::sync::{PoisonError, RwLock};

use axum::http::HeaderMap;
use marketprism_config::Secret;
use marketprism_service::{TokenRefusal, check_bearer};

/// `http.token`; a reload may change it.
#[derive(Debug, Default)]
pub struct AccessToken(RwLock<Option<Secret>>);

impl AccessToken {
    pub const fn new(token: Option<Secret>) -> Self {
        Self(RwLock::new(token))
    }

    pub fn set(&self, token: Option<Secret>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    pub fn check(&self, headers: &HeaderMap) -> Result<(), TokenRefusal> {
        let token = self.0.read().unwrap_or_else(PoisonError::into_inner);
        check_bearer(token.as_ref().map(Secret::reveal), headers)
    }
}
