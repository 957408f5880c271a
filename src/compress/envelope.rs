use flate2::Crc;

use super::codec::{CodecError, Op};

/// The header and the trailer that gzip (RFC 1952) or zlib (RFC 1950) puts around deflated data.
pub(super) struct Envelope {
    stage: Stage,
    checksum: Checksum,
}

enum Stage {
    Header { padding: u8 },
    Data,
    Trailer,
    Ended,
}

enum Checksum {
    Gzip(Crc),
    Zlib { low: u32, high: u32, level: u32 },
}

impl Envelope {
    /// Creates a gzip envelope with `padding` bytes in the header.
    pub(super) fn gzip(padding: u8) -> Self {
        Self { stage: Stage::Header { padding }, checksum: Checksum::Gzip(Crc::new()) }
    }

    /// Creates a zlib envelope, whose header names the level.
    pub(super) const fn zlib(level: u32) -> Self {
        Self {
            stage: Stage::Header { padding: 0 },
            checksum: Checksum::Zlib { low: 1, high: 0, level },
        }
    }

    /// Encodes as [`Codec::encode`](super::codec::Codec::encode) does, with the deflated data from
    /// `deflate`.
    pub(super) fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
        mut deflate: impl FnMut(&mut &[u8], &mut Vec<u8>) -> Result<bool, CodecError>,
    ) -> Result<bool, CodecError> {
        loop {
            match self.stage {
                Stage::Header { padding } => {
                    self.checksum.write_header(padding, output);
                    self.stage = Stage::Data;
                }
                Stage::Data => {
                    let before = *input;
                    let done = deflate(input, output)?;
                    self.checksum.update(&before[..before.len() - input.len()]);
                    if !(done && op == Op::Finish) {
                        return Ok(done);
                    }
                    self.stage = Stage::Trailer;
                }
                // Output stays within the capacity of the buffer; only the header may exceed it.
                Stage::Trailer if output.capacity() - output.len() < TRAILER_LEN => {
                    return Ok(false);
                }
                Stage::Trailer => {
                    self.checksum.write_trailer(output);
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Ok(true),
            }
        }
    }
}

impl Checksum {
    fn update(&mut self, input: &[u8]) {
        match self {
            Self::Gzip(crc) => crc.update(input),
            Self::Zlib { low, high, .. } => (*low, *high) = adler32(*low, *high, input),
        }
    }

    fn write_header(&self, padding: u8, output: &mut Vec<u8>) {
        match self {
            Self::Gzip(_) => write_gzip_header(padding, output),
            // RFC 1950 §2.2: deflate with a window of 32 KiB, and the level in two bits. The second
            // byte makes the 16-bit header a multiple of 31.
            Self::Zlib { level, .. } => output.extend_from_slice(match level {
                0 | 1 => &[0x78, 0x01],
                2..=5 => &[0x78, 0x5e],
                6 => &[0x78, 0x9c],
                _ => &[0x78, 0xda],
            }),
        }
    }

    fn write_trailer(&self, output: &mut Vec<u8>) {
        match self {
            Self::Gzip(crc) => {
                output.extend_from_slice(&crc.sum().to_le_bytes());
                output.extend_from_slice(&crc.amount().to_le_bytes());
            }
            Self::Zlib { low, high, .. } => {
                output.extend_from_slice(&(high << 16 | low).to_be_bytes());
            }
        }
    }
}

/// Appends the header of RFC 1952 §2.3: no time, unknown operating system, and the padding as the
/// name of the file, which decoders skip.
pub(super) fn write_gzip_header(padding: u8, output: &mut Vec<u8>) {
    const FNAME: u8 = 1 << 3;
    let flags = if padding > 0 { FNAME } else { 0 };
    output.extend_from_slice(&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 255]);
    if padding > 0 {
        output.resize(output.len() + usize::from(padding), b'p');
        output.push(0);
    }
}

/// Returns both halves of the checksum of RFC 1950 §8.2 after `bytes`. flate2 has the function for
/// gzip alone, and computes this one only where zlib-rs writes the envelope.
fn adler32(mut low: u32, mut high: u32, mut bytes: &[u8]) -> (u32, u32) {
    while !bytes.is_empty() {
        // The most additions that cannot overflow 32 bits without a modulo.
        let (chunk, rest) = bytes.split_at(bytes.len().min(5552));
        for &byte in chunk {
            low += u32::from(byte);
            high += low;
        }
        (low, high) = (low % ADLER_MODULUS, high % ADLER_MODULUS);
        bytes = rest;
    }
    (low, high)
}

/// The length of the trailer of gzip; that of zlib is shorter.
pub(super) const TRAILER_LEN: usize = 8;

const ADLER_MODULUS: u32 = 65_521;
