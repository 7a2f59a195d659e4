//! Name and version that a component carries for readers who do not run it. `adapter sign` writes what the component describes; the
//! signature covers it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::sections::{custom_section, with_custom_section};

/// Section of the label.
pub const LABEL_SECTION: &str = "marketprism-label";

/// Letters of a name or version.
const TEXT_MAX: usize = 32;

/// Identity of an adapter as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterLabel {
    /// Name without version.
    pub name: String,
    /// As the author numbers it.
    pub version: String,
    /// Contract version that it was built for.
    pub contract: String,
}

/// A component's label cannot be used.
#[derive(Debug, Error)]
pub enum LabelError {
    /// It has none.
    #[error("component has no label (section {LABEL_SECTION}): sign it with `marketprism-edge adapter sign`")]
    Missing,
    /// Its section is damaged.
    #[error("label of the component (section {LABEL_SECTION}) is not readable: {0}")]
    Json(#[from] serde_json::Error),
    /// A text in it is empty, too long or has other letters.
    #[error("label of the component: {field} is {value:?} (allowed: 1 to {TEXT_MAX} of {allowed})")]
    Text {
        /// Name of the field.
        field: &'static str,
        /// The text.
        value: String,
        /// Allowed letters.
        allowed: &'static str,
    },
}

impl AdapterLabel {
    /// Reads the label of a component.
    pub fn of(component: &[u8]) -> Result<Self, LabelError> {
        let section = custom_section(component, LABEL_SECTION).ok_or(LabelError::Missing)?;
        let label: Self = serde_json::from_slice(section)?;
        let name = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
        let version = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
        check("name", &label.name, "a-z, 0-9 and -", name)?;
        check("version", &label.version, "letters, digits, . and -", version)?;
        check("contract", &label.contract, "letters, digits, . and -", version)?;
        Ok(label)
    }

    /// The component with this label instead of any that it had.
    pub fn put(&self, component: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        Ok(with_custom_section(component, LABEL_SECTION, &serde_json::to_vec(self)?))
    }
}

fn check(
    field: &'static str,
    value: &str,
    allowed: &'static str,
    is_allowed: impl Fn(char) -> bool,
) -> Result<(), LabelError> {
    match (1..=TEXT_MAX).contains(&value.len()) && value.chars().all(is_allowed) {
        true => Ok(()),
        false => Err(LabelError::Text { field, value: value.to_owned(), allowed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_round_trips_and_its_texts_are_checked() {
        let label =
            |name: &str| AdapterLabel { name: name.into(), version: "1.2".into(), contract: "1.0.0".into() };
        let empty = b"\0asm\x0d\0\x01\0";
        let labelled = label("one").put(empty).unwrap();
        assert_eq!(AdapterLabel::of(&labelled).unwrap(), label("one"));
        assert_eq!(label("two").put(&labelled).unwrap().len(), labelled.len(), "instead of the earlier one");
        assert!(AdapterLabel::of(empty).unwrap_err().to_string().starts_with("component has no label"));
        for name in ["", "A", "a.b", "a/b", &"a".repeat(33)] {
            let error = AdapterLabel::of(&label(name).put(empty).unwrap()).unwrap_err().to_string();
            assert!(error.contains(&format!("name is {name:?} (allowed: 1 to 32 of a-z")), "{error}");
        }
        let damaged = with_custom_section(empty, LABEL_SECTION, b"{");
        assert!(AdapterLabel::of(&damaged).unwrap_err().to_string().contains("is not readable"));
    }
}
