//! Conversion of RowBinary rows into one block of the Native format.
//!
//! Own code: the `clickhouse` crate sends rows (RowBinary) only. A Native block costs the server less than half the work of
//! rows, and rows kept apart can be removed from a batch or sent in halves.
//! <https://clickhouse.com/docs/interfaces/formats/Native>

use std::collections::HashMap;

use super::binary;
use super::columns::Column;

/// The rows do not match the columns: a bug in this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {row}, column {column}: bytes are not a value of type {kind}")]
pub struct NativeError {
    pub row: usize,
    pub column: &'static str,
    pub kind: &'static str,
}

/// Converts consecutive RowBinary rows into one block.
pub fn native_block(columns: &[Column], rows: &[u8]) -> Result<Vec<u8>, NativeError> {
    let mut parts: Vec<Part<'_>> = columns.iter().map(|(_, kind)| Part::of(kind)).collect();
    let mut rest = Cursor(rows);
    let mut count = 0;
    while !rest.0.is_empty() {
        for (part, (column, kind)) in parts.iter_mut().zip(columns) {
            part.take(&mut rest).ok_or(NativeError { row: count, column, kind })?;
        }
        count += 1;
    }
    let mut out = Vec::with_capacity(rows.len() + columns.len() * 64);
    binary::length(&mut out, columns.len());
    binary::length(&mut out, count);
    for (part, (name, kind)) in parts.iter().zip(columns) {
        binary::text(&mut out, name);
        binary::text(&mut out, kind);
        part.write(&mut out);
    }
    Ok(out)
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn length(&mut self) -> Option<usize> {
        let mut value = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A text with its length prefix.
    fn text(&mut self) -> Option<&'a [u8]> {
        let before = self.0;
        let length = self.length()?;
        let head = before.len() - self.0.len();
        self.bytes(length)?;
        before.get(..head + length)
    }
}

/// One column under construction. An unknown width makes the first row an error.
enum Part<'a> {
    Fixed { width: Option<usize>, values: Vec<u8> },
    Text(Vec<u8>),
    FewTexts(Dictionary<'a>),
    Nullable { width: Option<usize>, absent: Vec<u8>, values: Vec<u8> },
    Levels { ends: Vec<u8>, levels: u64, prices: Vec<u8>, quantities: Vec<u8> },
    Integers { ends: Vec<u8>, count: u64, values: Vec<u8> },
}

const DECIMAL_BYTES: usize = 16;
const INTEGER_BYTES: usize = 8;

impl<'a> Part<'a> {
    fn of(kind: &str) -> Self {
        if let Some(inner) = kind.strip_prefix("Nullable(") {
            return Self::Nullable { width: width(inner), absent: Vec::new(), values: Vec::new() };
        }
        match kind {
            "String" => Self::Text(Vec::new()),
            "LowCardinality(String)" => Self::FewTexts(Dictionary::default()),
            "Array(Int64)" => Self::Integers { ends: Vec::new(), count: 0, values: Vec::new() },
            _ if kind.starts_with("Array(") => {
                Self::Levels { ends: Vec::new(), levels: 0, prices: Vec::new(), quantities: Vec::new() }
            }
            _ => Self::Fixed { width: width(kind), values: Vec::new() },
        }
    }

