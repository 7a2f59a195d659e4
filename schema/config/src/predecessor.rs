//! Variables of the Python system that this one replaces. They win over the file, and lose to a variable of ours for the same key.

use crate::document::Problems;
use crate::masked_url::MaskedUrl;

const PORT_ALLOWED: &str = "a whole number from 1 to 65535";

impl<'a> Problems<'a> {
    /// Value of a variable of the earlier system that gives a key; `None` if a variable of ours gives it. Errors of the key then name this
    /// variable.
    pub fn predecessor(&mut self, variable: &'static str, key: &str) -> Option<&'a str> {
        let document = self.document();
        if document.variable_of(key).is_some() {
            return None;
        }
        let value = document.variable(variable)?.trim();
        self.predecessors.insert(key.to_owned(), variable);
        Some(value)
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
        let is_set = url.change(|url| url.set_host(Some(host)).is_ok());
        self.demand(
            is_set,
            variable,
            format!("is {host:?}"),
            "a host name or an IP address (IPv6 in brackets)",
        );
    }
}
