/// The state of one compression, which is used again after a reset.
pub(super) trait Codec: Send + Sync {
    /// Abandons the current stream. Returns `false` if the codec cannot be used again.
    fn reset(&mut self) -> bool;

    /// Prepares the codec for a new stream: for a body of `size` bytes, if the size is known, after
    /// `padding` bytes in the header, if the format has a place for them. Returns `false` if the
    /// codec cannot be used again.
    fn prepare(&mut self, _padding: u8, _size: Option<usize>) -> bool {
        true
    }

    /// Sets the data that came before the input: the decoder has it, and the output may refer to
    /// it.
    fn set_history(&mut self, _history: &[u8]) -> Result<(), CodecError> {
        Err(CodecError)
    }

    /// Takes from `input`, and appends to `output` what fits into its spare capacity. Returns
    /// `true` when `op` is done: all input is taken, or flushed, or the stream has ended.
    fn encode(
        &mut self,
        input: &mut &[u8],
        output: &mut Vec<u8>,
        op: Op,
    ) -> Result<bool, CodecError>;
}

/// A kind of codec, by which the pool tells its codecs apart: each kind is one `static`.
pub(super) struct CodecKind {
    /// Makes a codec of a level that the encoding has.
    pub(super) new: fn(level: u32) -> Result<Box<dyn Codec>, CodecError>,
}

/// The operation that a codec performs on its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Takes the input, and may keep the output back.
    Process,
    /// Gives out enough for the decoder to decode all input.
    Flush,
    /// Ends the stream.
    Finish,
}

/// The error of a codec, which takes a failing allocator.
#[derive(Debug)]
pub(super) struct CodecError;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in super::super) type Decode = fn(&[u8]) -> Vec<u8>;

    /// A body, and how it and an earlier body are encoded.
    #[derive(Clone, Debug)]
    pub(in super::super) struct Story {
        /// Each piece is flushed or not.
        pieces: Vec<(Vec<u8>, bool)>,
        earlier: Vec<u8>,
        flushes_earlier: bool,
        /// The capacity of each output buffer.
        capacity: usize,
        level: u32,
    }

    pub(in super::super) fn story() -> impl Strategy<Value = Story> {
        let piece = (prop::collection::vec(0..4_u8, 0..3_000), any::<bool>());
        let word = prop::collection::vec(any::<u8>(), 1..200);
        let earlier = (word, 0..600_usize).prop_map(|(word, times)| word.repeat(times));
        let pieces = prop::collection::vec(piece, 0..5);
        (pieces, earlier, any::<bool>(), 32..400_usize, 1..=9_u32).prop_map(
            |(pieces, earlier, flushes_earlier, capacity, level)| Story {
                pieces,
                earlier,
                flushes_earlier,
                capacity,
                level,
            },
        )
    }

    fn encode(codec: &mut dyn Codec, pieces: &[(Vec<u8>, bool)], capacity: usize) -> Vec<u8> {
        let mut whole = Vec::new();
        let mut run = |mut input: &[u8], op| {
            loop {
                let mut output = Vec::with_capacity(capacity);
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

    /// Checks that the output decodes, and that a used codec writes what a new one does.
    pub(in super::super) fn check_reset(kind: &CodecKind, decode: Decode, story: &Story) {
        let Story { pieces, earlier, flushes_earlier, capacity, level } = story;
        let text: Vec<u8> = pieces.iter().flat_map(|(piece, _)| piece.clone()).collect();
        // The size of a stream, which is flushed, is not known.
        let size = pieces.iter().all(|(_, flush)| !flush).then_some(text.len());
        let mut codec = (kind.new)(*level).unwrap();
        let fresh = encode(&mut *codec, pieces, *capacity);
        assert_eq!(decode(&fresh), text);

        if !codec.reset() {
            assert_eq!(*level, 9, "only that level of deflate is not used again");
            return;
        }
        // The earlier body is longer or shorter, and whole or abandoned as when a client leaves.
        for whole in [true, false] {
            let mut output = Vec::with_capacity(200_000);
            assert!(codec.prepare(0, whole.then_some(earlier.len())));
            codec.encode(&mut &earlier[..], &mut output, Op::Process).unwrap();
            if whole {
                assert!(codec.encode(&mut &[][..], &mut output, Op::Finish).unwrap());
            } else if *flushes_earlier {
                codec.encode(&mut &[][..], &mut output, Op::Flush).unwrap();
            }
            assert!(codec.reset() && codec.prepare(0, size));
            assert_eq!(encode(&mut *codec, pieces, *capacity), fresh);
            assert!(codec.reset());
        }
    }

    /// Checks that a codec works after bodies whose output did not fit, again and again.
    pub(in super::super) fn check_full_outputs(kind: &CodecKind) {
        let mut number = 1_u32;
        let mut random = || {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (number >> 24) as u8
        };
        for level in 1..9 {
            let mut codec = (kind.new)(level).unwrap();
            for size in [10_240; 20] {
                let body: Vec<u8> = (0..size).map(|_| random()).collect();
                assert!(codec.prepare(0, Some(size)));
                let mut output = Vec::with_capacity(size);
                codec.encode(&mut &body[..], &mut output, Op::Process).unwrap();
                assert!(!codec.encode(&mut &[][..], &mut output, Op::Finish).unwrap());
                assert!(codec.reset());
            }
        }
    }

    /// Checks that padding adds its bytes and a zero, is skipped by decoders, and is forgotten.
    pub(in super::super) fn check_padding(kind: &CodecKind, decode: Decode, padding: u8) {
        let text = b"hello, hello, hello".to_vec();
        let pieces = [(text.clone(), false)];
        let mut codec = (kind.new)(6).unwrap();
        let mut length = |padding| {
            assert!(codec.prepare(padding, Some(text.len())));
            let encoded = encode(&mut *codec, &pieces, 400);
            assert_eq!(decode(&encoded), text);
            assert!(codec.reset());
            encoded.len()
        };
        let [plain, padded, again] = [0, padding, 0].map(&mut length);
        assert_eq!(padded, plain + if padding > 0 { usize::from(padding) + 1 } else { 0 });
        assert_eq!(again, plain);
    }
}
