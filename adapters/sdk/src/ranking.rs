//! Rows of a ranking.

use crate::cursor::{Cursor, ParseResult};
use crate::object::Object;
use crate::types::{Decimal, Ranked};

/// Adds the row that comes next. One whose name or value cannot be read is left out: its instrument is ranked last.
///
/// # Errors
/// The row is no object.
pub fn ranked_row<'a>(
    rows: &mut Vec<Ranked>,
    cursor: &mut Cursor<'a>,
    read: impl FnOnce(&Object<'a>) -> ParseResult<Ranked>,
) -> ParseResult<()> {
    let row = Object::parse(cursor)?;
    rows.extend(read(&row).ok());
    Ok(())
}

/// Quote units of a traded quantity at a price. Digits that do not fit are cut: no order of a ranking depends on them.
pub fn turnover(quantity: Decimal, price: Decimal) -> Option<Decimal> {
    const SCALE_MAX: u32 = 18;
    let mut mantissa = i128::from(quantity.mantissa) * i128::from(price.mantissa);
    let mut scale = u32::from(quantity.scale) + u32::from(price.scale);
    while scale > SCALE_MAX || (scale > 0 && i64::try_from(mantissa).is_err()) {
        (mantissa, scale) = (mantissa / 10, scale - 1);
    }
    Some(Decimal { mantissa: i64::try_from(mantissa).ok()?, scale: u8::try_from(scale).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turnover_is_exact_where_it_fits_and_cut_where_it_does_not() {
        let of = |quantity: (i64, u8), price: (i64, u8)| {
            let decimal = |(mantissa, scale)| Decimal { mantissa, scale };
            turnover(decimal(quantity), decimal(price)).map(|number| (number.mantissa, number.scale))
        };
        assert_eq!(of((15, 1), (20_001, 2)), Some((300_015, 3)));
        // 12,345,678,901.23456789 at 98,765.4321.
        assert_eq!(
            of((1_234_567_890_123_456_789, 8), (987_654_321, 4)),
            Some((1_219_326_311_248_285_321, 3)),
            "1219326311248285.321"
        );
        assert_eq!(of((1, 18), (1, 18)), Some((0, 18)));
        assert_eq!(of((i64::MAX, 0), (10, 0)), None);
    }
}
