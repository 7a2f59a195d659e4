//! Variables of the Python system that this one replaces. They win over the file, and lose to a MarketPrism variable for the same key.

use std::ops::RangeInclusive;

use crate::document::Problems;
use crate::masked_url::MaskedUrl;

const PORT_ALLOWED: &str = "a whole number from 1 to 65535";

/// Kubernetes gives containers `<SERVICE>_PORT=tcp://10.0.0.1:80` for each service of their namespace (`enableServiceLinks`): a service may
/// have the name that makes it one of these variables.
fn is_service_link(variable: &str, value: &str) -> bool {
    let schemes = ["tcp://", "udp://", "sctp://"];
    variable.ends_with("_PORT") && schemes.iter().any(|scheme| value.starts_with(scheme))
}

impl<'a> Problems<'a> {
    /// Value of a variable of the earlier system that gives a key; `None` if a MarketPrism variable gives it, or if Kubernetes set it. Errors of
    /// the key then name this variable.
    pub fn predecessor(&mut self, variable: &'static str, key: &str) -> Option<&'a str> {
        if self.variable_of(key).is_some() {
            return None;
        }
        let document = self.document();
        let value = document.variable(variable).filter(|value| !is_service_link(variable, value))?.trim();
        self.predecessors.insert(key.to_owned(), variable);
        Some(value)
    }

    /// [`Self::predecessor`] of a whole number; another text is an error.
    pub fn predecessor_number(
        &mut self,
        variable: &'static str,
        key: &str,
        allowed: RangeInclusive<u64>,
    ) -> Option<u64> {
        let text = self.predecessor(variable, key)?;
        let number = text.parse().ok().filter(|number| allowed.contains(number));
        let range = format!("a whole number from {} to {}", allowed.start(), allowed.end());
        self.demand(number.is_some(), variable, format!("is {text:?}"), range);
        number
    }

    /// [`Self::predecessor`] of a choice; another text is an error.
    pub fn predecessor_flag(&mut self, variable: &'static str, key: &str) -> Option<bool> {
        let text = self.predecessor(variable, key)?;
        let is_on = match text {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        };
        self.demand(is_on.is_some(), variable, format!("is {text:?}"), "1, 0, true or false");
        is_on
    }

    /// [`Self::predecessor`] of a port; one that is none is an error.
    pub fn predecessor_port(&mut self, variable: &'static str, key: &str) -> Option<u16> {
        let text = self.predecessor(variable, key)?;
        let port = text.parse().ok().filter(|port| *port > 0);
        self.demand(port.is_some(), variable, format!("is {text:?}"), PORT_ALLOWED);
        port
    }

    /// Replaces the host of an address by that of such a variable; a value that is no host is an error.
    pub fn predecessor_host(&mut self, variable: &'static str, key: &str, url: &mut MaskedUrl) {
        let Some(host) = self.predecessor(variable, key) else { return };
        // The parser of addresses would take what stands before them for the host.
        let is_host = !host.contains(['/', '@', '?', '#']) && (host.starts_with('[') || !host.contains(':'));
        let is_set = is_host && url.change(|url| url.set_host(Some(host)).is_ok());
        self.demand(
            is_set,
            variable,
            format!("is {host:?}"),
            "a host name or an IP address (IPv6 in brackets)",
        );
    }
}
