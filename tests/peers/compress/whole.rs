use std::collections::VecDeque;
use std::io::Write;
use std::process::{Command, Stdio};

use bytes::{Buf, Bytes};
use http_body::Body;
use http_body_util::Full;
use tower_kit::compress::{CompressHint, CompressLayer, Encoding};

use super::harness::{
    ENCODINGS, KIB, WHOLE, accepting, compressed, decode, drain, encoding_of, every, full, get,
    header, hinted, html, read, respond, script, sent, steps,
};
use crate::support::{Step, noise, prose, trailers};

#[test]
fn whole_bodies_have_an_exact_length() {
    for encoding in ENCODINGS {
        for len in [1_024, 1_500, 10 * KIB, 100 * KIB, WHOLE] {
            let text = prose(len, 1);
            let response = html().header("content-length", len).body(full(text.clone())).unwrap();
            let response = respond(&every(), accepting(encoding.as_str()), response);
            assert_eq!(encoding_of(&response), Some(encoding.as_str()));
            assert_eq!(header(&response, "vary"), Some("accept-encoding"));
            let length: u64 = header(&response, "content-length").unwrap().parse().unwrap();
            assert_eq!(response.body().size_hint().exact(), Some(length));
            assert!(length < len as u64 * 2 / 3, "{encoding:?}: {length} of {len}");
            let mut body = response.into_body();
            assert!(!body.is_end_stream());
            let drained = drain(&mut body);
            assert_eq!((drained.frames.len(), drained.frames[0].len() as u64), (1, length));
            assert_eq!(body.size_hint().exact(), Some(0));
            assert_eq!(decode(encoding.as_str(), &drained.bytes()), text, "{encoding:?} {len}");
        }
    }
}

#[test]
fn command_line_programs_decode_the_body() {
    for (encoding, program) in
        [(Encoding::Gzip, "gzip"), (Encoding::Brotli, "brotli"), (Encoding::Zstd, "zstd")]
    {
        for len in [2 * KIB, WHOLE, WHOLE + 1] {
            let text = prose(len, 2);
            let encoded = drain(&mut compressed(encoding, full(text.clone())).into_body()).bytes();
            let mut process = Command::new(program);
            let process = process.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            let Ok(mut process) = process else {
                eprintln!("NOT TESTED: there is no program `{program}` here to decode with");
                continue;
            };
            let mut stdin = process.stdin.take().unwrap();
            let writer = std::thread::spawn(move || stdin.write_all(&encoded).unwrap());
            let output = process.wait_with_output().unwrap();
            writer.join().unwrap();
            assert!(output.status.success(), "{program} {len}");
            assert!(output.stdout == text, "{program} {len}");
        }
    }
}

#[test]
fn all_levels_decode() {
    let text = prose(20 * KIB, 3);
    for (encoding, levels) in [
        (Encoding::Gzip, 1..=9),
        (Encoding::Deflate, 1..=9),
        (Encoding::Brotli, 0..=11),
        (Encoding::Zstd, 1..=22),
    ] {
        for level in levels.clone() {
            let layer = every().level(encoding, level).unwrap();
            let check = |body| {
                let request = accepting(encoding.as_str());
                let response = respond(&layer, request, html().body(body).unwrap());
                assert_eq!(encoding_of(&response), Some(encoding.as_str()));
                assert_eq!(read(response), text, "{encoding:?} {level}");
            };
            // Three times, so that the pooled codec is used again; once as a stream.
            (0..3).for_each(|_| check(script(steps([text.clone()]), true)));
            check(script(steps([text.slice(..9_000), text.slice(9_000..)]), false));
        }
        let over = *levels.end() + 1;
        let error = CompressLayer::new().level(encoding, over).unwrap_err().to_string();
        assert!(error.contains(&format!("{} has no level {over}", encoding.as_str())), "{error}");
    }
    assert!(CompressLayer::new().level(Encoding::Zstd, 0).is_err());
}

#[test]
fn gzip_has_level_6_by_default() {
    let text = prose(50 * KIB, 4);
    let length = |layer: &CompressLayer| {
        let response = respond(layer, get(), html().body(full(text.clone())).unwrap());
        response.body().size_hint().exact().unwrap()
    };
    let at = |level| length(&CompressLayer::new().level(Encoding::Gzip, level).unwrap());
    assert_eq!(length(&CompressLayer::new()), at(6));
    assert!(at(1) > at(6), "{} {}", at(1), at(6));
    let mut zlib = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    zlib.write_all(&text).unwrap();
    let zlib = zlib.finish().unwrap().len() as u64;
    assert!(at(6) <= zlib + zlib / 100, "{}, and zlib has {zlib}", at(6));
}

