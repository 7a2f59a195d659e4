//! Encodings of bodies: HTTP's content codings, and ClickHouse's own framing (`compress=1`, `decompress=1`).
//!
//! The framing has blocks of a 16-byte checksum, a method byte, two little-endian lengths (compressed with this 9-byte header, and
//! uncompressed) and the compressed bytes. Source: "Native format" in ClickHouse's documentation, and `CompressedReadBufferBase.cpp`.

use std::io::{self, Error, ErrorKind, Read, Write};

use bytes::Bytes;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::engine::{Code, EngineError};
use crate::limits::FRAME_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    /// zlib, as HTTP defines it.
    Deflate,
    Lz4,
    Zstd,
}

impl Coding {
    fn named(name: &str) -> Option<Coding> {
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Coding::Gzip),
            "deflate" => Some(Coding::Deflate),
            "lz4" => Some(Coding::Lz4),
            "zstd" => Some(Coding::Zstd),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
            Coding::Lz4 => "lz4",
            Coding::Zstd => "zstd",
        }
    }

    /// Reads a `Content-Encoding` header; fails for an unknown coding and for more than one.
    pub fn of_request(header: &str) -> Result<Option<Coding>, EngineError> {
        let name = header.trim();
        if name.is_empty() || name.eq_ignore_ascii_case("identity") {
            return Ok(None);
        }
        Coding::named(name).map(Some).ok_or_else(|| {
            let text =
                format!("content-encoding {name:?}: allowed are gzip, deflate, lz4, zstd and identity");
            EngineError::new(Code::UNKNOWN_COMPRESSION_METHOD, text)
        })
    }

    /// The first supported coding of an `Accept-Encoding` header that `q=0` does not forbid.
    pub fn of_response(header: &str) -> Option<Coding> {
        header.split(',').find_map(|entry| {
            let (name, parameters) = entry.split_once(';').unwrap_or((entry, ""));
            let rejected = |q: &str| q.trim().chars().all(|c| matches!(c, '0' | '.'));
            let named = Coding::named(name.trim());
            named.filter(|_| !parameters.trim().strip_prefix("q=").is_some_and(rejected))
        })
    }
}

/// Removes coding and framing from a body.
pub fn decoder(
    inner: Box<dyn Read + Send>,
    coding: Option<Coding>,
    framed: bool,
) -> io::Result<Box<dyn Read + Send>> {
    let plain: Box<dyn Read + Send> = match coding {
        None => inner,
        Some(Coding::Gzip) => Box::new(flate2::read::MultiGzDecoder::new(inner)),
        Some(Coding::Deflate) => Box::new(flate2::read::ZlibDecoder::new(inner)),
        Some(Coding::Lz4) => Box::new(lz4_flex::frame::FrameDecoder::new(inner)),
        Some(Coding::Zstd) => Box::new(zstd::stream::read::Decoder::new(inner)?),
    };
    Ok(if framed { Box::new(FramingReader::new(plain)) } else { plain })
}

/// Encodes a response in pieces, each of which can be decoded on arrival.
pub enum Encoder {
    Plain,
    Framed,
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    Lz4(Box<lz4_flex::frame::FrameEncoder<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// `level` is the client's `http_zlib_compression_level`. It applies to zlib only: the other codings
    /// have scales of their own.
    pub fn new(coding: Option<Coding>, framed: bool, level: Option<u32>) -> io::Result<Encoder> {
        let level = flate2::Compression::new(level.unwrap_or(3).min(9));
        Ok(match coding {
            _ if framed => Encoder::Framed,
            None => Encoder::Plain,
            Some(Coding::Gzip) => Encoder::Gzip(GzEncoder::new(Vec::new(), level)),
            Some(Coding::Deflate) => Encoder::Deflate(ZlibEncoder::new(Vec::new(), level)),
            Some(Coding::Lz4) => Encoder::Lz4(Box::new(lz4_flex::frame::FrameEncoder::new(Vec::new()))),
            Some(Coding::Zstd) => Encoder::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 1)?),
        })
    }

    pub fn piece(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        if bytes.is_empty() {
            return Ok(bytes);
        }
        match self {
            Encoder::Plain => Ok(bytes),
            Encoder::Framed => block(&bytes).map(Bytes::from),
            Encoder::Gzip(e) => written(e, &bytes, GzEncoder::get_mut),
            Encoder::Deflate(e) => written(e, &bytes, ZlibEncoder::get_mut),
            Encoder::Lz4(e) => written(e.as_mut(), &bytes, lz4_flex::frame::FrameEncoder::get_mut),
            Encoder::Zstd(e) => written(e, &bytes, zstd::stream::write::Encoder::get_mut),
        }
    }

    /// Ends the encoding; returns the last bytes.
    pub fn finish(self) -> io::Result<Bytes> {
        Ok(Bytes::from(match self {
            Encoder::Plain | Encoder::Framed => Vec::new(),
            Encoder::Gzip(e) => e.finish()?,
            Encoder::Deflate(e) => e.finish()?,
            Encoder::Lz4(e) => e.finish().map_err(io::Error::other)?,
            Encoder::Zstd(e) => e.finish()?,
        }))
    }
}

fn written<W: Write>(
    encoder: &mut W,
    bytes: &[u8],
    output: impl Fn(&mut W) -> &mut Vec<u8>,
) -> io::Result<Bytes> {
    encoder.write_all(bytes)?;
    encoder.flush()?;
    Ok(Bytes::from(std::mem::take(output(encoder))))
}

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
pub fn block(bytes: &[u8]) -> io::Result<Vec<u8>> {
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
    fn next_block(&mut self) -> io::Result<bool> {
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

fn unpack(method: u8, packed: &[u8], length: usize) -> io::Result<Vec<u8>> {
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
fn read_first(inner: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
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
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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
    use std::io::Read;

    use super::{Bytes, Coding, Encoder, FramingReader, block, decoder};

    #[test]
    fn every_coding_round_trips() {
        for coding in [None, Some(Coding::Gzip), Some(Coding::Deflate), Some(Coding::Lz4), Some(Coding::Zstd)]
        {
            for framed in [false, true] {
                if framed && coding.is_some() {
                    continue;
                }
                let mut encoder = Encoder::new(coding, framed, None).unwrap();
                let mut sent = encoder.piece(Bytes::from("first ".repeat(100))).unwrap().to_vec();
                sent.extend(encoder.piece(Bytes::from("second")).unwrap());
                sent.extend(encoder.finish().unwrap());
                let mut read = String::new();
                let source = Box::new(std::io::Cursor::new(sent));
                decoder(source, coding, framed).unwrap().read_to_string(&mut read).unwrap();
                assert_eq!(read, "first ".repeat(100) + "second", "{coding:?} {framed}");
            }
        }
    }

    #[test]
    fn negotiation_takes_the_first_known_coding() {
        assert_eq!(Coding::of_response("br, lz4;q=0, zstd;q=0.5, gzip"), Some(Coding::Zstd));
        assert_eq!(Coding::of_response("identity"), None);
        assert!(Coding::of_request("br").unwrap_err().message.contains("allowed are gzip"));
    }

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
