use std::io::Read;

use flate2::read::{GzDecoder, ZlibDecoder};
use proptest::prelude::*;

use super::super::codec::tests::{check_full_outputs, check_padding, check_reset, story};
use super::*;

fn read(mut decoder: impl Read) -> Vec<u8> {
    let mut decoded = Vec::new();
    decoder.read_to_end(&mut decoded).unwrap();
    decoded
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    read(GzDecoder::new(bytes))
}

fn inflate(bytes: &[u8]) -> Vec<u8> {
    read(ZlibDecoder::new(bytes))
}

#[test]
fn codecs_survive_full_outputs() {
    check_full_outputs(&GZIP);
    check_full_outputs(&ZLIB);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn used_codecs_equal_new_ones(story in story()) {
        check_reset(&GZIP, gunzip, &story);
        check_reset(&ZLIB, inflate, &story);
    }

    #[test]
    fn padding_is_skipped_by_decoders(padding in any::<u8>()) {
        check_padding(&GZIP, gunzip, padding);
    }
}
