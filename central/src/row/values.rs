//! Values of one column, laid out as in a block of the Native format.
//! <https://clickhouse.com/docs/interfaces/formats/Native>

use std::ops::Range;

use super::dictionary::TextDictionary;

/// Values of one column, in the order of the rows.
#[derive(Debug)]
pub enum ColumnValues {
    /// Numbers of a fixed width; 0 for a type that this program does not know.
    Fixed {
        width: usize,
        bytes: Vec<u8>,
    },
    /// Texts with their length prefixes.
    Text {
        bytes: Vec<u8>,
        ends: Vec<usize>,
    },
    FewTexts(TextDictionary),
    Nullable {
        absent: Vec<u8>,
        inner: Box<ColumnValues>,
    },
    /// The parts of a tuple lie apart.
    Array {
        ends: Vec<usize>,
        parts: Vec<ColumnValues>,
    },
}

impl ColumnValues {
    /// An empty column of a ClickHouse type.
    pub fn of(kind: &str, rows: usize) -> Self {
        let inside = |outer: &str| kind.strip_prefix(outer).and_then(|rest| rest.strip_suffix(')'));
        if let Some(inner) = inside("Nullable(") {
            return Self::Nullable {
                absent: Vec::with_capacity(rows),
                inner: Box::new(Self::of(inner, rows)),
            };
        }
        if let Some(inner) = inside("Array(") {
            let tuple = inner.strip_prefix("Tuple(").and_then(|rest| rest.strip_suffix(')'));
            let kinds = tuple.map_or_else(|| vec![inner], kinds_of_tuple);
            let parts = kinds.into_iter().map(|kind| Self::of(kind, 0)).collect();
            return Self::Array { ends: Vec::with_capacity(rows), parts };
        }
        match kind {
            "String" => Self::Text { bytes: Vec::new(), ends: Vec::with_capacity(rows) },
            "LowCardinality(String)" => Self::FewTexts(TextDictionary::with_capacity(rows)),
            _ => {
                let width = width(kind);
                Self::Fixed { width, bytes: Vec::with_capacity(rows * width) }
            }
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Fixed { width, bytes } => bytes.len().checked_div(*width).unwrap_or(0),
            Self::Text { ends, .. } | Self::Array { ends, .. } => ends.len(),
            Self::FewTexts(dictionary) => dictionary.len(),
            Self::Nullable { absent, .. } => absent.len(),
        }
    }

    /// Memory of the values.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Fixed { bytes, .. } => bytes.len(),
            Self::Text { bytes, ends } => bytes.len() + size_of_val(ends.as_slice()),
            Self::FewTexts(dictionary) => dictionary.bytes(),
            Self::Nullable { absent, inner } => absent.len() + inner.bytes(),
            Self::Array { ends, parts } => {
                size_of_val(ends.as_slice()) + parts.iter().map(Self::bytes).sum::<usize>()
            }
        }
    }

    /// Adds the value of an absent one.
    pub fn push_default(&mut self) {
        match self {
            Self::Fixed { width, bytes } => bytes.resize(bytes.len() + *width, 0),
            Self::Text { bytes, ends } => push_text(bytes, ends, b""),
            Self::FewTexts(dictionary) => dictionary.push(b""),
            Self::Nullable { absent, inner } => {
                absent.push(1);
                inner.push_default();
            }
            Self::Array { ends, .. } => ends.push(end_of(ends, ends.len())),
        }
    }

    /// Keeps the first values.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Fixed { width, bytes } => bytes.truncate(len * *width),
            Self::Text { bytes, ends } => {
                ends.truncate(len);
                bytes.truncate(end_of(ends, len));
            }
            Self::FewTexts(dictionary) => dictionary.truncate(len),
            Self::Nullable { absent, inner } => {
                absent.truncate(len);
                inner.truncate(len);
            }
            Self::Array { ends, parts } => {
                ends.truncate(len);
                let end = end_of(ends, len);
                parts.iter_mut().for_each(|part| part.truncate(end));
            }
        }
    }

    /// Keeps the values of these rising ranges.
    pub fn keep(&mut self, kept: &[Range<usize>]) {
        match self {
            Self::Fixed { width, bytes } => {
                let scaled: Vec<_> = kept.iter().map(|r| r.start * *width..r.end * *width).collect();
                *bytes = gathered(bytes, &scaled);
            }
            Self::Text { bytes, ends } => {
                *bytes = gathered(bytes, &spans(ends, kept));
                *ends = ends_of(ends, kept);
            }
            Self::FewTexts(dictionary) => dictionary.keep(kept),
            Self::Nullable { absent, inner } => {
                *absent = gathered(absent, kept);
                inner.keep(kept);
            }
            Self::Array { ends, parts } => {
                let elements = spans(ends, kept);
                parts.iter_mut().for_each(|part| part.keep(&elements));
                *ends = ends_of(ends, kept);
            }
        }
    }

    /// The state that precedes all values of a column.
    pub fn write_prefix(&self, out: &mut Vec<u8>) {
        match self {
            Self::Fixed { .. } | Self::Text { .. } => {}
            Self::FewTexts(_) => TextDictionary::write_prefix(out),
            Self::Nullable { inner, .. } => inner.write_prefix(out),
            Self::Array { parts, .. } => parts.iter().for_each(|part| part.write_prefix(out)),
        }
    }

    /// The values of some rows.
    pub fn write(&self, range: Range<usize>, out: &mut Vec<u8>) {
        match self {
            Self::Fixed { width, bytes } => {
                out.extend_from_slice(part(bytes, range.start * width..range.end * width));
            }
            Self::Text { bytes, ends } => out.extend_from_slice(part(bytes, span(ends, &range))),
            Self::FewTexts(dictionary) => dictionary.write(range, out),
            Self::Nullable { absent, inner } => {
                out.extend_from_slice(part(absent, range.clone()));
                inner.write(range, out);
            }
            Self::Array { ends, parts } => {
                let elements = span(ends, &range);
                for end in part(ends, range) {
                    write_count(out, end - elements.start);
                }
                parts.iter().for_each(|part| part.write(elements.clone(), out));
            }
        }
    }
}

