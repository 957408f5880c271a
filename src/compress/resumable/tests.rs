use std::io::Read;

use proptest::prelude::*;

use super::*;

/// Encodes pieces; each says whether the stream pauses after it.
fn encode(encoding: Encoding, level: u32, pieces: &[(Vec<u8>, bool)], room: usize) -> Vec<u8> {
    let mut stream = Resumable::new(encoding, level, 0).unwrap();
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

fn decode(encoding: Encoding, mut bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let read = if encoding == Encoding::Gzip {
        flate2::bufread::GzDecoder::new(&mut bytes).read_to_end(&mut decoded)
    } else {
        flate2::bufread::ZlibDecoder::new(&mut bytes).read_to_end(&mut decoded)
    };
    read.unwrap();
    assert!(bytes.is_empty(), "bytes after the end");
    decoded
}

#[test]
fn paused_streams_refer_to_sent_data() {
    let event = b"event: price\ndata: {\"symbol\":\"ACME\",\"price\":12.5,\"volume\":1000}\n\n";
    let alone = encode(Encoding::Gzip, 6, &[(event.to_vec(), true)], 1000).len();
    let pieces = vec![(event.to_vec(), true); 100];
    let all = encode(Encoding::Gzip, 6, &pieces, 1000);
    assert!(all.len() < 100 * alone / 4, "{} bytes, and {alone} for the first", all.len());
}

#[test]
fn streams_without_data_are_complete() {
    for encoding in [Encoding::Gzip, Encoding::Deflate] {
        for pieces in [vec![], vec![(vec![], true)], vec![(vec![], false)]] {
            assert_eq!(decode(encoding, &encode(encoding, 6, &pieces, 64)), b"");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]
    #[test]
    fn paused_streams_leak_nothing(
        pieces in prop::collection::vec((prop::collection::vec(0..4_u8, 0..3_000), any::<bool>()), 0..6),
        word in prop::collection::vec(any::<u8>(), 1..200),
        words in 0..600_usize,
        room in 32..400_usize,
        level in 1..=9_u32,
    ) {
        let text: Vec<u8> = pieces.iter().flat_map(|(piece, _)| piece.clone()).collect();
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            // A new thread has an empty pool.
            let fresh = std::thread::scope(|scope| {
                scope.spawn(|| encode(encoding, level, &pieces, room)).join().unwrap()
            });
            prop_assert_eq!(decode(encoding, &fresh), text.clone());
            // After other streams, a whole and an abandoned one.
            encode(encoding, level, &[(word.repeat(words), false)], 1_000);
            let mut abandoned = Resumable::new(encoding, level, 0).unwrap();
            abandoned
                .encode(&mut &word.repeat(words)[..], &mut Vec::with_capacity(99_999), Op::Process)
                .unwrap();
            drop(abandoned);
            prop_assert_eq!(encode(encoding, level, &pieces, room), fresh);
        }
    }
}
