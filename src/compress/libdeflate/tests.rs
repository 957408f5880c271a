use std::io::Read;

use flate2::bufread::{GzDecoder, ZlibDecoder};
use proptest::prelude::*;

use super::super::codec::tests::check_padding;
use super::*;

fn new(gzip: bool, level: u32) -> Libdeflate {
    Libdeflate::new(gzip, level).unwrap()
}

/// Encodes into a buffer of `room` bytes. Returns `None` if the output does not fit.
fn encode(codec: &mut Libdeflate, pieces: &[Vec<u8>], room: usize) -> Option<Vec<u8>> {
    let mut output = Vec::with_capacity(room);
    for piece in pieces {
        let mut input = &piece[..];
        assert!(codec.encode(&mut input, &mut output, Op::Process).unwrap());
        assert!(input.is_empty());
    }
    codec.encode(&mut &[][..], &mut output, Op::Finish).unwrap().then_some(output)
}

fn decode(gzip: bool, mut bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let read = if gzip {
        GzDecoder::new(&mut bytes).read_to_end(&mut decoded)
    } else {
        ZlibDecoder::new(&mut bytes).read_to_end(&mut decoded)
    };
    read.unwrap();
    assert!(bytes.is_empty(), "bytes after the end");
    decoded
}

#[test]
fn flush_and_unknown_levels_are_errors() {
    assert!(new(true, 6).encode(&mut &[][..], &mut Vec::new(), Op::Flush).is_err());
    assert!(Libdeflate::new(true, 13).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn padding_is_skipped_by_decoders(padding in any::<u8>()) {
        check_padding(&GZIP, |bytes| decode(true, bytes), padding);
    }

    #[test]
    fn used_codecs_equal_new_ones(
        pieces in prop::collection::vec(prop::collection::vec(0..4_u8, 0..3_000), 0..5),
        random in prop::collection::vec(any::<u8>(), 0..3_000),
        word in prop::collection::vec(any::<u8>(), 1..200),
        words in 0..600_usize,
        room in 0..3_000_usize,
        level in 1..=9_u32,
    ) {
        for pieces in [pieces, vec![random]] {
            for gzip in [true, false] {
                let text = pieces.concat();
                let enough = 2 * text.len() + 1_024;
                let fresh = encode(&mut new(gzip, level), &pieces, enough).unwrap();
                prop_assert_eq!(decode(gzip, &fresh), text);

                // The earlier body fitted, or did not, or was not ended.
                let mut codec = new(gzip, level);
                for room in [200_000, room, 0] {
                    let mut output = Vec::with_capacity(room);
                    codec.encode(&mut &word.repeat(words)[..], &mut output, Op::Process).unwrap();
                    if room > 0 {
                        codec.encode(&mut &[][..], &mut output, Op::Finish).unwrap();
                    }
                    prop_assert!(codec.reset() && codec.prepare(0, Some(fresh.len())));
                    prop_assert_eq!(encode(&mut codec, &pieces, enough).unwrap(), fresh.clone());
                    prop_assert!(codec.reset());
                }

                // A buffer of another size gets the same output, or nothing.
                let fits = encode(&mut codec, &pieces, room);
                prop_assert_eq!(fits, (room >= fresh.len()).then_some(fresh));
            }
        }
    }
}
