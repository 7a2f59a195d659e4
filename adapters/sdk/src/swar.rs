//! Several bytes at once in one 64-bit word: digit runs, quotes and short texts without a loop back-edge per
//! byte, which in a sandbox costs an interruption check each.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The first eight bytes, the first one lowest.
#[inline(always)]
pub(crate) fn word(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<8>().map(|chunk| u64::from_le_bytes(*chunk))
}

/// True if both are equal. A comparison of slices by the compiler is a call in a sandbox, with a step per byte.
#[inline(always)]
pub fn same_bytes(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let ((words, rest), (others, other_rest)) = (left.as_chunks::<8>(), right.as_chunks::<8>());
    let whole = words.iter().zip(others).all(|(left, right)| left == right);
    // The last words may overlap those before.
    whole
        && match (left.last_chunk::<8>(), right.last_chunk::<8>()) {
            (Some(left), Some(right)) => left == right,
            _ => rest.iter().zip(other_rest).all(|(left, right)| left == right),
        }
}

/// As [`same_bytes`], of texts whose length is known to the compiler: no loop is left.
#[inline(always)]
pub(crate) fn same_text<const N: usize>(left: &[u8; N], right: &[u8; N]) -> bool {
    if N <= 8 {
        return left == right;
    }
    let number = |chunk: &[u8; 8]| u64::from_le_bytes(*chunk);
    let (words, others) = (left.as_chunks::<8>().0, right.as_chunks::<8>().0);
    let words = words.iter().zip(others).map(|(left, right)| number(left) ^ number(right));
    let last = left.last_chunk::<8>().zip(right.last_chunk::<8>());
    let last = last.map_or(0, |(left, right)| number(left) ^ number(right));
    words.fold(last, |difference, word| difference | word) == 0
}

/// The first `count` (0 to 8) bytes of a word; the others are 0.
#[inline(always)]
pub(crate) fn first_bytes(word: u64, count: u32) -> u64 {
    word & u64::MAX.unbounded_shr(64 - 8 * count)
}

/// The number of ASCII digits that a word starts with (0 to 8), and the word with each digit as its value.
#[inline(always)]
pub(crate) fn digit_run(word: u64) -> (u32, u64) {
    let digits = word ^ (ONES * 0x30);
    // A byte above 9 carries into its own high bit; the sum never carries into the next byte.
    let others = ((digits & !HIGH).wrapping_add(ONES * 0x76) | digits) & HIGH;
    (others.trailing_zeros() / 8, digits)
}

/// The value of the first `count` (1 to 8) digit values of a word that [`digit_run`] gave.
#[inline(always)]
pub(crate) fn digits_value(digits: u64, count: u32) -> u64 {
    let aligned = digits << (64 - 8 * count.clamp(1, 8));
    let pairs = aligned.wrapping_mul(10 * 256 + 1) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 * 65_536 + 1) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 * 4_294_967_296 + 1) >> 32
}

/// The number of bytes before the first quote, backslash or control character of a word (8: there is none).
#[inline(always)]
pub(crate) fn plain_run(word: u64) -> u32 {
    let quote = word ^ (ONES * 0x22);
    let backslash = word ^ (ONES * 0x5c);
    let special = (quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash)
        | (word.wrapping_sub(ONES * 0x20) & !word);
    // Borrows can only raise false marks above a true one, so the lowest mark is exact.
    (special & HIGH).trailing_zeros() / 8
}

/// True when one of the bytes is not ASCII.
#[inline(always)]
pub(crate) fn beyond_ascii(word: u64) -> bool {
    word & HIGH != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_equal_byte_by_byte_at_every_length() {
        let text = *b"the quick brown fox jumps over a lazy dog and runs on";
        for length in 0..=text.len() {
            let part = &text[..length];
            let copy = part.to_vec();
            assert!(same_bytes(part, &copy));
            assert!(length == 0 || !same_bytes(part, &part[1..]));
            for at in 0..length {
                let mut other = part.to_vec();
                other[at] ^= 1;
                assert!(!same_bytes(part, &other), "{length} bytes, other at {at}");
            }
        }
        fn check<const N: usize>(text: &[u8]) {
            let text = *text.first_chunk::<N>().unwrap();
            assert!(same_text(&text, &text));
            for at in 0..N {
                let mut other = text;
                other[at] ^= 0x80;
                assert!(!same_text(&text, &other), "{N} bytes, other at {at}");
            }
        }
        check::<0>(&text);
        check::<7>(&text);
        check::<8>(&text);
        check::<9>(&text);
        check::<16>(&text);
        check::<17>(&text);
        check::<53>(&text);
    }

    #[test]
    fn digit_runs_agree_with_a_loop() {
        for count in 0..=8usize {
            for after in 0..=255u8 {
                let mut bytes = *b"98765432";
                if count < 8 {
                    bytes[count] = after;
                }
                let expected = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let (run, digits) = digit_run(u64::from_le_bytes(bytes));
                assert_eq!(run as usize, expected, "{bytes:?}");
                if expected > 0 {
                    let text = std::str::from_utf8(&bytes[..expected]).unwrap();
                    assert_eq!(digits_value(digits, run), text.parse::<u64>().unwrap());
                }
            }
        }
    }

    #[test]
    fn plain_runs_agree_with_a_loop() {
        for count in 0..=8usize {
            for after in 0..=255u8 {
                for rest in [b'x', b'"', 0x00, 0xff, 0x21, 0x23] {
                    let mut bytes = [rest; 8];
                    bytes[..count].fill(0xc3);
                    if count < 8 {
                        bytes[count] = after;
                    }
                    let special = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < 0x20;
                    let expected = bytes.iter().position(special).unwrap_or(8);
                    assert_eq!(plain_run(u64::from_le_bytes(bytes)) as usize, expected, "{bytes:?}");
                }
            }
        }
    }
}
