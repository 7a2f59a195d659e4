//! Checks of everything that an adapter returns, before anybody uses it. Each gives the contradiction as
//! text.

mod description;
mod instruments;
mod normalized;
mod plan;

pub(crate) use description::description;
pub(crate) use instruments::instruments;
pub(crate) use normalized::{Bounds, normalized};
pub(crate) use plan::{plan, requests};

use plan::request;

/// Longest name of any kind.
const NAME_BYTES: usize = 64;

/// A check's result: `Err` names the field, its value and what is allowed.
type Check = Result<(), String>;

fn at_most(what: &str, value: usize, most: usize) -> Check {
    if value > most { Err(format!("{what} is {value}, allowed is at most {most}")) } else { Ok(()) }
}

fn index(what: &str, value: u32, count: usize) -> Check {
    if value as usize >= count { Err(format!("{what} is {value}, allowed is below {count}")) } else { Ok(()) }
}

fn scale(what: &str, value: u8) -> Check {
    at_most(what, value.into(), crate::contract::MAX_SCALE.into())
}

/// A name that can stand in a subject, a label and a log line.
fn token(what: &str, value: &str, most: usize, allowed: fn(char) -> bool) -> Check {
    at_most(&format!("length of {what}"), value.len(), most)?;
    if value.is_empty() || !value.chars().all(allowed) {
        return Err(format!(
            "{what} is {value:?}, which is empty or has a character that is not allowed there"
        ));
    }
    Ok(())
}