    fn take(&mut self, rest: &mut Cursor<'a>) -> Option<()> {
        match self {
            Self::Fixed { width, values } => values.extend_from_slice(rest.bytes((*width)?)?),
            Self::Text(values) => values.extend_from_slice(rest.text()?),
            Self::FewTexts(dictionary) => dictionary.push(rest.text()?),
            Self::Nullable { width, absent, values } => {
                let flag = rest.byte()?;
                absent.push(flag);
                match flag {
                    0 => values.extend_from_slice(rest.bytes((*width)?)?),
                    _ => values.resize(values.len() + (*width)?, 0),
                }
            }
            Self::Levels { ends, levels, prices, quantities } => {
                let count = rest.length()?;
                let pairs = rest.bytes(count.checked_mul(2 * DECIMAL_BYTES)?)?;
                for pair in pairs.chunks_exact(2 * DECIMAL_BYTES) {
                    let (price, quantity) = pair.split_at_checked(DECIMAL_BYTES)?;
                    prices.extend_from_slice(price);
                    quantities.extend_from_slice(quantity);
                }
                *levels += u64::try_from(count).ok()?;
                binary::uint64(ends, *levels);
            }
            Self::Integers { ends, count, values } => {
                let length = rest.length()?;
                values.extend_from_slice(rest.bytes(length.checked_mul(INTEGER_BYTES)?)?);
                *count += u64::try_from(length).ok()?;
                binary::uint64(ends, *count);
            }
        }
        Some(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Fixed { values, .. } | Self::Text(values) => out.extend_from_slice(values),
            Self::FewTexts(dictionary) => dictionary.write(out),
            Self::Nullable { absent, values, .. } => {
                out.extend_from_slice(absent);
                out.extend_from_slice(values);
            }
            Self::Integers { ends, values, .. } => {
                out.extend_from_slice(ends);
                out.extend_from_slice(values);
            }
            Self::Levels { ends, prices, quantities, .. } => {
                for part in [ends, prices, quantities] {
                    out.extend_from_slice(part);
                }
            }
        }
    }
}

fn width(kind: &str) -> Option<usize> {
    const WIDTHS: [(&str, usize); 9] = [
        ("DateTime64", 8),
        ("Decimal(38", DECIMAL_BYTES),
        ("UInt128", 16),
        ("UInt64", 8),
        ("Int64", 8),
        ("UInt32", 4),
        ("UInt16", 2),
        ("UInt8", 1),
        ("Bool", 1),
    ];
    WIDTHS.iter().find(|(start, _)| kind.starts_with(start)).map(|(_, width)| *width)
}

/// Serialization version: a dictionary per block.
const VERSION: u64 = 1;
/// Flags: the block holds all its keys, and they replace earlier ones.
const KEYS_IN_THE_BLOCK: u64 = 0x600;

/// Texts with their length prefixes in order of appearance, and the index of each row.
#[derive(Debug, Default)]
pub struct Dictionary<'a> {
    keys: Vec<&'a [u8]>,
    places: HashMap<&'a [u8], u32>,
    rows: Vec<u32>,
    last: Option<(&'a [u8], u32)>,
}

impl<'a> Dictionary<'a> {
    pub fn push(&mut self, text: &'a [u8]) {
        let place = match self.last {
            Some((last, place)) if last == text => place,
            _ => *self.places.entry(text).or_insert_with(|| {
                self.keys.push(text);
                place_of_last(&self.keys)
            }),
        };
        self.last = Some((text, place));
        self.rows.push(place);
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let width = match self.keys.len() {
            0..=0x100 => 0_u8,
            0x101..=0x1_0000 => 1,
            _ => 2,
        };
        binary::uint64(out, VERSION);
        binary::uint64(out, KEYS_IN_THE_BLOCK | u64::from(width));
        binary::uint64(out, number(self.keys.len()));
        for key in &self.keys {
            out.extend_from_slice(key);
        }
        binary::uint64(out, number(self.rows.len()));
        for place in &self.rows {
            let bytes = place.to_le_bytes();
            out.extend_from_slice(bytes.get(..1 << width).unwrap_or(&bytes));
        }
    }
}

