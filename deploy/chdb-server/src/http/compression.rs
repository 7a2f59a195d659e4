//! Encodings of request and response bodies.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::framing::{self, FramingReader};
use crate::engine::{Code, EngineError};

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
            let refused = |q: &str| q.trim().chars().all(|c| matches!(c, '0' | '.'));
            let named = Coding::named(name.trim());
            named.filter(|_| !parameters.trim().strip_prefix("q=").is_some_and(refused))
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
            Encoder::Framed => framing::block(&bytes).map(Bytes::from),
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

#[cfg(test)]
mod tests {
    use super::{Bytes, Coding, Encoder, decoder};
    use std::io::Read;

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
}
