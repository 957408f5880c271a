use bytes::Buf;
use flate2::Crc;

use super::codec::{CodecError, Library, Op};
use super::coding::Coding;
use super::deflate::{TRAILER_LEN, write_header};
use super::pool::Pooled;

/// A gzip or zlib stream that can give its codec back whenever it is flushed, and goes on with
/// another one.
///
/// A deflate state takes 380 KB, too much for a stream that waits for its next event.
/// After a flush the output ends at a byte, and deflated data may be followed by that of any other
/// state as long as it refers to nothing that the decoder has not seen (RFC 1951 §3.2). So only the
/// last few KiB of the input are kept, as the dictionary of the next state, and the checksum. For the
/// client this is one stream with one header and one trailer: browsers and curl stop, or fail, at a
/// second gzip member.
pub(super) struct Resumable {
    coding: Coding,
    level: u32,
    /// `None` before the first data, while the stream is paused, and after its end.
    codec: Option<Pooled>,
    stage: Stage,
    checksum: Checksum,
    /// The end of the input so far, up to [`HISTORY`].
    history: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Stage {
    Header { padding: u8 },
    Data,
    Trailer,
    Ended,
}

enum Checksum {
    /// RFC 1952.
    Gzip(Crc),
    /// RFC 1950.
    Zlib { low: u32, high: u32 },
}

impl Resumable {
    /// Starts a stream. Returns `None` for a coding that cannot be resumed.
    pub(super) fn new(coding: Coding, level: u32, padding: u8) -> Option<Self> {
        let checksum = match coding {
            Coding::Gzip => Checksum::Gzip(Crc::new()),
            Coding::Deflate => Checksum::Zlib { low: 1, high: 0 },
            #[cfg(any(feature = "compress-br", feature = "compress-zstd"))]
            _ => return None,
        };
        let (codec, stage) = (None, Stage::Header { padding });
        Some(Self { coding, level, codec, stage, checksum, history: Vec::new() })
    }

    /// Returns `true` if the stream holds a codec.
    pub(super) const fn is_active(&self) -> bool {
        self.codec.is_some()
    }

    /// Gives the codec back. What was fed since the last flush is lost.
    pub(super) fn pause(&mut self) {
        self.codec = None;
    }

    /// Encodes as [`Codec::encode`](super::codec::Codec::encode) does.
    pub(super) fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        loop {
            match self.stage {
                Stage::Header { padding } => {
                    self.write_header(padding, output);
                    self.stage = Stage::Data;
                }
                Stage::Data => {
                    let before = *input;
                    let done = self.deflate(input, output, op)?;
                    self.took(&before[..before.len() - input.len()]);
                    if !(done && op == Op::Finish) {
                        return Ok(done);
                    }
                    self.codec = None;
                    self.stage = Stage::Trailer;
                }
                Stage::Trailer if output.capacity() - output.len() < TRAILER_LEN => {
                    return Ok(false);
                }
                Stage::Trailer => {
                    match &self.checksum {
                        Checksum::Gzip(crc) => {
                            output.extend_from_slice(&crc.sum().to_le_bytes());
                            output.extend_from_slice(&crc.amount().to_le_bytes());
                        }
                        Checksum::Zlib { low, high } => {
                            output.extend_from_slice(&(high << 16 | low).to_be_bytes());
                        }
                    }
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Ok(true),
            }
        }
    }

    fn write_header(&self, padding: u8, output: &mut Vec<u8>) {
        if self.coding == Coding::Gzip {
            write_header(padding, output);
            return;
        }
        // RFC 1950 §2.2: deflate with a window of 32 KiB, the level, and a multiple of 31.
        let check = match self.level {
            0 | 1 => 0x01,
            2..=5 => 0x5e,
            6 => 0x9c,
            _ => 0xda,
        };
        output.extend_from_slice(&[0x78, check]);
    }