fn place_of_last(keys: &[&[u8]]) -> u32 {
    // A batch with more rows than `u32::MAX` does not fit into memory.
    u32::try_from(keys.len() - 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::columns::{DEAD_LETTER, columns_of};
    use super::*;
    use marketprism_schema::DataType;

    const COLUMNS: &[Column] = &[
        ("t", "DateTime64(3, 'UTC')"),
        ("s", "String"),
        ("e", "LowCardinality(String)"),
        ("n", "Nullable(UInt16)"),
        ("b", "Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18)))"),
        ("i", "Array(Int64)"),
    ];

    fn row(out: &mut Vec<u8>, number: u8, few: &str, value: Option<u16>, levels: &[[i128; 2]]) {
        binary::int64(out, number.into());
        binary::text(out, &"x".repeat(number.into()));
        binary::text(out, few);
        binary::nullable(out, value, binary::uint16);
        binary::length(out, levels.len());
        for [price, quantity] in levels {
            binary::decimal(out, *price);
            binary::decimal(out, *quantity);
        }
        binary::length(out, levels.len());
        for [price, _] in levels {
            binary::int64(out, i64::try_from(-price).unwrap());
        }
    }

    /// Compares three rows with every kind of column with bytes written by hand.
    #[test]
    fn rows_are_converted_to_a_native_block() {
        let mut rows = Vec::new();
        row(&mut rows, 1, "a", Some(7), &[[1, 2], [3, 4]]);
        row(&mut rows, 200, "b", None, &[]);
        row(&mut rows, 2, "a", Some(8), &[[5, 6]]);
        let block = native_block(COLUMNS, &rows).unwrap();

        let mut expected = vec![6, 3];
        let mut column = |index: usize, data: &[&[u8]]| {
            binary::text(&mut expected, COLUMNS[index].0);
            binary::text(&mut expected, COLUMNS[index].1);
            expected.extend_from_slice(&data.concat());
        };
        let numbers = |values: &[u64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let decimals = |values: &[i128]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        column(0, &[&numbers(&[1, 200, 2])]);
        column(1, &[b"\x01x\xc8\x01", "x".repeat(200).as_bytes(), b"\x02xx"]);
        column(2, &[&numbers(&[1, 0x600, 2]), b"\x01a\x01b", &numbers(&[3]), &[0, 1, 0]]);
        column(3, &[&[0, 1, 0], &[7, 0, 0, 0, 8, 0]]);
        column(4, &[&numbers(&[2, 2, 3]), &decimals(&[1, 3, 5]), &decimals(&[2, 4, 6])]);
        let integers: Vec<u8> = [-1_i64, -3, -5].iter().flat_map(|v| v.to_le_bytes()).collect();
        column(5, &[&numbers(&[2, 2, 3]), &integers]);
        assert_eq!(block, expected);
    }

    #[test]
    fn truncated_rows_are_refused_with_their_position() {
        let mut rows = Vec::new();
        row(&mut rows, 1, "a", Some(7), &[[1, 2]]);
        let whole = rows.len();
        row(&mut rows, 2, "b", None, &[[1, 2]]);
        for end in (1..rows.len()).filter(|end| *end != whole) {
            let error = native_block(COLUMNS, &rows[..end]).unwrap_err();
            assert_eq!(error.row, usize::from(end > whole), "cut at {end}: {error}");
        }
        assert!(native_block(COLUMNS, &[0xff; 100]).is_err());
    }

    #[test]
    fn every_column_type_of_the_tables_is_supported() {
        let all =
            DataType::ALL.iter().flat_map(|&data_type| columns_of(data_type)).chain(DEAD_LETTER.to_vec());
        for (name, kind) in all {
            let known = match Part::of(kind) {
                Part::Fixed { width, .. } | Part::Nullable { width, .. } => width.is_some(),
                _ => true,
            };
            assert!(known, "{name} {kind}");
        }
    }

    /// Indices are as narrow as the number of keys permits.
    #[test]
    fn dictionary_indices_are_as_narrow_as_possible() {
        for (count, width) in [(1_usize, 1_usize), (256, 1), (257, 2), (65_536, 2), (65_537, 4)] {
            let texts: Vec<Vec<u8>> = (0..count).map(|i| format!("\x05{i:05}").into_bytes()).collect();
            let mut dictionary = Dictionary::default();
            for text in &texts {
                dictionary.push(text);
            }
            let mut out = Vec::new();
            dictionary.write(&mut out);
            let keys: usize = texts.iter().map(Vec::len).sum();
            assert_eq!(out.len(), 24 + keys + 8 + count * width, "{count}");
            let last = u32::try_from(count - 1).unwrap().to_le_bytes();
            assert_eq!(out[out.len() - width..], last[..width]);
        }
    }
}
