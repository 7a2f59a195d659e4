//! Control API under `/sim/`.

mod routes;

pub use routes::{answer, error};

/// The parameters of a query string, percent-decoded.
pub fn pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}
