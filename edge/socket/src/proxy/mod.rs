//! Proxies and the rules that say which connection takes one. Nothing here connects.

mod no_proxy;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use marketprism_config::{MaskedUrl, Secret};
use marketprism_service::MASK;
use url::Url;

pub use no_proxy::NoProxy;

/// Variables that name proxies, and [`NoProxy`]; each also in lower case, which wins.
pub const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"];

const SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];
const SOCKS_PORT: u16 = 1080;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyProtocol {
    Http,
    /// HTTP, inside TLS to the proxy.
    Https,
    /// Names are resolved here.
    Socks5,
    /// Names are resolved by the proxy.
    Socks5h,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxyLogin {
    pub(crate) user: Secret,
    pub(crate) password: Secret,
}

impl ProxyLogin {
    /// Value of the header `Proxy-Authorization`.
    pub(crate) fn basic(&self) -> String {
        basic_login(self.user.reveal(), self.password.reveal())
    }
}

/// Value of a header for a log-in (RFC 7617).
pub(crate) fn basic_login(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    pub(crate) protocol: ProxyProtocol,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) login: Option<ProxyLogin>,
    /// Key or variable that names it.
    origin: String,
}

impl Proxy {
    /// Words for errors about an address.
    pub const ALLOWED: &str =
        "http://, https://, socks5:// or socks5h:// with host[:port], or with user:password@host[:port]";

    pub(crate) const fn is_socks(&self) -> bool {
        matches!(self.protocol, ProxyProtocol::Socks5 | ProxyProtocol::Socks5h)
    }

    /// `login` is used if the address has no user. The error does not show the address.
    pub fn new(
        address: &MaskedUrl,
        login: Option<(String, Option<Secret>)>,
        origin: &str,
    ) -> Result<Self, String> {
        let mut address = address.clone();
        let inside = address.take_user_info().map(|(user, password)| (user, Some(Secret::new(password))));
        if inside.is_some() && login.is_some() {
            return Err("holds a user that is also given by its own key".to_owned());
        }
        let login = inside.or(login).map(|(user, password)| ProxyLogin {
            user: Secret::new(user),
            password: password.unwrap_or_else(|| Secret::new(String::new())),
        });
        let url = address.parse(&SCHEMES)?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("a path after the host".to_owned());
        }
        let protocol = match url.scheme() {
            "http" => ProxyProtocol::Http,
            "https" => ProxyProtocol::Https,
            "socks5" => ProxyProtocol::Socks5,
            _ => ProxyProtocol::Socks5h,
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("no host")?.to_owned();
        let port = url.port_or_known_default().unwrap_or(SOCKS_PORT);
        let is_socks = matches!(protocol, ProxyProtocol::Socks5 | ProxyProtocol::Socks5h);
        let fits = |text: &Secret| (1..=255).contains(&text.reveal().len());
        if is_socks && login.as_ref().is_some_and(|login| !fits(&login.user) || !fits(&login.password)) {
            return Err("user and password of a SOCKS proxy have 1 to 255 bytes each".to_owned());
        }
        if login.as_ref().is_some_and(|login| login.user.reveal().contains(':')) && !is_socks {
            return Err("a user with a colon".to_owned());
        }
        Ok(Self { protocol, host, port, login, origin: origin.to_owned() })
    }
}

/// The address without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            ProxyProtocol::Http => "http",
            ProxyProtocol::Https => "https",
            ProxyProtocol::Socks5 => "socks5",
            ProxyProtocol::Socks5h => "socks5h",
        };
        let login = self.login.as_ref().map(|_| format!("{MASK}@")).unwrap_or_default();
        write!(f, "{scheme}://{login}{}:{}", self.host, self.port)
    }
}

/// Proxies of the connections of a feed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ProxyRules {
    #[default]
    None,
    /// A configured one, for every connection.
    One(Proxy),
    Variables(Box<ProxyVariables>),
}

/// Proxies that the environment names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// For https and wss.
    https: Option<Proxy>,
    /// For http and ws.
    http: Option<Proxy>,
    all: Option<Proxy>,
    exempt: NoProxy,
}

