//! What stands at the head of `/openapi.json`.

use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// The head of the description; the routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "MarketPrism central",
        description = "What arrived, what is stored, and what can be said of it. Fields may be added within a version; none is \
                       removed or changes its meaning."
    ),
    tags(
        (name = "data", description = "What arrived and what can be said of it"),
        (name = "repair", description = "Mending what can be mended"),
        (name = "process", description = "How this central is"),
    ),
    modifiers(&Token)
)]
pub struct Described;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}
