//! HTML pages: self-contained, with a content security policy that allows nothing else.

use std::cmp::Reverse;

use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

const STYLE: &str = include_str!("pages/style.css");
const SCRIPT: &str = include_str!("pages/page.js");

#[derive(Debug, Clone, Copy)]
pub struct Page {
    title: &'static str,
    body: &'static str,
    scripts: &'static [&'static str],
}

pub const INTEGRITY: Page = Page {
    title: "Integrity",
    body: include_str!("pages/integrity.html"),
    scripts: &[
        SCRIPT,
        include_str!("pages/heatmap.js"),
        include_str!("pages/fleet.js"),
        include_str!("pages/integrity.js"),
    ],
};

pub const EDGES: Page = Page {
    title: "Edges",
    body: include_str!("pages/edges.html"),
    scripts: &[SCRIPT, include_str!("pages/fleet.js"), include_str!("pages/edges.js")],
};

pub const OVERVIEW: Page = Page {
    title: "Overview",
    body: include_str!("pages/overview.html"),
    scripts: &[SCRIPT, include_str!("pages/overview.js")],
};

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        // Only scripts with this nonce run: text from a venue cannot know it.
        let nonce = format!("{:032x}", rand::random::<u128>());
        let policy = format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
        );
        let scripts = self.scripts.concat();
        let Self { title, body, .. } = self;
        let text = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"dark light\">\n<title>{title} \u{b7} MarketPrism</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n<style nonce=\"{nonce}\">\n{STYLE}</style>\n</head>\n<body>\n{body}\
             <script nonce=\"{nonce}\">\n'use strict';\n{scripts}</script>\n</body>\n</html>\n"
        );
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::CACHE_CONTROL, "no-store".to_owned()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (header::REFERRER_POLICY, "no-referrer".to_owned()),
            (header::VARY, "Accept".to_owned()),
        ];
        (headers, text).into_response()
    }
}

/// Browsers accept HTML, and do not name JSON before it, or with a greater weight.
pub fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let [html, json] = ["text/html", "application/json"].map(|kind| {
        let named = accept.split(',').map(split_weight).enumerate();
        named
            .filter(|(_, (name, _))| name.eq_ignore_ascii_case(kind))
            .map(|(at, (_, weight))| (weight, Reverse(at)))
            .max()
    });
    html.is_some_and(|(weight, _)| weight > 0) && html > json
}

/// A kind of content and its weight in thousandths (RFC 9110); one that cannot be read is the greatest.
fn split_weight(part: &str) -> (&str, u16) {
    const FULL: u16 = 1_000;
    let mut fields = part.split(';').map(str::trim);
    let kind = fields.next().unwrap_or_default();
    let weight = fields.find_map(|field| field.strip_prefix("q=").or_else(|| field.strip_prefix("Q=")));
    let thousandths = |text: &str| {
        let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
        let number: u16 = format!("{whole}{digits:0<3}").parse().ok()?;
        Some(number.min(FULL))
    };
    (kind, weight.and_then(thousandths).unwrap_or(FULL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        wants_page(&headers)
    }

    #[test]
    fn browsers_get_the_page_and_other_clients_json() {
        assert!(asks("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(!asks("application/json") && !asks("*/*") && !asks("application/json, text/html"));
        assert!(!asks("text/html;q=0.2, application/json") && !asks("text/html;q=0"));
        assert!(asks("application/json;q=0.9, text/html") && asks("text/html; q=1.0, application/json;q=1"));
        assert!(!wants_page(&HeaderMap::new()));
    }

    #[test]
    fn pages_load_nothing_from_elsewhere() {
        for page in [EDGES, INTEGRITY, OVERVIEW] {
            let whole = [page.body, STYLE, &page.scripts.concat()].concat();
            for outside in ["http://", "https://", "@import", "url(", "innerHTML", "src="] {
                // The SVG namespace is a name, not an address that is loaded.
                let whole = whole.replace("http://www.w3.org/2000/svg", "");
                assert!(!whole.contains(outside), "{}: {outside}", page.title);
            }
        }
    }
}
