//! Rules shared by the checks.

/// Longest name of any kind.
pub(super) const NAME_BYTES: usize = 64;

pub(super) type Check = Result<(), String>;

pub(super) fn at_most(what: &str, value: usize, most: usize) -> Check {
    if value > most { Err(format!("{what} is {value}, allowed is at most {most}")) } else { Ok(()) }
}

pub(super) fn index(what: &str, value: u32, count: usize) -> Check {
    if value as usize >= count { Err(format!("{what} is {value}, allowed is below {count}")) } else { Ok(()) }
}

pub(super) fn scale(what: &str, value: u8) -> Check {
    at_most(what, value.into(), crate::contract::MAX_SCALE.into())
}

/// A name for subjects, labels and log lines.
pub(super) fn token(what: &str, value: &str, most: usize, allowed: fn(char) -> bool) -> Check {
    at_most(&format!("length of {what}"), value.len(), most)?;
    if value.is_empty() || !value.chars().all(allowed) {
        return Err(format!("{what} is {value:?}, allowed is a name without spaces or special characters"));
    }
    Ok(())
}
