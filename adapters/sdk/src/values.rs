//! Values that many venues write alike, for [`Object::read`].

use crate::cursor::{Cursor, Scan};
use crate::decimal;
use crate::object::{Object, each_element};
use crate::output::Output;
use crate::types::{Decimal, Side};

/// A price or quantity: exact, quoted or not, never below zero.
///
/// # Errors
/// Anything else.
pub fn amount(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Decimal> {
    let start = *cursor;
    let number = cursor.decimal(what)?;
    if number.mantissa < 0 { start.fault(what) } else { Ok(number) }
}

/// As [`amount`], as the mantissa at this scale.
///
/// # Errors
/// A number that is finer than the scale, or that does not fit.
pub fn amount_at(cursor: &mut Cursor<'_>, what: &'static str, scale: u8) -> Scan<i64> {
    let start = *cursor;
    decimal::rescale(amount(cursor, what)?, scale).or_else(|_| start.fault(what))
}

/// `buy` or `sell`, in any case of letters.
///
/// # Errors
/// Anything else.
pub fn side(cursor: &mut Cursor<'_>, what: &'static str) -> Scan<Side> {
    let start = *cursor;
    let text = cursor.text(what)?;
    if text.eq_ignore_ascii_case("buy") {
        Ok(Side::Buy)
    } else if text.eq_ignore_ascii_case("sell") {
        Ok(Side::Sell)
    } else {
        start.fault(what)
    }
}

/// Where the levels of a book event stand: its fields of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    /// The first element of the shared list.
    pub levels_at: u32,
    /// Number of bid levels.
    pub bids: u32,
    /// Number of ask levels.
    pub asks: u32,
}

impl Sides {
    /// Reads the two lists of levels of a book message; `level` gives price and quantity mantissa of the level that comes next.
    ///
    /// # Errors
    /// A list is missing, or `level` fails.
    pub fn read<'a>(
        output: &mut Output,
        message: &Object<'a>,
        [bids, asks]: [&'static str; 2],
        mut level: impl FnMut(&mut Cursor<'a>) -> Scan<(i64, i64)>,
    ) -> Scan<Sides> {
        // A frame is far shorter than 4 GiB.
        let place = |output: &Output| u32::try_from(output.levels_at()).unwrap_or(u32::MAX);
        let start = place(output);
        let mut one_side = |key| {
            message.read(key, |cursor, _| {
                each_element(cursor, |cursor| {
                    let (price, quantity) = level(cursor)?;
                    output.level(price, quantity);
                    Ok(())
                })
            })?;
            Ok(place(output))
        };
        let (bids_end, end) = (one_side(bids)?, one_side(asks)?);
        Ok(Sides { levels_at: start, bids: (bids_end - start) / 2, asks: (end - bids_end) / 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: values are exact or refused, and a fault stands where the value begins. Method: every form of each.
    #[test]
    fn values_are_exact_or_refused() {
        let amount =
            |text: &str| amount(&mut Cursor::new(text.as_bytes()), "a").map(|one| (one.mantissa, one.scale));
        assert_eq!(amount("\"1.50\""), Ok((15, 1)));
        assert_eq!(amount("0"), Ok((0, 0)));
        assert!(amount("-1").is_err() && amount("\"x\"").is_err() && amount("null").is_err());
        let at = |text: &str| amount_at(&mut Cursor::new(text.as_bytes()), "a", 2);
        assert_eq!((at("1.50"), at("1e3")), (Ok(150), Ok(100_000)));
        assert!(at("1.505").is_err() && at("99999999999999999999").is_err());
        let side = |text: &str| side(&mut Cursor::new(text.as_bytes()), "side");
        assert_eq!((side("\"buy\""), side("\"SELL\"")), (Ok(Side::Buy), Ok(Side::Sell)));
        assert_eq!(side("\"hold\"").unwrap_err().at, 0);
        assert!(side("1").is_err());
    }
}
