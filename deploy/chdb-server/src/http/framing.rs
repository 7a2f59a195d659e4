//! Lengths of request bodies, to find the next head behind them. Contents are not checked: the HTTP library does that, and ends the
//! connection of a body that breaks its framing.

use httparse::Header;

/// Length of a body by its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    Bytes(u64),
    Chunked,
}

impl BodyLength {
    /// Refuses what two readers could take for two lengths.
    pub fn read(headers: &[Header<'_>]) -> Result<Self, &'static str> {
        let values = |name: &'static str| {
            let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
            named.map(|header| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase())
        };
        let lengths: Vec<String> = values("content-length").collect();
        let codings: Vec<String> = values("transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(Self::Bytes(0)),
            ([], [coding]) if coding == "chunked" => Ok(Self::Chunked),
            (_, [_, ..]) => Err("the only Transfer-Encoding allowed is chunked, without Content-Length"),
            ([length, more @ ..], []) => {
                let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
                let number =
                    length.parse().ok().filter(|_| is_number && more.iter().all(|other| other == length));
                number.map(Self::Bytes).ok_or("Content-Length must be one number")
            }
        }
    }
}

/// Position in the body of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// Bytes left.
    Plain(u64),
    ChunkSize {
        size: u64,
        in_extension: bool,
    },
    /// Bytes left, with the line break behind them.
    ChunkData(u64),
    Trailer {
        is_line_empty: bool,
    },
}

const LINE_BREAK: u64 = 2;
const NEXT_CHUNK: BodyFraming = BodyFraming::ChunkSize { size: 0, in_extension: false };

impl BodyFraming {
    pub const fn of(length: BodyLength) -> Self {
        match length {
            BodyLength::Bytes(bytes) => Self::Plain(bytes),
            BodyLength::Chunked => NEXT_CHUNK,
        }
    }

    pub const fn is_over(self) -> bool {
        matches!(self, Self::Plain(0))
    }

    /// Number of these bytes that belong to the body.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while let ([first, ..], false) = (rest, self.is_over()) {
            let taken = match self {
                Self::Plain(left) | Self::ChunkData(left) => {
                    let step = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= step as u64;
                    if *self == Self::ChunkData(0) {
                        *self = NEXT_CHUNK;
                    }
                    step
                }
                _ => {
                    self.control(*first);
                    1
                }
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        bytes.len() - rest.len()
    }

    fn control(&mut self, byte: u8) {
        *self = match (*self, byte) {
            (Self::ChunkSize { size: 0, .. }, b'\n') => Self::Trailer { is_line_empty: true },
            (Self::ChunkSize { size, .. }, b'\n') => Self::ChunkData(size.saturating_add(LINE_BREAK)),
            (Self::ChunkSize { size, in_extension: false }, digit) if digit.is_ascii_hexdigit() => {
                let value = char::from(digit).to_digit(16).unwrap_or_default();
                Self::ChunkSize {
                    size: size.saturating_mul(16).saturating_add(value.into()),
                    in_extension: false,
                }
            }
            (Self::ChunkSize { size, .. }, b';') => Self::ChunkSize { size, in_extension: true },
            (Self::Trailer { is_line_empty: true }, b'\n') => Self::Plain(0),
            (Self::Trailer { .. }, b'\n') => Self::Trailer { is_line_empty: true },
            (Self::Trailer { .. }, byte) if byte != b'\r' => Self::Trailer { is_line_empty: false },
            (same, _) => same,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&str, &str)]) -> Result<BodyLength, &'static str> {
        let headers: Vec<Header<'_>> =
            headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
        BodyLength::read(&headers)
    }

    #[test]
    fn a_body_that_could_have_two_lengths_is_refused() {
        assert_eq!(read(&[("Host", "x")]), Ok(BodyLength::Bytes(0)));
        assert_eq!(read(&[("Content-Length", "7"), ("content-length", "7")]), Ok(BodyLength::Bytes(7)));
        assert_eq!(read(&[("Transfer-Encoding", "Chunked")]), Ok(BodyLength::Chunked));
        for headers in [
            &[("Content-Length", "7"), ("content-length", "8")][..],
            &[("content-length", "+7")],
            &[("content-length", "")],
            &[("content-length", "7"), ("transfer-encoding", "chunked")],
            &[("transfer-encoding", "gzip, chunked")],
            &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        ] {
            assert!(read(headers).is_err(), "{headers:?}");
        }
    }

    #[test]
    fn the_end_of_a_body_is_found_however_it_is_cut() {
        let chunked = b"5;x=1\r\nab\r\nc\r\nA\r\n0123456789\r\n0\r\nName: v\r\n\r\n";
        for (length, body) in [(BodyLength::Chunked, &chunked[..]), (BodyLength::Bytes(3), b"abc")] {
            let whole = [body, b"GET / HTTP/1.1"].concat();
            for cut in 0..whole.len() {
                let mut framing = BodyFraming::of(length);
                let first = framing.take(&whole[..cut]);
                let second = framing.take(&whole[first..]);
                assert_eq!(
                    (first + second, framing.is_over()),
                    (body.len(), true),
                    "{length:?} cut at {cut}"
                );
            }
        }
    }
}
