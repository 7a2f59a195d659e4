//! Exact numbers for expected values: integers of 18 decimal places.

const PLACES: usize = 18;

/// A decimal text as an integer of 18 places: an exact key that sorts.
pub fn key(text: &str) -> i128 {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let places = i32::try_from(PLACES).unwrap() + exponent.parse::<i32>().unwrap();
    let places = usize::try_from(places).unwrap();
    assert!(fraction.trim_end_matches('0').len() <= places, "{text}");
    let fraction: String = fraction.chars().take(places).collect();
    format!("{whole}{fraction:0<places$}").parse().unwrap()
}

/// The shortest plain text of a key.
pub fn plain(key: i128) -> String {
    let (sign, digits) = (if key < 0 { "-" } else { "" }, format!("{:019}", key.unsigned_abs()));
    let (whole, fraction) = digits.split_at(digits.len() - PLACES);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// `value / price` of positive keys, rounded to the nearest of `scale` places, a tie to the even one.
pub fn divided(value: i128, price: i128, scale: u32) -> i128 {
    let step = 10_i128.pow(18 - scale);
    let exact = value * 10_i128.pow(scale);
    let (whole, rest) = (exact / price, exact % price);
    let up = 2 * rest > price || (2 * rest == price && whole % 2 == 1);
    (whole + i128::from(up)) * step
}

/// Places of a base quantity that is a value divided by a price, by the places of the price's tick: the adapters' documented rule.
pub fn derived_places(tick: &str) -> u32 {
    let places = tick.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end_matches('0').len());
    u32::try_from(13_usize.saturating_sub(places).clamp(4, 12)).unwrap()
}
