//! Tokens: who may read, and who may change something. Compared in constant time.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use marketprism_config::Secret;
use marketprism_service::{TokenRefusal, check_bearer, credentials, is_token};

use super::App;
use super::problem::Problem;
use crate::config::Http;

/// Mark of a request without a token that is answered nevertheless, without details.
#[derive(Debug, Clone, Copy)]
pub struct Anonymous;

/// Paths that are answered without a token, where reading needs one too.
pub const OPEN_PATHS: [&str; 2] = ["/health", "/ready"];

/// Refuses requests without a token if reading needs one.
pub async fn check_read(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    match may_read(&app.shared.config.http, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(_) if OPEN_PATHS.contains(&request.uri().path()) => {
            request.extensions_mut().insert(Anonymous);
            next.run(request).await
        }
        Err(problem) => {
            let mut response = problem.into_response();
            // Makes a browser ask for it.
            let basic = HeaderValue::from_static("Basic realm=\"MarketPrism\"");
            response.headers_mut().append(WWW_AUTHENTICATE, basic);
            response
        }
    }
}

fn may_read(http: &Http, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(read_token) = &http.read_token else { return Ok(()) };
    let given = token_of(headers).ok_or_else(|| {
        refused("header `Authorization: Bearer <token>` required; in a browser, the token is the password")
    })?;
    let tokens = [Some(read_token), http.token.as_ref()];
    let is_known = tokens.into_iter().flatten().any(|token| is_token(token.reveal(), &given));
    if is_known { Ok(()) } else { Err(TokenRefusal::Wrong.into()) }
}

/// Allows requests that change something.
pub fn check_token(configured: Option<&Secret>, headers: &HeaderMap) -> Result<(), Problem> {
    Ok(check_bearer(configured.map(Secret::reveal), headers)?)
}

impl From<TokenRefusal> for Problem {
    fn from(refusal: TokenRefusal) -> Self {
        Self::new(refusal.status(), refusal.to_string())
    }
}

fn refused(text: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, format!("authorization: {text}"))
}

fn token_of(headers: &HeaderMap) -> Option<Vec<u8>> {
    credentials(headers, b"bearer ").map(<[u8]>::to_vec).or_else(|| {
        let pair = BASE64_STANDARD.decode(credentials(headers, b"basic ")?).ok()?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        pair.get(colon + 1..).map(<[u8]>::to_vec)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::header::AUTHORIZATION;

    use super::*;

    fn headers(given: Option<&str>) -> HeaderMap {
        given.map(|given| (AUTHORIZATION, given.parse().unwrap())).into_iter().collect()
    }

    fn status(answer: Result<(), Problem>) -> Option<u16> {
        answer.err().map(|problem| problem.into_response().status().as_u16())
    }

    #[test]
    fn reading_needs_one_of_the_tokens_once_there_is_a_read_token() {
        let secret = |text: &str| Some(Secret::new(text.to_owned()));
        let open = Http { token: secret("write"), ..Http::default() };
        let http = Http { read_token: secret("read"), ..open.clone() };
        assert_eq!(status(may_read(&open, &headers(None))), None);
        let basic = format!("Basic {}", BASE64_STANDARD.encode("anybody:read"));
        for good in ["Bearer read", "bearer write", basic.as_str()] {
            assert_eq!(status(may_read(&http, &headers(Some(good)))), None, "{good}");
        }
        for wrong in ["Bearer rea", "Bearer readwrite", "Basic read", "Basic cmVhZA==", "Bearer", ""] {
            assert_eq!(status(may_read(&http, &headers(Some(wrong)))), Some(401), "{wrong}");
        }
        assert_eq!(status(may_read(&http, &headers(None))), Some(401));
    }
}
