use super::coding::Coding;
use super::deflate::{Gzip, Raw, Zlib};

/// The state of one compression, which can be used again after a reset.
pub(super) trait Codec: Send + Sync {
    /// Ends the stream that it is in. Returns `false` if it cannot be used again.
    fn reset(&mut self) -> bool;

    /// Makes it as good as new for a body of so many bytes, if that is known, with so much padding
    /// before it, where the format has a place for that. Returns `false` if it cannot be used again.
    fn prepare(&mut self, _padding: u8, _size: Option<usize>) -> bool {
        true
    }

    /// Sets what came before the input: the decoder has it, and the output may refer to it.
    fn set_history(&mut self, _history: &[u8]) -> Result<(), CodecError> {
        Err(CodecError)
    }

    /// Takes from `input`, and appends to `output` what its spare capacity holds. Returns `true`
    /// when `op` is done: all of the input taken, or all of it flushed, or the stream ended.
    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError>;
}

/// What a codec is to do with the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Take it; what comes out, comes out.
    Process,
    /// Give out enough for the other side to decode all of it.
    Flush,
    /// End the stream.
    Finish,
}

/// A codec failed, which takes a failing allocator.
#[derive(Debug)]
pub(super) struct CodecError;

/// What makes gzip and deflate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Library {
    /// For whole bodies.
    #[default]
    ZlibRs,
    /// Deflated data by zlib-rs without a header and a trailer, for streams that write these
    /// themselves.
    Raw,
    /// For whole bodies alone.
    #[cfg(feature = "compress-libdeflate")]
    Libdeflate,
}

