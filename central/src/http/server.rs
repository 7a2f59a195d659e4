//! Listener, routes and the OpenAPI document.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::{Json, Router};
use marketprism_service::{HostRule, HttpListener, ServerTls, serve_http};
use tokio_util::sync::CancellationToken;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as Document, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{OPEN_PATHS, check_read};
use super::problem::Problem;
use super::{App, handlers, instruments, repair};
use crate::context::CentralContext;
use crate::limits;

pub async fn bind(listen: SocketAddr, http: &crate::config::Http) -> anyhow::Result<HttpListener> {
    let tls = match (&http.tls_cert_file, &http.tls_key_file) {
        (Some(certificate), Some(key)) => {
            Some(Arc::new(ServerTls::load(certificate, key).context("http.tls_cert_file")?))
        }
        _ => None,
    };
    if http.is_exposed() {
        tracing::warn!(%listen, "http.listen is reached by other machines without TLS: tokens can be read on the way");
    }
    let listener = marketprism_service::bind_when_available(listen).await;
    let listener = listener.with_context(|| format!("http.listen: cannot listen on {listen}"))?;
    Ok(HttpListener { listener, hosts: HostRule::new(listen, &http.allowed_hosts), tls })
}

pub async fn serve(
    listener: HttpListener,
    shared: Arc<CentralContext>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    serve_http(listener, router(Arc::new(App::new(shared))), limits::HTTP, shutdown.cancelled()).await;
    Ok(())
}

fn router(app: Arc<App>) -> Router {
    let (routes, _) = routes().split_for_parts();
    routes
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), check_read))
        .with_state(app)
}

fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(ApiDocument::openapi())
        .routes(routes!(handlers::serve_health))
        .routes(routes!(handlers::serve_ready))
        .routes(routes!(handlers::serve_metrics))
        .routes(routes!(handlers::serve_coverage))
        .routes(routes!(handlers::serve_integrity))
        .routes(routes!(instruments::serve_instruments))
        .routes(routes!(handlers::serve_edges))
        .routes(routes!(handlers::serve_overview))
        .routes(routes!(handlers::serve_root))
        .routes(routes!(repair::start, repair::progress))
        .routes(routes!(serve_description))
}

pub fn description() -> Document {
    let mut document = routes().split_for_parts().1;
    for (path, item) in &mut document.paths.paths {
        if let Some(read) = &mut item.get
            && !OPEN_PATHS.contains(&path.as_str())
        {
            describe_read_token(read);
        }
    }
    document
}

/// The token is optional: without `http.read_token_file` every request may read.
fn describe_read_token(read: &mut Operation) {
    let token = SecurityRequirement::new("token", Vec::<String>::new());
    read.security = Some(vec![SecurityRequirement::default(), token]);
    let refusal = Response::builder()
        .description("Missing or wrong token, where `http.read_token_file` is configured")
        .content("application/json", Content::new(Some(Ref::from_schema_name("Problem"))));
    read.responses.responses.insert("401".to_owned(), RefOr::T(refusal.build()));
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "process", responses(
    (status = 200, description = "OpenAPI 3.1", body = serde_json::Value),
))]
async fn serve_description() -> Json<Document> {
    Json(description())
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("unknown path {}; see /openapi.json", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let text = format!("method {method} not allowed for {}; see /openapi.json", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, text)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_openapi_document_describes_every_route_and_schema() {
        let text = serde_json::to_string(&description()).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let paths: Vec<&String> = json["paths"].as_object().unwrap().keys().collect();
        let expected = [
            "/",
            "/coverage",
            "/edges",
            "/health",
            "/instruments",
            "/integrity",
            "/metrics",
            "/openapi.json",
            "/overview",
            "/ready",
            "/repair",
        ];
        assert_eq!(paths, expected);
        assert!(json["paths"]["/repair"]["post"]["security"][0]["token"].is_array());
        for (path, item) in json["paths"].as_object().unwrap() {
            let read = &item["get"];
            let described = (
                read["security"] == serde_json::json!([{}, {"token": []}]),
                read["responses"]["401"].is_object(),
            );
            let is_open = matches!(path.as_str(), "/health" | "/ready");
            assert_eq!(described, (!is_open, !is_open), "{path}: {read}");
        }
        assert!(json["components"]["securitySchemes"]["token"].is_object());
        for name in text.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap())
        {
            assert!(json["components"]["schemas"][name].is_object(), "schema {name} is missing");
        }
    }
}
