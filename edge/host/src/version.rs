//! Which contract a component was made for.

/// The exported interface that makes a component an adapter, without its version.
pub(crate) const ADAPTER_INTERFACE: &str = "marketprism:adapter/adapter";

/// What a component may import, without versions: the log, and the types that the contract itself brings
/// along.
pub(crate) const ALLOWED_IMPORTS: [&str; 2] = ["marketprism:adapter/log", "marketprism:adapter/types"];

/// The major version that this host runs.
const MAJOR: &str = "1";

/// Splits `interface@version`.
pub(crate) fn split(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((interface, version)) => (interface, Some(version)),
        None => (name, None),
    }
}

/// True for a version that this host runs. Later minor versions only add to the contract; that the functions
/// still have the types of this host's version is checked when the component is instantiated.
pub(crate) fn is_supported(version: &str) -> bool {
    let mut parts = version.split('.');
    let numeric =
        |part: Option<&str>| part.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    parts.next() == Some(MAJOR) && numeric(parts.next()) && numeric(parts.next()) && parts.next().is_none()
}

/// True for an import that this host gives.
pub(crate) fn is_allowed_import(name: &str) -> bool {
    let (interface, version) = split(name);
    ALLOWED_IMPORTS.contains(&interface) && version.is_some_and(is_supported)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: versions of the supported major pass, all else does not. Method: one name of each form.
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
