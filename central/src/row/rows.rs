//! Rows of one table as columns, sent as a block of the Native format.
//!
//! Own code: the `clickhouse` crate sends rows (RowBinary) only. A Native block costs the server less than half the work of rows.
//! A block carries names and types of its columns, so a table with drifted columns refuses it.

use std::ops::Range;

use super::columns::Column;
use super::values::{ColumnValues, push_text, write_length};

/// The values of a row do not match the columns: a bug in this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {row}, column {column}: no value of type {kind} was written")]
pub struct RowsError {
    pub row: usize,
    pub column: &'static str,
    pub kind: &'static str,
}

#[derive(Debug)]
pub struct TableRows {
    columns: Vec<Column>,
    values: Vec<ColumnValues>,
    count: usize,
    /// No block is made of rows that may have lost one.
    defect: Option<RowsError>,
}

impl TableRows {
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self::with_capacity(columns, 0)
    }

    pub fn with_capacity(columns: impl Into<Vec<Column>>, rows: usize) -> Self {
        let columns = columns.into();
        let values = columns.iter().map(|(_, kind)| ColumnValues::of(kind, rows)).collect();
        Self { columns, values, count: 0, defect: None }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Memory of the values.
    pub fn bytes(&self) -> usize {
        self.values.iter().map(ColumnValues::bytes).sum()
    }

    /// Adds a row. After an error no column has anything of it.
    pub fn try_push<E>(&mut self, write: impl FnOnce(&mut RowWriter<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut row = RowWriter::new(&mut self.values);
        let written = write(&mut row);
        if written.is_ok() && row.is_complete() {
            self.count += 1;
            return written;
        }
        if written.is_ok() && self.defect.is_none() {
            let filled = self.count + 1;
            let wrong = self.values.iter().position(|values| values.len() != filled).unwrap_or_default();
            let (column, kind) = self.columns.get(wrong).copied().unwrap_or_default();
            self.defect = Some(RowsError { row: self.count, column, kind });
        }
        let count = self.count;
        self.values.iter_mut().for_each(|values| values.truncate(count));
        written
    }

    pub fn push(&mut self, write: impl FnOnce(&mut RowWriter<'_>)) {
        let Ok(()) = self.try_push(|row| {
            write(row);
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Sets the last column, `created_at`, of the rows from one on.
    pub fn set_created_at(&mut self, first: usize, created_at_ms: i64) {
        let value = created_at_ms.to_le_bytes();
        if let Some(ColumnValues::Fixed { width, bytes }) = self.values.last_mut()
            && *width == value.len()
        {
            let rows = bytes.get_mut(first * value.len()..).unwrap_or_default();
            rows.chunks_exact_mut(value.len()).for_each(|row| row.copy_from_slice(&value));
        }
    }

    /// Keeps the rows of these rising ranges.
    pub fn keep(&mut self, kept: &[Range<usize>]) {
        self.values.iter_mut().for_each(|values| values.keep(kept));
        self.count = kept.iter().map(Range::len).sum();
    }

    /// A block of some rows.
    pub fn block(&self, range: Range<usize>) -> Result<Vec<u8>, RowsError> {
        self.block_part(range, 0, usize::MAX).map(|(block, _)| block)
    }

    /// The part of a block of some rows that begins with a column: whole columns, as many as come to so many bytes, with the column that follows.
    pub fn block_part(
        &self,
        range: Range<usize>,
        first: usize,
        bytes: usize,
    ) -> Result<(Vec<u8>, usize), RowsError> {
        if let Some(defect) = &self.defect {
            return Err(defect.clone());
        }
        let range = range.start.min(self.count)..range.end.min(self.count);
        let mut out = Vec::with_capacity(self.room_for_part(first, bytes));
        if first == 0 {
            write_length(&mut out, self.columns.len());
            write_length(&mut out, range.len());
        }
        let mut next = first;
        for ((name, kind), values) in self.columns.iter().zip(&self.values).skip(first) {
            if next > first && out.len() >= bytes {
                break;
            }
            for text in [name, kind] {
                write_length(&mut out, text.len());
                out.extend_from_slice(text.as_bytes());
            }
            if !range.is_empty() {
                values.write_prefix(&mut out);
                values.write(range.clone(), &mut out);
            }
            next += 1;
        }
        Ok((out, next))
    }

    fn room_for_part(&self, first: usize, bytes: usize) -> usize {
        let mut room = 0_usize;
        for values in self.values.iter().skip(first) {
            if room >= bytes {
                break;
            }
            room = room.saturating_add(values.bytes()).saturating_add(64);
        }
        room
    }

    pub fn has_column(&self, place: usize) -> bool {
        place < self.columns.len()
    }

    pub fn whole_block(&self) -> Result<Vec<u8>, RowsError> {
        self.block(0..self.count)
    }
}

/// Takes the values of one row, or of one element of an array, in the order of the columns.
#[derive(Debug)]
pub struct RowWriter<'a> {
    columns: std::slice::IterMut<'a, ColumnValues>,
    is_wrong: bool,
}

impl<'a> RowWriter<'a> {
    fn new(columns: &'a mut [ColumnValues]) -> Self {
        Self { columns: columns.iter_mut(), is_wrong: false }
    }

    fn is_complete(&self) -> bool {
        !self.is_wrong && self.columns.len() == 0
    }

    fn fixed<const N: usize>(&mut self, value: [u8; N]) {
        match self.columns.next() {
            Some(ColumnValues::Fixed { width, bytes }) if *width == N => bytes.extend_from_slice(&value),
            _ => self.is_wrong = true,
        }
    }

    pub fn bytes(&mut self, value: &[u8]) {
        match self.columns.next() {
            Some(ColumnValues::Text { bytes, ends }) => push_text(bytes, ends, value),
            Some(ColumnValues::FewTexts(dictionary)) => dictionary.push(value),
            _ => self.is_wrong = true,
        }
    }

    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// The text of the row before, of a column with few texts.
    pub fn same_text(&mut self) {
        self.is_wrong |= match self.columns.next() {
            Some(ColumnValues::FewTexts(dictionary)) => !dictionary.repeat(),
            _ => true,
        };
    }

    /// Also every `DateTime64`.
    pub fn int64(&mut self, value: i64) {
        self.fixed(value.to_le_bytes());
    }

    pub fn uint64(&mut self, value: u64) {
        self.fixed(value.to_le_bytes());
    }

    pub fn uint32(&mut self, value: u32) {
        self.fixed(value.to_le_bytes());
    }

    pub fn uint16(&mut self, value: u16) {
        self.fixed(value.to_le_bytes());
    }

    pub fn uint8(&mut self, value: u8) {
        self.fixed([value]);
    }

    pub fn bool(&mut self, value: bool) {
        self.uint8(value.into());
    }

    pub fn uint128(&mut self, value: u128) {
        self.fixed(value.to_le_bytes());
    }

    /// `Decimal(38, 18)`: the mantissa at scale 18.
    pub fn decimal(&mut self, mantissa_18: i128) {
        self.fixed(mantissa_18.to_le_bytes());
    }

    pub fn nullable<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut RowWriter<'_>, T)) {
        let Some(ColumnValues::Nullable { absent, inner }) = self.columns.next() else {
            self.is_wrong = true;
            return;
        };
        absent.push(u8::from(value.is_none()));
        match value {
            None => inner.push_default(),
            Some(value) => {
                let mut only = RowWriter::new(std::slice::from_mut(inner));
                write(&mut only, value);
                self.is_wrong |= !only.is_complete();
            }
        }
    }

    /// Each element is written as a value, or as the values of a tuple.
    pub fn array<T>(
        &mut self,
        elements: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut RowWriter<'_>, T),
    ) {
        let Some(ColumnValues::Array { ends, parts }) = self.columns.next() else {
            self.is_wrong = true;
            return;
        };
        let mut end = ends.last().copied().unwrap_or(0);
        for value in elements {
            let mut element = RowWriter::new(parts);
            write(&mut element, value);
            self.is_wrong |= !element.is_complete();
            end += 1;
        }
        ends.push(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 8] = [
        ("t", "DateTime64(3, 'UTC')"),
        ("s", "String"),
        ("e", "LowCardinality(String)"),
        ("n", "Nullable(UInt16)"),
        ("b", "Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18)))"),
        ("c", "Array(LowCardinality(String))"),
        ("a", "Nullable(String)"),
        ("created_at", "DateTime64(3, 'UTC')"),
    ];

    fn push(rows: &mut TableRows, number: i64, few: &str, value: Option<u16>, levels: &[[i128; 2]]) {
        rows.push(|row| {
            row.int64(number);
            row.text(&"x".repeat(usize::try_from(number).unwrap()));
            row.text(few);
            row.nullable(value, |row, value| row.uint16(value));
            row.array(levels, |row, [price, quantity]| {
                row.decimal(*price);
                row.decimal(*quantity);
            });
            row.array(levels, |row, _| row.text(few));
            row.nullable(value.map(|_| few), |row, text| row.text(text));
            row.int64(0);
        });
    }

    fn three() -> TableRows {
        let mut rows = TableRows::new(COLUMNS);
        push(&mut rows, 1, "a", Some(7), &[[1, 2], [3, 4]]);
        push(&mut rows, 200, "b", None, &[]);
        push(&mut rows, 2, "a", Some(8), &[[5, 6]]);
        rows.set_created_at(0, 9);
        rows
    }

    /// Compares three rows with every kind of column with bytes written by hand.
    #[test]
    fn rows_are_written_as_a_native_block() {
        let mut expected = vec![8, 3];
        let mut column = |index: usize, data: &[&[u8]]| {
            for text in [COLUMNS[index].0, COLUMNS[index].1] {
                write_length(&mut expected, text.len());
                expected.extend_from_slice(text.as_bytes());
            }
            expected.extend_from_slice(&data.concat());
        };
        let numbers = |values: &[u64]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let decimals = |values: &[i128]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        column(0, &[&numbers(&[1, 200, 2])]);
        column(1, &[b"\x01x\xc8\x01", "x".repeat(200).as_bytes(), b"\x02xx"]);
        column(2, &[&numbers(&[1, 0x600, 2]), b"\x01a\x01b", &numbers(&[3]), &[0, 1, 0]]);
        column(3, &[&[0, 1, 0], &[7, 0, 0, 0, 8, 0]]);
        column(4, &[&numbers(&[2, 2, 3]), &decimals(&[1, 3, 5]), &decimals(&[2, 4, 6])]);
        // The version of a dictionary comes before the sizes of the arrays.
        let texts = [&numbers(&[0x600, 1])[..], b"\x01a", &numbers(&[3]), &[0, 0, 0]].concat();
        column(5, &[&numbers(&[1]), &numbers(&[2, 2, 3]), &texts]);
        column(6, &[&[0, 1, 0], b"\x01a\0\x01a"]);
        column(7, &[&numbers(&[9, 9, 9])]);
        assert_eq!(three().whole_block().unwrap(), expected);
    }

    #[test]
    fn parts_of_a_batch_and_what_is_left_of_it_equal_rows_written_alone() {
        let alone = |which: &[usize]| {
            let mut rows = TableRows::new(COLUMNS);
            for index in which {
                match index {
                    0 => push(&mut rows, 1, "a", Some(7), &[[1, 2], [3, 4]]),
                    1 => push(&mut rows, 200, "b", None, &[]),
                    _ => push(&mut rows, 2, "a", Some(8), &[[5, 6]]),
                }
            }
            rows.set_created_at(0, 9);
            rows.whole_block().unwrap()
        };
        for (range, which) in [(0..0, &[][..]), (0..2, &[0, 1]), (1..3, &[1, 2]), (1..2, &[1]), (2..3, &[2])]
        {
            assert_eq!(three().block(range.clone()).unwrap(), alone(which), "{range:?}");
        }
        for (kept, which) in [
            (vec![0..1, 2..3], &[0, 2][..]),
            (vec![0..0, 1..3], &[1, 2]),
            (vec![], &[]),
            (vec![0..1, 1..1, 1..3], &[0, 1, 2]),
        ] {
            let mut rows = three();
            rows.keep(&kept);
            assert_eq!((rows.len(), rows.whole_block().unwrap()), (which.len(), alone(which)), "{kept:?}");
        }
    }

    #[test]
    fn parts_of_a_block_are_whole_columns_and_the_block_together() {
        let rows = three();
        for range in [0..3, 1..2, 0..0] {
            let whole = rows.block(range.clone()).unwrap();
            for bytes in [0, 1, 100, 300, whole.len(), usize::MAX] {
                let (mut together, mut next) = (Vec::new(), 0);
                while rows.has_column(next) {
                    let (part, after) = rows.block_part(range.clone(), next, bytes).unwrap();
                    assert!(after > next && (part.len() >= bytes || after == COLUMNS.len()), "{bytes}");
                    together.extend_from_slice(&part);
                    next = after;
                }
                assert_eq!((together, next), (whole.clone(), COLUMNS.len()), "{range:?} {bytes}");
            }
        }
    }

    #[test]
    fn a_row_that_fails_in_any_column_leaves_nothing_in_any_other() {
        let whole = three();
        for columns in 0..COLUMNS.len() {
            let mut rows = three();
            let failed = rows.try_push(|row| {
                for column in 0..columns {
                    match column {
                        0 | 7 => row.int64(5),
                        1 | 2 => row.text("new"),
                        3 => row.nullable(Some(1), |row, value| row.uint16(value)),
                        4 => row.array([1, 2], |row, level| {
                            row.decimal(level);
                            row.decimal(level);
                        }),
                        5 => row.array(["new"], |row, text| row.text(text)),
                        _ => row.nullable(Some("new"), |row, text| row.text(text)),
                    }
                }
                Err("refused")
            });
            assert_eq!(failed, Err("refused"));
            assert_eq!(rows.whole_block(), whole.whole_block(), "failed before column {columns}");
        }
    }

    #[test]
    fn rows_of_other_columns_make_no_block() {
        let writes: [fn(&mut RowWriter<'_>); 5] = [
            |row| row.text("s"),
            |row| row.uint64(1),
            |row| row.int64(1),
            |row| {
                row.int64(1);
                row.nullable(Some(1), |row, value| row.uint64(value));
            },
            |row| {
                row.int64(1);
                row.nullable(Some(1), |row, value| row.uint16(value));
                row.int64(1);
            },
        ];
        for (i, write) in writes.into_iter().enumerate() {
            let mut rows = TableRows::new([("t", "Int64"), ("n", "Nullable(UInt16)")]);
            rows.push(write);
            assert!(rows.whole_block().is_err() && rows.is_empty(), "{i}");
        }
    }
}
