//! `Native` for clients that send `client_protocol_version` (ClickHouse's Go client, and so Grafana): each
//! block starts with a block info, and each column has a byte for default serialization. The engine writes
//! neither; the blocks are parsed as far as needed to find the end of each column. Source: "Native format"
//! in ClickHouse's documentation, and `NativeWriter.cpp`.

use bytes::Bytes;

use crate::engine::{Code, EngineError};

/// From this revision on, a byte after each column's type says if its serialization is special.
pub const REVISION_WITH_SERIALIZATION: u64 = 54454;

/// No overflow block, no bucket.
const BLOCK_INFO: [u8; 8] = [1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0];

/// Maximum nesting of types.
const DEPTH: usize = 32;

/// Binary layout of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    /// Bytes per row.
    Fixed(u64),
    Text,
    Nullable(Box<Layout>),
    Array(Box<Layout>),
    Tuple(Vec<Layout>),
    /// Dictionary of the inner layout.
    LowCardinality(Box<Layout>),
}

fn unsupported(name: &str) -> EngineError {
    let text = format!(
        "type {name}: not supported in Native with client_protocol_version, leave that parameter out"
    );
    EngineError::new(Code::NOT_IMPLEMENTED, text)
}

fn damaged() -> EngineError {
    EngineError::new(Code::INCORRECT_DATA, "the engine's Native output does not parse")
}

/// Splits arguments at commas outside brackets and quotes.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut quote, mut escaped, mut start) = (0_usize, None, false, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '`') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default().trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default().trim());
    parts
}

/// The type of a tuple element: `name Type` or `Type`.
fn unnamed(element: &str) -> &str {
    let after_name = if let Some(quoted) = element.strip_prefix('`') {
        quoted.split_once("` ").map(|(_, rest)| rest)
    } else {
        let head =
            element.find(['(', ' ']).filter(|at| element.get(*at..).is_some_and(|r| r.starts_with(' ')));
        head.and_then(|at| element.get(at + 1..))
    };
    after_name.unwrap_or(element).trim()
}

impl Layout {
    fn of(name: &str, depth: usize) -> Result<Layout, EngineError> {
        if depth > DEPTH {
            return Err(unsupported(name));
        }
        let (base, inner) = match name.split_once('(') {
            Some((base, rest)) => (base, rest.strip_suffix(')').ok_or_else(damaged)?),
            None => (name, ""),
        };
        let nested = |name: &str| Layout::of(name, depth + 1);
        let boxed = |name: &str| nested(name).map(Box::new);
        let tuple = |text: &str| -> Result<Layout, EngineError> {
            let elements = arguments(text).into_iter().filter(|e| !e.is_empty());
            Ok(Layout::Tuple(elements.map(|e| nested(unnamed(e))).collect::<Result<_, _>>()?))
        };
        Ok(match base {
            "String" => Layout::Text,
            "Nullable" => Layout::Nullable(boxed(inner)?),
            "Array" => Layout::Array(boxed(inner)?),
            "Tuple" => tuple(inner)?,
            "Map" | "Nested" => Layout::Array(Box::new(tuple(inner)?)),
            "LowCardinality" => {
                let inner =
                    inner.strip_prefix("Nullable(").and_then(|i| i.strip_suffix(')')).unwrap_or(inner);
                Layout::LowCardinality(boxed(inner)?)
            }
            "SimpleAggregateFunction" => nested(arguments(inner).get(1).ok_or_else(damaged)?)?,
            "Ring" | "LineString" => Layout::Array(boxed("Point")?),
            "Polygon" | "MultiLineString" => Layout::Array(boxed("Ring")?),
            "MultiPolygon" => Layout::Array(boxed("Polygon")?),
            _ => Layout::Fixed(width(base, inner).ok_or_else(|| unsupported(name))?),
        })
    }

    /// Skips the bytes before a column's rows.
    fn skip_prefix(&self, cursor: &mut Cursor<'_>) -> Option<()> {
        match self {
            Layout::Fixed(_) | Layout::Text => Some(()),
            Layout::Nullable(inner) | Layout::Array(inner) => inner.skip_prefix(cursor),
            Layout::Tuple(elements) => elements.iter().try_for_each(|e| e.skip_prefix(cursor)),
            Layout::LowCardinality(_) => cursor.skip(8),
        }
    }

    /// Skips the rows; `None` when they are incomplete.
    fn skip_rows(&self, cursor: &mut Cursor<'_>, rows: u64) -> Option<()> {
        match self {
            Layout::Fixed(width) => cursor.skip(width.checked_mul(rows)?),
            Layout::Text => (0..rows).try_for_each(|_| {
                let length = cursor.varint()?;
                cursor.skip(length)
            }),
            Layout::Nullable(inner) => {
                cursor.skip(rows)?;
                inner.skip_rows(cursor, rows)
            }
            Layout::Array(inner) => {
                cursor.skip(rows.saturating_sub(1).checked_mul(8)?)?;
                let elements = if rows == 0 { 0 } else { cursor.word()? };
                inner.skip_rows(cursor, elements)
            }
            Layout::Tuple(elements) => elements.iter().try_for_each(|e| e.skip_rows(cursor, rows)),
            Layout::LowCardinality(_) if rows == 0 => Some(()),
            Layout::LowCardinality(inner) => {
                let flags = cursor.word()?;
                let keys = cursor.word()?;
                inner.skip_rows(cursor, keys)?;
                let indexes = cursor.word()?;
                cursor.skip(indexes.checked_mul(1 << (flags & 3))?)
            }
        }
    }
}

