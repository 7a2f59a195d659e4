//! Proxy and local address of connections to venues: a feed's keys, then `[network]`, then the usual variables.

use std::cell::OnceCell;
use std::net::IpAddr;

use marketprism_config::{MaskedUrl, Problems, Secret};
use marketprism_socket::{Proxy, ProxyRules, ProxyVariables};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Value of `proxy` for no proxy.
const DIRECT: &str = "direct";

/// Keys of `[network]`, and of each feed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Network {
    /// Proxy of sockets and requests; `socks5` resolves names here, `socks5h` at the proxy. `direct`: none, whatever `[network]` or the
    /// environment says. Not given in a feed: that of `[network]`, then `HTTPS_PROXY` (https, wss), `HTTP_PROXY` (http, ws) and
    /// `ALL_PROXY`, less `NO_PROXY`; each also in lower case, which wins. `user:password@` before the host is used to log in.
    #[schemars(extend("x-allowed" = "http://, https://, socks5:// or socks5h:// with host[:port], or with user:password@host[:port], or direct"))]
    pub proxy: Option<MaskedUrl>,
    /// User at the proxy.
    pub proxy_user: Option<String>,
    /// Password of `proxy_user`.
    pub proxy_password: Option<Secret>,
    /// Address of this machine from which connections start. Names are reached by addresses of its family only.
    #[schemars(extend("x-allowed" = "an IP address"))]
    pub local_address: Option<String>,
}

/// Way of a feed's connections out of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Egress {
    pub proxy: ProxyRules,
    pub local_address: Option<IpAddr>,
}

impl Network {
    /// The way that these keys, those of all feeds and the environment give together.
    pub(super) fn egress(
        &self,
        at: &str,
        shared: &Self,
        variables: &OnceCell<ProxyVariables>,
        problems: &mut Problems<'_>,
    ) -> Egress {
        let own = self.proxy_rules(at, problems);
        let proxy = own.or_else(|| shared.proxy_rules("network", problems));
        let local_address = self.local(at, problems).or_else(|| shared.local("network", problems));
        Egress { proxy: proxy.unwrap_or_else(|| environment(variables, problems)), local_address }
    }

    fn proxy_rules(&self, at: &str, problems: &mut Problems<'_>) -> Option<ProxyRules> {
        let path = format!("{at}.proxy");
        let Some(address) = self.proxy.as_ref().filter(|address| !address.is_empty()) else {
            let has_login = self.proxy_user.is_some() || self.proxy_password.is_some();
            problems.demand(
                !has_login,
                &path,
                "is missing",
                "a proxy with a user that is also given by proxy_user and proxy_password_file",
            );
            return None;
        };
        if address.reveal() == DIRECT {
            return Some(ProxyRules::None);
        }
        let has_user = self.proxy_user.is_some() || self.proxy_password.is_none();
        problems.demand(
            has_user,
            &format!("{at}.proxy_user"),
            "is missing",
            "a user together with proxy_password_file",
        );
        let login = self.proxy_user.clone().map(|user| (user, self.proxy_password.clone()));
        let proxy = Proxy::new(address, login, &path);
        let refused = |error| problems.report(&path, format!("{address:?}: {error}"), Proxy::ALLOWED);
        Some(proxy.map_err(refused).map_or(ProxyRules::None, ProxyRules::One))
    }

    fn local(&self, at: &str, problems: &mut Problems<'_>) -> Option<IpAddr> {
        let text = self.local_address.as_deref().filter(|text| !text.is_empty())?;
        let refused = |_| {
            problems.report(&format!("{at}.local_address"), format!("is {text:?}"), "an IP address");
        };
        text.parse().map_err(refused).ok()
    }
}

/// Read once, so that a wrong variable is reported once.
fn environment(variables: &OnceCell<ProxyVariables>, problems: &mut Problems<'_>) -> ProxyRules {
    let document = problems.document();
    let read = || {
        let refuse = |name: &str, what| problems.report(name, what, Proxy::ALLOWED);
        ProxyVariables::read(|name| document.variable(name), refuse)
    };
    ProxyRules::Variables(Box::new(variables.get_or_init(read).clone()))
}