impl ProxyVariables {
    /// Reads [`PROXY_VARIABLES`]. Gives each proxy that cannot be used to `refuse`: variable, and what is wrong with it.
    pub fn read<'a>(
        value_of: impl Fn(&str) -> Option<&'a str>,
        mut refuse: impl FnMut(&str, String),
    ) -> Self {
        let find = |name: &str| {
            let lower = name.to_ascii_lowercase();
            [lower.clone(), name.to_owned()].into_iter().find_map(|name| Some((value_of(&name)?, name)))
        };
        let mut proxy = |name: &str| {
            let (value, name) = find(name)?;
            let value = value.trim();
            let address = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
            let address = MaskedUrl::from(address);
            Proxy::new(&address, None, &name)
                .map_err(|error| refuse(&name, format!("{address:?}: {error}")))
                .ok()
        };
        let (https, http, all) = (proxy("HTTPS_PROXY"), proxy("HTTP_PROXY"), proxy("ALL_PROXY"));
        let exempt = match find("NO_PROXY") {
            Some((list, name)) => NoProxy::parse(list, |entry| {
                tracing::warn!(
                    variable = name,
                    entry,
                    "entry ignored: no name, address or network such as 10.0.0.0/8"
                );
            }),
            None => NoProxy::default(),
        };
        Self { https, http, all, exempt }
    }
}

/// Way of a connection to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'p> {
    Direct,
    /// `NO_PROXY` names the target.
    Exempt,
    Through(&'p Proxy),
}

impl fmt::Display for Route<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("directly"),
            Self::Exempt => f.write_str("directly (NO_PROXY)"),
            Self::Through(proxy) => write!(f, "through proxy {proxy} ({})", proxy.origin),
        }
    }
}

impl ProxyRules {
    pub fn route(&self, target: &Url) -> Route<'_> {
        let variables = match self {
            Self::None => return Route::Direct,
            Self::One(proxy) => return Route::Through(proxy),
            Self::Variables(variables) => variables,
        };
        let is_secure = matches!(target.scheme(), "https" | "wss");
        let own = if is_secure { &variables.https } else { &variables.http };
        match own.as_ref().or(variables.all.as_ref()) {
            None => Route::Direct,
            Some(_) if variables.exempt.holds(target) => Route::Exempt,
            Some(proxy) => Route::Through(proxy),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn of(variables: &[(&str, &str)]) -> (ProxyRules, Vec<String>) {
        let map: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut refused = Vec::new();
        let read = ProxyVariables::read(
            |name| map.get(name).map(String::as_str),
            |name, what| refused.push(format!("{name}: {what}")),
        );
        (ProxyRules::Variables(Box::new(read)), refused)
    }

    fn way(rules: &ProxyRules, target: &str) -> String {
        rules.route(&Url::parse(target).unwrap()).to_string()
    }

    #[test]
    fn variables_choose_by_scheme_and_lower_case_wins() {
        let (rules, refused) = of(&[
            ("HTTPS_PROXY", "http://u:secret@upper:1"),
            ("https_proxy", "http://u:secret@secure:3128"),
            ("HTTP_PROXY", "plain"),
            ("ALL_PROXY", "socks5h://all"),
        ]);
        assert!(refused.is_empty());
        for target in ["https://h/x", "wss://h/x"] {
            assert_eq!(way(&rules, target), "through proxy http://***@secure:3128 (https_proxy)");
        }
        assert_eq!(way(&rules, "ws://h/x"), "through proxy http://plain:80 (HTTP_PROXY)");
        let (rules, _) = of(&[("ALL_PROXY", "socks5h://all"), ("NO_PROXY", "h")]);
        assert_eq!(way(&rules, "wss://other"), "through proxy socks5h://all:1080 (ALL_PROXY)");
        assert_eq!(way(&rules, "wss://h"), "directly (NO_PROXY)");
        assert_eq!(way(&of(&[]).0, "wss://h"), "directly");
        assert!(!format!("{rules:?} {:?}", of(&[("ALL_PROXY", "http://u:secret@h")])).contains("secret"));
    }

    #[test]
    fn an_unusable_variable_is_named_without_its_secret() {
        for value in
            ["socks4://u:secret@h", "http://u:secret@", "http://u:secret@h/path", "socks5://secret@h"]
        {
            let (_, refused) = of(&[("ALL_PROXY", value)]);
            assert!(refused.len() == 1 && refused[0].starts_with("ALL_PROXY: "), "{refused:?}");
            assert!(!refused[0].contains("secret"), "{refused:?}");
        }
    }
}
