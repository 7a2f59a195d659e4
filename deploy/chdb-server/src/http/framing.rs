//! ClickHouse's own compression framing (`compress=1`, `decompress=1`): blocks of a 16-byte checksum, a
//! method byte, two little-endian lengths (compressed with this 9-byte header, and uncompressed) and the
//! compressed bytes. Source: "Native format" in ClickHouse's documentation, and
//! `CompressedReadBufferBase.cpp`.

use std::io::{Error, ErrorKind, Read, Result};

use crate::limits::FRAME_BYTES;

const CHECKSUM: usize = 16;
const HEADER: usize = 9;
const METHOD_LZ4: u8 = 0x82;
const METHOD_ZSTD: u8 = 0x90;
const METHOD_NONE: u8 = 0x02;

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::InvalidData, message)
}

/// ClickHouse stores the two halves of CityHash128 (version 1.0.2) in swapped order.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    cityhash_rs::cityhash_102_128(bytes).rotate_right(64).to_le_bytes()
}

/// One LZ4 block with header and checksum.
pub fn block(bytes: &[u8]) -> Result<Vec<u8>> {
    let packed = lz4_flex::block::compress(bytes);
    let length =
        |n: usize| u32::try_from(n).map_err(|_| corrupt(format!("a block of {n} bytes is too long")));
    let mut body = Vec::with_capacity(HEADER + packed.len());
    body.push(METHOD_LZ4);
    body.extend_from_slice(&length(packed.len() + HEADER)?.to_le_bytes());
    body.extend_from_slice(&length(bytes.len())?.to_le_bytes());
    body.extend_from_slice(&packed);
    let mut framed = checksum(&body).to_vec();
    framed.append(&mut body);
    Ok(framed)
}

/// Removes the framing from a stream.
pub struct FramingReader<R> {
    inner: R,
    plain: Vec<u8>,
    at: usize,
}

impl<R: Read> FramingReader<R> {
    pub fn new(inner: R) -> Self {
        FramingReader { inner, plain: Vec::new(), at: 0 }
    }

    /// Reads the next block; `false` at the end of the stream.
    fn next_block(&mut self) -> Result<bool> {
        let mut sum = [0_u8; CHECKSUM];
        if !read_first(&mut self.inner, &mut sum)? {
            return Ok(false);
        }
        let mut header = [0_u8; HEADER];
        self.inner.read_exact(&mut header)?;
        let [method, c0, c1, c2, c3, u0, u1, u2, u3] = header;
        let (packed, plain) = (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([u0, u1, u2, u3]));
        let (packed, plain) =
            (usize::try_from(packed).unwrap_or(usize::MAX), usize::try_from(plain).unwrap_or(usize::MAX));
        if !(HEADER..=FRAME_BYTES).contains(&packed) || plain > FRAME_BYTES {
            let message = format!(
                "a compressed block of {packed} bytes for {plain}: allowed are {HEADER} to {FRAME_BYTES}"
            );
            return Err(corrupt(message));
        }
        let mut body = header.to_vec();
        body.resize(packed, 0);
        if let Some(rest) = body.get_mut(HEADER..) {
            self.inner.read_exact(rest)?;
        }
        if checksum(&body) != sum {
            return Err(corrupt("checksum of a compressed block does not match its bytes".to_owned()));
        }
        self.plain = unpack(method, body.get(HEADER..).unwrap_or_default(), plain)?;
        self.at = 0;
        Ok(true)
    }
}

fn unpack(method: u8, packed: &[u8], length: usize) -> Result<Vec<u8>> {
    let plain = match method {
        METHOD_LZ4 => lz4_flex::block::decompress(packed, length).map_err(|e| corrupt(e.to_string()))?,
        METHOD_ZSTD => zstd::bulk::decompress(packed, length)?,
        METHOD_NONE => packed.to_vec(),
        other => {
            return Err(corrupt(format!(
                "compression method 0x{other:02x} of a block: allowed are LZ4, ZSTD and NONE"
            )));
        }
    };
    if plain.len() == length {
        Ok(plain)
    } else {
        Err(corrupt(format!("a block gave {} bytes of {length}", plain.len())))
    }
}

/// Fills the buffer; `false` when the stream ends before its first byte.
fn read_first(inner: &mut impl Read, buffer: &mut [u8]) -> Result<bool> {
    let mut filled = 0;
    while let Some(space) = buffer.get_mut(filled..).filter(|s| !s.is_empty()) {
        match inner.read(space) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

impl<R: Read> Read for FramingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            let mut rest = self.plain.get(self.at..).unwrap_or_default();
            if !rest.is_empty() {
                let read = rest.read(buffer)?;
                self.at += read;
                return Ok(read);
            }
            if !self.next_block()? {
                return Ok(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FramingReader, block};
    use std::io::Read;

    #[test]
    fn framing_round_trips_and_notices_damage() {
        let data = b"abcabcabcabc".repeat(1000);
        let mut framed = block(&data).unwrap();
        framed.extend(block(b"end").unwrap());
        let mut plain = Vec::new();
        FramingReader::new(framed.as_slice()).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, [data.as_slice(), b"end"].concat());
        let last = framed.len() - 1;
        framed[last] ^= 1;
        let error = FramingReader::new(framed.as_slice()).read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("checksum"), "{error}");
    }
}