pub(super) fn new(
    coding: Coding,
    level: u32,
    library: Library,
) -> Result<Box<dyn Codec>, CodecError> {
    Ok(match (coding, library) {
        (Coding::Gzip, Library::ZlibRs) => Box::new(Gzip::new(level)),
        (Coding::Deflate, Library::ZlibRs) => Box::new(Zlib::new(level)),
        (Coding::Gzip | Coding::Deflate, Library::Raw) => Box::new(Raw::new(level)),
        #[cfg(feature = "compress-libdeflate")]
        (Coding::Gzip | Coding::Deflate, Library::Libdeflate) => {
            Box::new(super::libdeflate::Libdeflate::new(coding == Coding::Gzip, level)?)
        }
        #[cfg(feature = "compress-br")]
        (Coding::Brotli, _) => Box::new(super::brotli::Brotli::new(level)),
        #[cfg(feature = "compress-zstd")]
        (Coding::Zstd, _) => Box::new(super::zstd::Zstd::new(level)?),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    const CODINGS: &[Coding] = &[
        Coding::Gzip,
        Coding::Deflate,
        #[cfg(feature = "compress-zstd")]
        Coding::Zstd,
    ];

    /// Encodes the pieces, each flushed or not, into buffers of `room` bytes.
    fn encode(codec: &mut dyn Codec, pieces: &[(Vec<u8>, bool)], room: usize) -> Vec<u8> {
        let mut whole = Vec::new();
        let mut run = |mut input: &[u8], op| {
            loop {
                let mut output = Vec::with_capacity(room);
                let done = codec.encode(&mut input, &mut output, op).unwrap();
                whole.append(&mut output);
                if done {
                    assert!(input.is_empty());
                    return;
                }
            }
        };
        for (piece, flush) in pieces {
            run(piece, Op::Process);
            if *flush {
                run(&[], Op::Flush);
            }
        }
        run(&[], Op::Finish);
        whole
    }

    fn decode(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        let read = match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut decoded),
            Coding::Deflate => flate2::read::ZlibDecoder::new(bytes).read_to_end(&mut decoded),
            #[cfg(feature = "compress-zstd")]
            Coding::Zstd => {
                decoded.reserve(1 << 20);
                zstd_safe::decompress(&mut decoded, bytes)
                    .map_err(|_| std::io::Error::other("zstd"))
            }
            #[cfg(feature = "compress-br")]
            other => panic!("no decoder for {other:?}"),
        };
        read.unwrap();
        decoded
    }

    #[test]
    fn padding_is_a_name_that_decoders_skip() {
        let text = b"hello, hello, hello".to_vec();
        let mut codec = new(Coding::Gzip, 6, Library::ZlibRs).unwrap();
        let plain = encode(&mut *codec, &[(text.clone(), false)], 64);
        assert!(codec.reset() && codec.prepare(40, None));
        let padded = encode(&mut *codec, &[(text.clone(), false)], 64);
        assert_eq!(padded.len(), plain.len() + 41);
        assert_eq!(decode(Coding::Gzip, &padded), text);
    }

    #[test]
    fn what_does_not_fit_again_and_again_leaves_a_codec_that_works() {
        let mut number = 1_u32;
        let mut random = || {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number >> 24) as u8
        };
        for coding in CODINGS {
            for level in 1..9 {
                let mut codec = new(*coding, level, Library::ZlibRs).unwrap();
                for size in [10_240; 20] {
                    let body: Vec<u8> = (0..size).map(|_| random()).collect();
                    assert!(codec.prepare(0, Some(size)));
                    let mut output = Vec::with_capacity(size);
                    let mut input = &body[..];
                    codec.encode(&mut input, &mut output, Op::Process).unwrap();
                    assert!(!codec.encode(&mut &[][..], &mut output, Op::Finish).unwrap());
                    assert!(codec.reset());
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(80))]
        #[test]
        fn what_was_fed_is_what_decodes_and_a_reset_codec_is_as_good_as_new(
            pieces in prop::collection::vec((prop::collection::vec(0..4_u8, 0..3_000), any::<bool>()), 0..5),
            word in prop::collection::vec(any::<u8>(), 1..200),
            words in 0..600_usize,
            flush in any::<bool>(),
            room in 32..400_usize,
            level in 1..=9_u32,
        ) {
            // Streams are flushed, and their size is not known.
            let text: Vec<u8> = pieces.iter().flat_map(|(piece, _)| piece.clone()).collect();
            let size = pieces.iter().all(|(_, flush)| !flush).then_some(text.len());
            for &coding in CODINGS {
                let mut codec = new(coding, level, Library::ZlibRs).unwrap();
                let fresh = encode(&mut *codec, &pieces, room);
                prop_assert_eq!(decode(coding, &fresh), text.clone());

                if !codec.reset() {
                    prop_assert_eq!(level, 9, "that level of deflate is not used again");
                    continue;
                }
                // After a body that was longer, or not; whole, or abandoned as when a client leaves.
                for whole in [true, false] {
                    let mut output = Vec::with_capacity(200_000);
                    let before = word.repeat(words);
                    prop_assert!(codec.prepare(0, whole.then_some(before.len())));
                    codec.encode(&mut &before[..], &mut output, Op::Process).unwrap();
                    if whole {
                        prop_assert!(codec.encode(&mut &[][..], &mut output, Op::Finish).unwrap());
                    } else if flush {
                        codec.encode(&mut &[][..], &mut output, Op::Flush).unwrap();
                    }
                    prop_assert!(codec.reset() && codec.prepare(0, size));
                    prop_assert_eq!(encode(&mut *codec, &pieces, room), fresh.clone());
                    prop_assert!(codec.reset());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn padding_of_any_length_is_skipped(
            padding in any::<u8>(),
            text in prop::collection::vec(0..4_u8, 0..300),
            room in 32..400_usize,
        ) {
            for library in [
                Library::ZlibRs,
                #[cfg(feature = "compress-libdeflate")]
                Library::Libdeflate,
            ] {
                let room = if library == Library::ZlibRs { room } else { 2_000 };
                let mut lengths = Vec::new();
                for padding in [padding, 0] {
                    let mut codec = new(Coding::Gzip, 6, library).unwrap();
                    prop_assert!(codec.prepare(padding, Some(text.len())));
                    let padded = encode(&mut *codec, &[(text.clone(), false)], room);
                    prop_assert_eq!(&decode(Coding::Gzip, &padded), &text);
                    lengths.push(padded.len());
                }
                let more = if padding > 0 { usize::from(padding) + 1 } else { 0 };
                prop_assert_eq!(lengths[0], lengths[1] + more);
            }
        }
    }
}
