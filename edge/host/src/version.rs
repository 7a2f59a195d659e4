//! Contract versions and imports that this host accepts.

/// Interface that an adapter exports, without its version.
pub(crate) const ADAPTER_INTERFACE: &str = "marketprism:adapter/adapter";

/// Allowed imports, without versions.
pub(crate) const ALLOWED_IMPORTS: [&str; 2] = ["marketprism:adapter/log", "marketprism:adapter/types"];

const MAJOR: &str = "1";

/// Splits `interface@version`.
pub(crate) fn split(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (name, None),
    }
}

/// Later minor versions only add to the contract; the function types are checked at instantiation.
pub(crate) fn is_supported(version: &str) -> bool {
    let mut parts = version.split('.');
    let numeric =
        |part: Option<&str>| part.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    parts.next() == Some(MAJOR) && numeric(parts.next()) && numeric(parts.next()) && parts.next().is_none()
}

pub(crate) fn is_allowed_import(name: &str) -> bool {
    let (interface, version) = split(name);
    ALLOWED_IMPORTS.contains(&interface) && version.is_some_and(is_supported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_supported_major_passes() {
        for good in ["1.0.0", "1.1.0", "1.20.3"] {
            assert!(is_supported(good), "{good}");
        }
        for bad in ["2.0.0", "0.1.0", "10.0.0", "1", "1.0", "1.0.0-rc1", "1.0.0.0", "1..0", ""] {
            assert!(!is_supported(bad), "{bad}");
        }
        assert!(is_allowed_import("marketprism:adapter/log@1.0.0"));
        assert!(!is_allowed_import("marketprism:adapter/log@2.0.0"));
        assert!(!is_allowed_import("wasi:clocks/monotonic-clock@0.2.0"));
    }
}
