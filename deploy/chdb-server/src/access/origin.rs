use hyper::HeaderMap;
use hyper::header::{HOST, HeaderValue, ORIGIN};
use marketprism_service::HostRule;

/// Reason to refuse a request that a web page made a browser send; else the page's origin, if it is one of `allowed` and not that of
/// this server. Browsers send the relation of the page to the address (`Sec-Fetch-Site`; another port of this machine is `same-site`)
/// and, except for simple GETs, the page's origin. A page whose host name resolves to loopback is recognized by `Host`.
pub fn foreign_page(
    headers: &HeaderMap,
    hosts: &HostRule,
    allowed: &[String],
) -> Result<Option<HeaderValue>, String> {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("(not text)"));
    let host = header(HOST.as_str()).unwrap_or_default();
    if !hosts.permits(Some(host)) {
        return Err(format!(
            "host {host:?}: only localhost and loopback addresses are answered, see --allow-remote"
        ));
    }
    let origin = header(ORIGIN.as_str());
    if origin.is_some_and(|origin| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))) {
        return Ok(headers.get(ORIGIN).cloned());
    }
    let relation = header("sec-fetch-site").filter(|site| !matches!(*site, "same-origin" | "none"));
    if let Some(site) = relation {
        return Err(format!(
            "sec-fetch-site {site:?}: requests from web pages of another origin are refused (allowed: \
             same-origin, none, and the origins of --allow-origin)"
        ));
    }
    let Some(origin) = origin else { return Ok(None) };
    let own = origin.split_once("://").is_some_and(|(scheme, authority)| {
        let authority = with_port(authority, scheme);
        matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(&with_port(host, scheme))
    });
    if own {
        return Ok(None);
    }
    Err(format!("origin {origin:?}: refused, allowed are http://{host} and the origins of --allow-origin"))
}

/// Browsers leave the scheme's own port out.
fn with_port(authority: &str, scheme: &str) -> String {
    let has_port =
        authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    if has_port {
        authority.to_owned()
    } else {
        format!("{authority}:{}", if scheme == "https" { 443 } else { 80 })
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;

    use marketprism_service::HostRule;

    use super::foreign_page;

    #[test]
    fn only_pages_of_this_server_are_answered() {
        let rule = |names: &[String]| HostRule::new("127.0.0.1:8123".parse().unwrap(), names);
        let (local, any) = (rule(&[]), rule(&["*".to_owned()]));
        let refused = |headers: &[(&'static str, &str)], any_host| {
            let map: HeaderMap =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            foreign_page(&map, if any_host { &any } else { &local }, &[]).is_err()
        };
        let host = ("host", "127.0.0.1:8123");
        for (headers, any_host) in [
            (&[host][..], false),
            (&[host, ("sec-fetch-site", "none")], false),
            (&[host, ("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:8123")], false),
            (&[("host", "localhost"), ("origin", "http://localhost")], false),
            (&[("host", "LOCALHOST:80"), ("origin", "http://localhost")], false),
            (&[("host", "db.example"), ("origin", "https://db.example")], true),
        ] {
            assert!(!refused(headers, any_host), "{headers:?}");
        }
        for (headers, any_host) in [
            (&[host, ("origin", "http://127.0.0.1:9999")][..], false),
            (&[host, ("origin", "http://127.0.0.1")], false),
            (&[host, ("origin", "http://localhost:8123")], false),
            (&[host, ("origin", "null")], false),
            (&[host, ("origin", "file://127.0.0.1:8123")], false),
            (&[host, ("sec-fetch-site", "same-site")], false),
            (&[host, ("sec-fetch-site", "cross-site")], true),
            (&[("host", "evil.example"), ("origin", "http://evil.example")], false),
            (&[("host", "db.example"), ("origin", "http://evil.example")], true),
        ] {
            assert!(refused(headers, any_host), "{headers:?}");
        }
    }

    #[test]
    fn a_page_of_an_allowed_origin_is_answered_and_named() {
        let hosts = HostRule::new("127.0.0.1:8123".parse().unwrap(), &[]);
        let allowed = ["https://grafana.example".to_owned()];
        let of = |origin: &str| {
            let headers = [("host", "127.0.0.1:8123"), ("sec-fetch-site", "cross-site"), ("origin", origin)];
            let map: HeaderMap =
                headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            foreign_page(&map, &hosts, &allowed)
        };
        assert_eq!(of("https://grafana.example").unwrap().unwrap(), "https://grafana.example");
        for other in
            ["http://grafana.example", "https://grafana.example:8443", "https://x.grafana.example", "null"]
        {
            assert!(of(other).is_err(), "{other}");
        }
    }
}