#[test]
fn incompressible_bodies_stay_as_they_are() {
    for encoding in ENCODINGS {
        for len in [1_024, 10_000, WHOLE] {
            let bytes = noise(len);
            let own = [
                ("content-length", len.to_string()),
                ("etag", "\"v1\"".to_owned()),
                ("accept-ranges", "bytes".to_owned()),
                ("content-digest", "sha-256=:AA==:".to_owned()),
            ];
            let mut response = html();
            for (name, value) in &own {
                response = response.header(*name, value);
            }
            let response = response.body(full(bytes.clone())).unwrap();
            let response = respond(&every(), accepting(encoding.as_str()), response);
            assert_eq!(encoding_of(&response), None, "{encoding:?} {len}");
            assert_eq!(header(&response, "vary"), Some("accept-encoding"));
            for (name, value) in &own {
                assert_eq!(header(&response, name), Some(value.as_str()));
            }
            assert_eq!(response.body().size_hint().exact(), Some(len as u64));
            assert_eq!(drain(&mut response.into_body()).frames, [bytes], "{encoding:?} {len}");
        }
    }
}

#[test]
fn ready_frames_are_one_whole_body() {
    for encoding in ENCODINGS {
        let text = prose(5_000, 5);
        for tells_end in [false, true] {
            let parts = [text.slice(..7), Bytes::new(), text.slice(7..4_000), text.slice(4_000..)];
            let mut body = script(steps(parts), true);
            if tells_end {
                body = body.tells_end();
            }
            let log = body.log();
            let response = compressed(encoding, body);
            let length = response.body().size_hint().exact().expect("an exact length");
            assert_eq!(header(&response, "content-length"), Some(length.to_string().as_str()));
            assert_eq!(read(response), text);
            assert!(!log.polled_after_end());
        }
    }
}

#[test]
fn incompressible_frames_stay_as_they_are() {
    let bytes = noise(5_000);
    let parts = [bytes.slice(..1_000), bytes.slice(1_000..4_000), bytes.slice(4_000..)];
    let body = script(steps(parts.clone()), true);
    let log = body.log();
    let response = sent(body);
    assert_eq!(encoding_of(&response), None);
    assert_eq!(response.body().size_hint().exact(), Some(5_000));
    assert_eq!(drain(&mut response.into_body()).frames, parts);
    assert!(!log.polled_after_end());
}

#[test]
fn tiny_frames_are_not_gathered() {
    let text = prose(10 * KIB, 3);
    let body = script(steps(text.chunks(1).map(Bytes::copy_from_slice)), true);
    let log = body.log();
    let response = compressed(Encoding::Gzip, body);
    assert!(log.polls() < 100, "{} frames are held", log.polls());
    assert_eq!(header(&response, "content-length"), None);
    assert_eq!(read(response), text);
}

#[test]
fn sizes_over_128_kib_are_streams() {
    for (len, whole) in [(3_000, true), (WHOLE, true), (WHOLE + 1, false)] {
        let text = prose(len, 7);
        // The declared length is the only size.
        let body = script(steps([text.clone()]), false);
        let response = html().header("content-length", len).body(body).unwrap();
        let response = respond(&CompressLayer::new(), get(), response);
        assert_eq!(encoding_of(&response), Some("gzip"));
        assert_eq!(header(&response, "content-length").is_some(), whole);
        assert_eq!(response.body().size_hint().exact().is_some(), whole);
        assert_eq!(read(response), text);
    }
}

#[test]
fn a_pause_makes_a_stream() {
    for encoding in ENCODINGS {
        let text = prose(5_000, 9);
        for at in [0, 1, 2_500, 5_000] {
            let parts = [Step::Data(text.slice(..at)), Step::Pending, Step::Data(text.slice(at..))];
            let body = script(parts, true);
            let log = body.log();
            let response = compressed(encoding, body);
            assert_eq!(header(&response, "content-length"), None, "{at}");
            assert_eq!(read(response), text);
            assert!(!log.polled_after_end());
        }
    }
}

#[test]
fn trailers_follow_the_data() {
    let text = prose(5_000, 8);
    for exact in [false, true] {
        for pending in [false, true] {
            let all = || {
                let pause = pending.then_some(Step::Pending);
                let data = steps([text.slice(..2_000), text.slice(2_000..)]);
                data.into_iter().chain(pause).chain([trailers()])
            };
            for encoding in ENCODINGS {
                let body = script(all(), exact);
                let log = body.log();
                let drained = drain(&mut compressed(encoding, body).into_body());
                assert_eq!(decode(encoding.as_str(), &drained.bytes()), text);
                assert_eq!(drained.trailers.expect("the trailers")["x-sum"], "1");
                assert!(!log.polled_after_end());
            }
            // They also follow a body that is left alone.
            let image = http::Response::builder().header("content-type", "image/png");
            let image = image.body(script(all(), exact)).unwrap();
            let drained = drain(&mut respond(&every(), get(), image).into_body());
            assert_eq!(drained.bytes(), text);
            assert!(drained.trailers.is_some());
        }
    }
}