/// Bytes of one value of a scalar type.
fn width(base: &str, inner: &str) -> Option<u64> {
    Some(match base {
        "UInt8" | "Int8" | "Bool" | "Enum8" | "Nothing" => 1,
        "UInt16" | "Int16" | "Date" | "Enum16" | "BFloat16" => 2,
        "UInt32" | "Int32" | "Float32" | "Date32" | "DateTime" | "Time" | "IPv4" | "Decimal32" => 4,
        "UInt64" | "Int64" | "Float64" | "DateTime64" | "Time64" | "Decimal64" => 8,
        "UInt128" | "Int128" | "UUID" | "IPv6" | "Decimal128" | "Point" => 16,
        "UInt256" | "Int256" | "Decimal256" => 32,
        "FixedString" => inner.trim().parse().ok()?,
        "Decimal" => match arguments(inner).first()?.parse::<u32>().ok()? {
            0..=9 => 4,
            10..=18 => 8,
            19..=38 => 16,
            _ => 32,
        },
        _ if base.starts_with("Interval") => 8,
        _ => return None,
    })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        let bytes = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn skip(&mut self, length: u64) -> Option<()> {
        self.take(length).map(|_| ())
    }

    fn word(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..63).step_by(7) {
            let [byte] = *self.take(1)? else { return None };
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?;
        self.take(length)
    }
}

/// Adds block info and serialization bytes to a stream of blocks.
#[derive(Debug, Default)]
pub struct NativeRewriter {
    pending: Vec<u8>,
    /// Size at which the next parse is worth it: a partial block is not parsed again for each chunk.
    retry: usize,
}

impl NativeRewriter {
    /// Takes the next bytes; returns the complete blocks, rewritten.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Bytes, EngineError> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() < self.retry {
            return Ok(Bytes::new());
        }
        let out = self.complete_blocks()?;
        self.retry = self.pending.len().saturating_mul(2);
        Ok(Bytes::from(out))
    }

    /// Returns the rest; fails if the stream ended inside a block.
    pub fn finish(mut self) -> Result<Bytes, EngineError> {
        let out = self.complete_blocks()?;
        if self.pending.is_empty() { Ok(Bytes::from(out)) } else { Err(damaged()) }
    }

    fn complete_blocks(&mut self) -> Result<Vec<u8>, EngineError> {
        let mut out = Vec::with_capacity(self.pending.len() + 64);
        let mut done = 0;
        while done < self.pending.len() {
            let rest = self.pending.get(done..).unwrap_or_default();
            let mark = out.len();
            match block(rest, &mut out)? {
                Some(length) => done += length,
                None => {
                    out.truncate(mark);
                    break;
                }
            }
        }
        self.pending.drain(..done);
        Ok(out)
    }
}

/// Rewrites the block at the start of the bytes and returns its length; `None` when it is incomplete.
fn block(bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, EngineError> {
    let mut cursor = Cursor { bytes, at: 0 };
    let (Some(columns), Some(rows)) = (cursor.varint(), cursor.varint()) else { return Ok(None) };
    out.extend_from_slice(&BLOCK_INFO);
    out.extend_from_slice(bytes.get(..cursor.at).unwrap_or_default());
    for _ in 0..columns {
        let start = cursor.at;
        let (Some(_name), Some(kind)) = (cursor.text(), cursor.text()) else { return Ok(None) };
        out.extend_from_slice(bytes.get(start..cursor.at).unwrap_or_default());
        out.push(0);
        if rows == 0 {
            continue;
        }
        let layout = Layout::of(std::str::from_utf8(kind).map_err(|_| damaged())?, 0)?;
        let start = cursor.at;
        if layout.skip_prefix(&mut cursor).and_then(|()| layout.skip_rows(&mut cursor, rows)).is_none() {
            return Ok(None);
        }
        out.extend_from_slice(bytes.get(start..cursor.at).unwrap_or_default());
    }
    Ok(Some(cursor.at))
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_INFO, Layout, NativeRewriter};

    #[test]
    fn blocks_get_info_and_serialization_byte_however_they_are_cut() {
        let plain = b"\x02\x02\x01a\x05UInt8\x07\x08\x01s\x06String\x01x\x02yz";
        let want =
            [&BLOCK_INFO[..], b"\x02\x02\x01a\x05UInt8\x00\x07\x08\x01s\x06String\x00\x01x\x02yz"].concat();
        for size in [1, 3, plain.len()] {
            let mut rewriter = NativeRewriter::default();
            let mut got = Vec::new();
            for piece in plain.chunks(size) {
                got.extend(rewriter.push(piece).unwrap());
            }
            got.extend(rewriter.finish().unwrap());
            assert_eq!(got, want, "{size}");
        }
        let mut half = NativeRewriter::default();
        half.push(&plain[..9]).unwrap();
        assert!(half.finish().is_err());
    }

    #[test]
    fn type_names_are_understood() {
        let layout = Layout::of("Array(Tuple(price Decimal(38, 18), `a b` Enum8('x)' = 1)))", 0).unwrap();
        assert_eq!(layout, Layout::Array(Box::new(Layout::Tuple(vec![Layout::Fixed(16), Layout::Fixed(1)]))));
        let low = Layout::of("LowCardinality(Nullable(String))", 0).unwrap();
        assert_eq!(low, Layout::LowCardinality(Box::new(Layout::Text)));
        assert_eq!(Layout::of("DateTime64(6, 'UTC')", 0).unwrap(), Layout::Fixed(8));
        assert!(Layout::of("Dynamic", 0).unwrap_err().message.contains("Dynamic"));
    }
}
