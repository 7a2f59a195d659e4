//! Authorization of requests that change something.

use axum::http::{HeaderMap, StatusCode, header};
use marketprism_config::Secret;
use subtle::ConstantTimeEq as _;

use super::problem::Problem;

pub fn check(configured: Option<&Secret>, headers: &HeaderMap) -> Result<(), Problem> {
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
        let problem = check(secret.as_ref(), &headers).err()?;
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