/// Data in several chunks, as proxies have it.
#[derive(Debug)]
struct Chunks(VecDeque<Bytes>);

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.iter().find(|piece| !piece.is_empty()).map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let first = self.0.front_mut().expect("enough bytes");
            let some = count.min(first.len());
            first.advance(some);
            count -= some;
            if first.is_empty() {
                self.0.pop_front();
            }
        }
    }
}

impl From<Bytes> for Chunks {
    fn from(bytes: Bytes) -> Self {
        Self([bytes].into())
    }
}

#[test]
fn frames_in_chunks_are_compressed_whole() {
    for encoding in ENCODINGS {
        for len in [1_024, 5_000, 300 * KIB] {
            let text = prose(len, 10);
            let pieces = [text.slice(..10), Bytes::new(), text.slice(10..900), text.slice(900..)];
            let response = compressed(encoding, Full::new(Chunks(pieces.into())));
            assert_eq!(read(response), text, "{encoding:?} {len}");
        }
    }
    let bytes = noise(3_000);
    let response = sent(Full::new(Chunks([bytes.slice(..9), bytes.slice(9..)].into())));
    assert_eq!(read(response), bytes);
}

const BY_LIBDEFLATE: [Encoding; 2] = [Encoding::Gzip, Encoding::Deflate];

#[test]
fn libdeflate_bodies_have_an_exact_length() {
    for encoding in BY_LIBDEFLATE {
        for level in 1..=9 {
            let layer = every().level(encoding, level).unwrap().libdeflate();
            for len in [0, 1, 2, 100, 1_023, 1_024, 1_025, 10 * KIB, 50_001, WHOLE - 1, WHOLE] {
                let text = prose(len, level.into());
                let response = html().header("content-length", len);
                let response = hinted(CompressHint::force(), response, text.clone());
                let response = respond(&layer, accepting(encoding.as_str()), response);
                let shrinks = len >= 100;
                assert_eq!(encoding_of(&response), shrinks.then_some(encoding.as_str()), "{len}");
                let length = response.body().size_hint().exact().expect("an exact length");
                assert_eq!(header(&response, "content-length"), Some(length.to_string().as_str()));
                assert!(!shrinks || length < len as u64, "{encoding:?} {level}: {length} of {len}");
                assert_eq!(read(response), text, "{encoding:?} {level} {len}");
            }
        }
    }
}

#[test]
fn libdeflate_compresses_whole_bodies_only() {
    let text = prose(20_000, 70);
    let parts = [text.slice(..7), Bytes::new(), text.slice(7..9_000), text.slice(9_000..)];
    let bytes = |layer: &CompressLayer, encoding: Encoding, exact: bool| {
        let response = html().body(script(steps(parts.clone()), exact)).unwrap();
        let response = respond(layer, accepting(encoding.as_str()), response);
        assert_eq!(encoding_of(&response), Some(encoding.as_str()));
        assert_eq!(header(&response, "content-length").is_some(), exact);
        drain(&mut response.into_body()).bytes()
    };
    for encoding in ENCODINGS {
        // In turns, so that each could find the codec of the other in the pool.
        for exact in [true, false, true, false] {
            let usual = bytes(&every(), encoding, exact);
            let other = bytes(&every().libdeflate(), encoding, exact);
            let differs = exact && BY_LIBDEFLATE.contains(&encoding);
            assert_eq!(usual != other, differs, "{encoding:?} {exact}");
            assert_eq!(decode(encoding.as_str(), &other), text);
        }
    }
}

#[test]
fn libdeflate_leaves_incompressible_bodies() {
    let layer = every().libdeflate();
    for encoding in BY_LIBDEFLATE {
        for len in [1_024, 10_000, WHOLE] {
            let bytes = noise(len);
            let parts = [bytes.slice(..1_000), bytes.slice(1_000..)];
            let response = html().body(script(steps(parts.clone()), true)).unwrap();
            let response = respond(&layer, accepting(encoding.as_str()), response);
            assert_eq!(encoding_of(&response), None, "{encoding:?} {len}");
            assert_eq!(drain(&mut response.into_body()).frames, parts);
        }
        for len in [1, 7, 1_024, WHOLE] {
            let request = accepting(&format!("{}, identity;q=0", encoding.as_str()));
            let response = respond(&layer, request, html().body(full(noise(len))).unwrap());
            assert_eq!(encoding_of(&response), Some(encoding.as_str()), "{len}");
            let length = response.body().size_hint().exact().unwrap();
            assert!(length > len as u64, "{length} of {len}");
            assert_eq!(read(response), noise(len));
        }
    }
}
