//! Checksum over the best levels of a book.

use crate::ladder::Ladder;
use crate::side::BookSide;

/// Levels per side.
const LEVELS: usize = 10;

/// CRC-32 (IEEE) as defined by [`crate::Checksum::Crc32Digits10`].
pub(crate) fn crc32_digits(ladder: &Ladder, price_scale: u8, quantity_scale: u8) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let mut digits = itoa::Buffer::new();
    let mut side = |side: &BookSide| {
        for (price, quantity) in side.iter().take(LEVELS) {
            hasher.update(text(&mut digits, price, ladder.price_scale, price_scale));
            hasher.update(text(&mut digits, quantity, ladder.quantity_scale, quantity_scale));
        }
    };
    side(&ladder.asks);
    side(&ladder.bids);
    hasher.finalize()
}

/// Digits of a number at scale `from`, written at scale `to`. A number with more decimal places keeps them:
/// no venue text has them, so the checksums differ.
fn text(digits: &mut itoa::Buffer, mantissa: i64, from: u8, to: u8) -> &[u8] {
    let raised = i128::from(mantissa) * 10_i128.pow(u32::from(to.saturating_sub(from)));
    let divisor = 10_i128.pow(u32::from(from.saturating_sub(to)));
    let number = if raised % divisor == 0 { raised / divisor } else { raised };
    if number == 0 { b"" } else { digits.format(number).as_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_wanted_scale() {
        for (mantissa, from, to, wanted) in [
            (250, 3, 8, "25000000"),
            (1_059_442, 1, 1, "1059442"),
            (2_500, 4, 3, "250"),
            (2_501, 4, 3, "2501"),
            (5, 8, 8, "5"),
            (0, 2, 2, ""),
            (i64::MAX, 0, 18, "9223372036854775807000000000000000000"),
        ] {
            assert_eq!(text(&mut itoa::Buffer::new(), mantissa, from, to), wanted.as_bytes(), "{mantissa}");
        }
    }
}