    fn deflate(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError> {
        let codec = match &mut self.codec {
            Some(codec) => codec,
            None if input.is_empty() => return Ok(op != Op::Finish || write_end(output)),
            slot @ None => {
                let mut codec = Pooled::take((Coding::Gzip, self.level, Library::Raw), 0, None)?;
                if !self.history.is_empty() {
                    codec.set_history(&self.history)?;
                }
                slot.insert(codec)
            }
        };
        codec.encode(input, output, op)
    }

    /// Counts input in.
    fn took(&mut self, taken: &[u8]) {
        match &mut self.checksum {
            Checksum::Gzip(crc) => crc.update(taken),
            Checksum::Zlib { low, high } => (*low, *high) = adler32(*low, *high, taken),
        }
        let tail = &taken[taken.len().saturating_sub(HISTORY)..];
        let over = (self.history.len() + tail.len()).saturating_sub(HISTORY);
        self.history.drain(..over);
        self.history.extend_from_slice(tail);
    }
}

/// Ends deflated data between two blocks: by a last block with nothing in it (RFC 1951 §3.2.6).
/// Returns `false` if it does not fit.
fn write_end(output: &mut Vec<u8>) -> bool {
    let fits = output.capacity() - output.len() >= END.len();
    if fits {
        output.extend_from_slice(&END);
    }
    fits
}

/// RFC 1950 §8.2.
fn adler32(mut low: u32, mut high: u32, mut bytes: &[u8]) -> (u32, u32) {
    while bytes.has_remaining() {
        // As many as fit into 32 bits without a modulo.
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

const END: [u8; 2] = [0x03, 0x00];

const ADLER_MODULUS: u32 = 65_521;

/// The bytes of input that a paused stream keeps. Events are alike, so that the last few of them
/// are most of what a whole window is worth.
const HISTORY: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    /// Encodes pieces, pausing behind each of them where that is asked for.
    fn encode(coding: Coding, level: u32, pieces: &[(Vec<u8>, bool)], room: usize) -> Vec<u8> {
        let mut stream = Resumable::new(coding, level, 0).unwrap();
        let mut whole = Vec::new();
        let mut run = |stream: &mut Resumable, mut input: &[u8], op| {
            loop {
                let mut output = Vec::with_capacity(room);
                let done = stream.encode(&mut input, &mut output, op).unwrap();
                whole.append(&mut output);
                if done {
                    assert!(input.is_empty());
                    return;
                }
            }
        };
        for (piece, pause) in pieces {
            run(&mut stream, piece, Op::Process);
            if *pause {
                run(&mut stream, &[], Op::Flush);
                stream.pause();
            }
        }
        run(&mut stream, &[], Op::Finish);
        assert!(!stream.is_active());
        whole
    }

    fn decode(coding: Coding, mut bytes: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        let read = if coding == Coding::Gzip {
            flate2::bufread::GzDecoder::new(&mut bytes).read_to_end(&mut decoded)
        } else {
            flate2::bufread::ZlibDecoder::new(&mut bytes).read_to_end(&mut decoded)
        };
        read.unwrap();
        assert!(bytes.is_empty(), "bytes behind the end");
        decoded
    }

    #[test]
    fn paused_streams_know_what_they_sent() {
        let event = b"event: price\ndata: {\"symbol\":\"ACME\",\"price\":12.5,\"volume\":1000}\n\n";
        let alone = encode(Coding::Gzip, 6, &[(event.to_vec(), true)], 1000).len();
        let pieces = vec![(event.to_vec(), true); 100];
        let all = encode(Coding::Gzip, 6, &pieces, 1000);
        assert!(all.len() < 100 * alone / 4, "{} bytes, and {alone} for the first", all.len());
    }

    #[test]
    fn streams_without_data_are_complete() {
        for coding in [Coding::Gzip, Coding::Deflate] {
            for pieces in [vec![], vec![(vec![], true)], vec![(vec![], false)]] {
                assert_eq!(decode(coding, &encode(coding, 6, &pieces, 64)), b"");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(80))]
        #[test]
        fn paused_streams_decode_and_tell_nothing_of_others(
            pieces in prop::collection::vec((prop::collection::vec(0..4_u8, 0..3_000), any::<bool>()), 0..6),
            word in prop::collection::vec(any::<u8>(), 1..200),
            words in 0..600_usize,
            room in 32..400_usize,
            level in 1..=9_u32,
        ) {
            let text: Vec<u8> = pieces.iter().flat_map(|(piece, _)| piece.clone()).collect();
            for coding in [Coding::Gzip, Coding::Deflate] {
                // A thread of its own has an empty pool.
                let fresh = std::thread::scope(|scope| {
                    scope.spawn(|| encode(coding, level, &pieces, room)).join().unwrap()
                });
                prop_assert_eq!(decode(coding, &fresh), text.clone());
                // After others, whole and abandoned.
                encode(coding, level, &[(word.repeat(words), false)], 1_000);
                let mut abandoned = Resumable::new(coding, level, 0).unwrap();
                abandoned
                    .encode(&mut &word.repeat(words)[..], &mut Vec::with_capacity(99_999), Op::Process)
                    .unwrap();
                drop(abandoned);
                prop_assert_eq!(encode(coding, level, &pieces, room), fresh);
            }
        }
    }
}