/// Types of the elements of a tuple, named or not: `a String, b Array(Int64)`.
fn kinds_of_tuple(elements: &str) -> Vec<&str> {
    let (mut kinds, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, character) in elements.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                kinds.extend(elements.get(start..at).map(without_name));
                start = at + 1;
            }
            _ => {}
        }
    }
    kinds.extend(elements.get(start..).map(without_name));
    kinds
}

fn without_name(element: &str) -> &str {
    let element = element.trim();
    match element.split_once(' ') {
        Some((name, kind)) if !name.contains('(') => kind,
        _ => element,
    }
}

fn width(kind: &str) -> usize {
    const WIDTHS: [(&str, usize); 9] = [
        ("DateTime64", 8),
        ("Decimal(38", 16),
        ("UInt128", 16),
        ("UInt64", 8),
        ("Int64", 8),
        ("UInt32", 4),
        ("UInt16", 2),
        ("UInt8", 1),
        ("Bool", 1),
    ];
    WIDTHS.iter().find(|(start, _)| kind.starts_with(start)).map_or(0, |(_, width)| *width)
}

pub fn push_text(bytes: &mut Vec<u8>, ends: &mut Vec<usize>, text: &[u8]) {
    write_length(bytes, text.len());
    bytes.extend_from_slice(text);
    ends.push(bytes.len());
}

/// LEB128.
pub fn write_length(out: &mut Vec<u8>, mut value: usize) {
    let low_seven_bits = |value: usize| u8::try_from(value & 0x7f).unwrap_or_default();
    while value >= 0x80 {
        out.push(low_seven_bits(value) | 0x80);
        value >>= 7;
    }
    out.push(low_seven_bits(value));
}

/// A `UInt64`.
pub fn write_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u64::try_from(count).unwrap_or(u64::MAX).to_le_bytes());
}

/// End of the first `count` values.
pub fn end_of(ends: &[usize], count: usize) -> usize {
    count.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0)
}

pub fn span(ends: &[usize], rows: &Range<usize>) -> Range<usize> {
    end_of(ends, rows.start)..end_of(ends, rows.end)
}

fn spans(ends: &[usize], kept: &[Range<usize>]) -> Vec<Range<usize>> {
    kept.iter().map(|rows| span(ends, rows)).collect()
}

/// Ends of the kept values once they lie side by side.
fn ends_of(ends: &[usize], kept: &[Range<usize>]) -> Vec<usize> {
    let (mut moved, mut base) = (Vec::with_capacity(ends.len()), 0);
    for rows in kept {
        let Range { start, end } = span(ends, rows);
        moved.extend(part(ends, rows.clone()).iter().map(|end| base + (end - start)));
        base += end - start;
    }
    moved
}

pub fn gathered<T: Copy>(values: &[T], kept: &[Range<usize>]) -> Vec<T> {
    kept.iter().flat_map(|range| part(values, range.clone())).copied().collect()
}

pub fn part<T>(values: &[T], range: Range<usize>) -> &[T] {
    values.get(range).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_leb128() {
        for (value, expected) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (1 << 21, &[0x80, 0x80, 0x80, 1]),
        ] {
            let mut out = Vec::new();
            write_length(&mut out, value);
            assert_eq!(out, expected, "{value}");
        }
    }

    #[test]
    fn elements_of_a_tuple_are_distinguished_with_and_without_names() {
        let kinds = kinds_of_tuple("kind String, at Nullable(DateTime64(6, 'UTC')), counts Array(UInt64)");
        assert_eq!(kinds, ["String", "Nullable(DateTime64(6, 'UTC'))", "Array(UInt64)"]);
        assert_eq!(kinds_of_tuple("Int64, Decimal(38, 18)"), ["Int64", "Decimal(38, 18)"]);
    }
}
