//! Fields of protobuf messages, one after the other.

use prost::encoding::decode_varint;

use crate::wire::decode::DecodeError;

/// Wire types.
pub(super) const VARINT: u64 = 0;
const FIXED64: u64 = 1;
pub(super) const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A field of a message.
pub(super) struct Field<'a> {
    pub(super) number: u64,
    /// With tag and length.
    pub(super) whole: &'a [u8],
    pub(super) varint: u64,
    pub(super) bytes: &'a [u8],
}

/// The field that comes next.
pub(super) fn next_field<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>, DecodeError> {
    const CUT: DecodeError = DecodeError::Field("its last field", "complete");
    let all = *rest;
    let tag = decode_varint(rest)?;
    let (mut varint, mut bytes): (u64, &[u8]) = (0, &[]);
    let length = match tag & 7 {
        VARINT => {
            varint = decode_varint(rest)?;
            None
        }
        FIXED64 => Some(8),
        BYTES => Some(decode_varint(rest)?),
        FIXED32 => Some(4),
        _ => return Err(DecodeError::Field("a wire type", "0, 1, 2 or 5")),
    };
    if let Some(length) = length {
        let length = usize::try_from(length).map_err(|_| CUT)?;
        (bytes, *rest) = rest.split_at_checked(length).ok_or(CUT)?;
    }
    let whole = all.get(..all.len() - rest.len()).unwrap_or_default();
    Ok(Field { number: tag >> 3, whole, varint, bytes })
}
