use std::task::Poll;

use bytes::Bytes;
use proptest::prelude::*;

use super::harness::{
    ENCODINGS, accepting, assert_cut, decode, drain, encoding_of, every, header, html, respond,
    script,
};
use crate::support::{BoxError, Step, poll_frame, prose, trailers};

/// The end of a body.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    End,
    Trailers,
    Error,
    /// The client leaves after that many polls.
    Drop(usize),
}

fn frames() -> impl Strategy<Value = Vec<Option<Bytes>>> {
    let shrinks = (0..20_000_usize, any::<u64>()).prop_map(|(len, seed)| prose(len, seed));
    let random = prop::collection::vec(any::<u8>(), 0..10_000).prop_map(Bytes::from);
    let small = prop::collection::vec(any::<u8>(), 0..3).prop_map(Bytes::from);
    let frame = prop_oneof![
        2 => Just(None),
        2 => shrinks.prop_map(Some),
        1 => random.prop_map(Some),
        2 => small.prop_map(Some),
        1 => Just(Some(Bytes::new())),
    ];
    prop::collection::vec(frame, 0..12)
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        3 => Just(Ending::End),
        1 => Just(Ending::Trailers),
        2 => Just(Ending::Error),
        2 => (0..12_usize).prop_map(Ending::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn output_decodes_to_the_input(
        frames in frames(),
        ending in ending(),
        encoding in 0..ENCODINGS.len(),
        exact in any::<bool>(),
        tells_end in any::<bool>(),
        libdeflate in any::<bool>(),
    ) {
        let layer = if libdeflate { every().libdeflate() } else { every() };
        let encoding = ENCODINGS[encoding];
        let fed = frames.iter().flatten().flatten().copied().collect::<Vec<_>>();
        let frames = frames.into_iter().map(|frame| frame.map_or(Step::Pending, Step::Data));
        let last = match ending {
            Ending::End => None,
            Ending::Trailers => Some(trailers()),
            Ending::Error => Some(Step::Error(BoxError::from("broken"))),
            Ending::Drop(_) => Some(Step::PendingForever),
        };
        let mut body = script(frames.chain(last), exact);
        if tells_end {
            body = body.tells_end();
        }
        let log = body.log();
        let response = respond(&layer, accepting(encoding.as_str()), html().body(body).unwrap());
        let encoded = encoding_of(&response).map(str::to_owned);
        let declared = header(&response, "content-length").map(|length| length.parse().unwrap());
        let mut body = response.into_body();
        if let Ending::Drop(polls) = ending {
            let mut bytes = Vec::new();
            for _ in 0..polls {
                if let Poll::Ready(Some(frame)) = poll_frame(&mut body) {
                    bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
                }
            }
            match encoded {
                Some(encoding) => assert_cut(&encoding, &bytes, &fed),
                None => prop_assert!(fed.starts_with(&bytes)),
            }
            return Ok(());
        }
        let drained = drain(&mut body);
        prop_assert!(!log.polled_after_end());
        prop_assert_eq!(drained.error.is_some(), ending == Ending::Error);
        prop_assert_eq!(drained.trailers.is_some(), ending == Ending::Trailers);
        let bytes = drained.bytes();
        match encoded {
            None => prop_assert!(bytes == fed, "identity"),
            Some(encoding) if ending == Ending::Error => assert_cut(&encoding, &bytes, &fed),
            Some(encoding) => {
                prop_assert!(decode(&encoding, &bytes) == fed, "{encoding}");
                prop_assert!(declared.is_none_or(|length: usize| length == bytes.len()));
            }
        }
    }
}
