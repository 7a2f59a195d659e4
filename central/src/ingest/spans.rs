//! Division of a span of time into pieces with a bounded number of rows. Pure.

/// Milliseconds since 1970, the end excluded.
pub type Span = (i64, i64);

/// Neighbouring parts with so many rows together, and pieces of longer ones.
pub fn slices(parts: impl Iterator<Item = (Span, u64)>, rows_max: u64) -> Vec<Span> {
    let mut all: Vec<(Span, u64)> = Vec::new();
    for (part, rows) in parts {
        match all.last_mut() {
            Some((last, held)) if last.1 == part.0 && *held + rows <= rows_max => {
                (last.1, *held) = (part.1, *held + rows);
            }
            _ => all.push((part, rows)),
        }
    }
    all.into_iter().flat_map(|(part, rows)| pieces(part, rows.div_ceil(rows_max))).collect()
}

/// Equal parts of a span.
pub fn pieces((from_ms, to_ms): Span, count: u64) -> impl Iterator<Item = Span> {
    let length_ms = to_ms - from_ms;
    let count = i64::try_from(count).unwrap_or(i64::MAX).clamp(1, length_ms.max(1));
    let edge = move |index: i64| from_ms + length_ms * index / count;
    (0..count).map(move |index| (edge(index), edge(index + 1)))
}

/// The parts of a span outside of others, which are in order.
pub fn without((from_ms, to_ms): Span, others: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    let mut begin_ms = from_ms;
    for other in others {
        left.push((begin_ms, other.0.min(to_ms)));
        begin_ms = begin_ms.max(other.1);
    }
    left.push((begin_ms, to_ms));
    left.retain(|(from_ms, to_ms)| from_ms < to_ms);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_span_lies_outside_of_the_others() {
        let others = [(0, 10), (10, 12), (20, 30), (25, 27), (90, 99)];
        for (span, left) in [
            ((0, 12), vec![]),
            ((5, 25), vec![(12, 20)]),
            ((11, 40), vec![(12, 20), (30, 40)]),
            ((40, 50), vec![(40, 50)]),
            ((95, 120), vec![(99, 120)]),
        ] {
            assert_eq!(without(span, &others), left, "{span:?}");
        }
        assert_eq!(without((3, 4), &[]), [(3, 4)]);
    }

    #[test]
    fn neighbouring_parts_are_copied_together_up_to_the_rows_of_an_insert() {
        let parts = [((0, 10), 40), ((10, 20), 60), ((20, 30), 1), ((40, 50), 1), ((50, 60), 250)];
        let expected = [(0, 20), (20, 30), (40, 50), (50, 53), (53, 56), (56, 60)];
        assert_eq!(slices(parts.into_iter(), 100), expected);
    }

    #[test]
    fn pieces_cover_their_span() {
        for (span, count) in [((0, 10_000), 7), ((5, 8), 64), ((3, 4), 0)] {
            let pieces: Vec<Span> = pieces(span, count).collect();
            assert_eq!((pieces[0].0, pieces[pieces.len() - 1].1), span);
            assert!(pieces.windows(2).all(|pair| pair[0].1 == pair[1].0));
        }
    }
}
