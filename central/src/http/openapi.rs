//! Head of the OpenAPI document; the routes describe themselves.

use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "MarketPrism central",
        description = "State of ingest, storage and replication, and the integrity of the data. Fields may be added within a version; none is \
                       removed or changes its meaning. Findings carry a stable `code`: match on it, never on the text."
    ),
    tags(
        (name = "data", description = "Coverage and integrity of the data"),
        (name = "repair", description = "Repair of windows that differ"),
        (name = "process", description = "State of this central"),
    ),
    modifiers(&TokenScheme)
)]
pub struct ApiDocument;

struct TokenScheme;

impl Modify for TokenScheme {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}
