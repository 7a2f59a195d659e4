//! Numbers with their noun.

/// `3 windows`, `1 window`.
pub fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
