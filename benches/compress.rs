//! The cost of `compress`, compared with a bare service and with the peer that compresses too: with
//! the codec that both share here, with the default codec of the peer, and for whole bodies with
//! libdeflate.

use std::io::{self, Write};
use std::sync::LazyLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tower::layer::util::Identity;
use tower_http::compression::CompressionLayer;
use tower_kit::CompressLayer;

use answers::{Answer, Held, Longest, ON_MINIZ, Requests, Turns, is_eligible, size};
use peer::Package;
use support::{Bench, Cost, Costs, Group, bar, versioned};

#[path = "support/answers.rs"]
mod answers;
#[path = "support/peer.rs"]
mod peer;
mod support;

fn main() {
    let bench = Bench::from_args();
    let answers = Answer::all();
    let costs: Vec<_> = answers.iter().map(|answer| compare(&bench, *answer)).collect();
    let turns = Answer::turns();
    let mut group = bench.group(turns[0].title);
    group.case("bare", || Turns::new(turns, Identity::new()));
    group.case(kit(), || Turns::new(turns, CompressLayer::new()));
    group.case(ON_ZLIB_RS, || Turns::new(turns, CompressionLayer::new()));
    with_peer(&mut group, turns[0]);
    let in_turns = group.run();
    let held = Answer::held();
    let mut group = bench.group(held.title);
    group.case("bare", || Held::new(held, Identity::new()));
    group.case(kit(), || Held::new(held, CompressLayer::new()));
    group.case(ON_ZLIB_RS, || Held::new(held, CompressionLayer::new()));
    with_peer(&mut group, held);
    let held = group.run();
    let huge = Answer::huge();
    let mut group = bench.group(huge.title);
    group.case("bare", || Longest::new(huge, Identity::new()));
    group.case(kit(), || Longest::new(huge, CompressLayer::new()));
    group.case(ON_ZLIB_RS, || Longest::new(huge, CompressionLayer::new()));
    with_peer(&mut group, huge);
    let longest = group.run();

    let sizes = sizes(&answers);
    for (name, most) in BARS_OF_TIME {
        let Some(at) = answers.iter().position(|answer| answer.title == *name) else {
            panic!("there is no answer {name:?}");
        };
        let percent = |ours: &str| percent(&costs[at], ours, ON_MINIZ);
        bar(&format!("time, % of {ON_MINIZ}: {name}"), percent(&kit()), *most);
        if is_whole(&answers[at]) {
            let text = format!("time, % of {ON_MINIZ}: {name}, by libdeflate");
            bar(&text, percent(&by_libdeflate()), *most);
        }
    }
    for (answer, costs) in answers.iter().zip(&costs) {
        let text = format!("time, % of {ON_ZLIB_RS}: {}", answer.title);
        bar(&text, percent(costs, &kit(), ON_ZLIB_RS), 100.0);
    }
    let text = format!("time, % of {ON_ZLIB_RS}: {}", turns[0].title);
    bar(&text, percent(&in_turns, &kit(), ON_ZLIB_RS), 100.0);
    for (title, size, alone) in &sizes {
        let percent = *size as f64 / *alone as f64 * 100.0;
        bar(&format!("size, % of flate2's own: {title}"), Some(percent), 101.0);
    }
    for (answer, costs) in answers.iter().zip(&costs) {
        let (title, net) = (answer.title, costs.net(&kit()));
        if !is_eligible(answer) {
            bar("instructions, not eligible", net.map(|net| net.instructions), 1_700.0);
            bar("allocations, not eligible", net.map(|net| net.allocations), 0.0);
        } else if is_whole(answer) {
            bar(&format!("allocations: {title}"), net.map(|net| net.allocations), 4.0);
            let out = sizes.iter().find(|(at, ..)| *at == title).map(|(_, size, _)| *size as f64);
            let beside = net.zip(out).map(|(net, out)| (net.bytes - out).max(0.0));
            bar(&format!("bytes allocated beside what is sent: {title}"), beside, 4_096.0);
        }
    }
    bar("bytes held, 10 KiB", held.net(&kit()).map(|net| net.held), 4_096.0);
    let longest = find(&longest, &kit()).map(|cost| cost.nanoseconds / 1e6);
    bar("milliseconds of the longest poll, 8 MiB", longest, 4.0);
}

/// The same requests to the bare service and to the layered ones.
fn compare(bench: &Bench, answer: Answer) -> Costs {
    let mut group = bench.group(answer.title);
    group.case("bare", || Requests::new(answer, Identity::new()));
    group.case(kit(), || Requests::new(answer, CompressLayer::new()));
    if is_whole(&answer) {
        group.case(by_libdeflate(), || Requests::new(answer, CompressLayer::new().libdeflate()));
    }
    group.case(ON_ZLIB_RS, || Requests::new(answer, CompressionLayer::new()));
    with_peer(&mut group, answer);
    group.run()
}

/// The body is compressed at once.
fn is_whole(answer: &Answer) -> bool {
    is_eligible(answer) && answer.size.is_some_and(|size| size <= WHOLE_MOST)
}

fn with_peer(group: &mut Group<'_>, answer: Answer) {
    group.case(ON_MINIZ, || PEER.serve(&format!("{}/{ON_MINIZ}", answer.title)));
}

/// Prints how large what comes out is. Gives this crate's, and that of flate2 alone.
fn sizes(answers: &[Answer]) -> Vec<(&'static str, u64, u64)> {
    let peer = PEER.print("--sizes");
    let columns = ["plain", "tower-kit", "libdeflate", "zlib-rs", "miniz", "flate2"];
    println!("{:<62}{}", "bytes", columns.map(|column| format!("{column:>11}")).concat());
    let eligible = answers.iter().filter(|answer| is_eligible(answer));
    let sizes = eligible.map(|&answer| {
        let kit = size(answer, CompressLayer::new());
        let by_libdeflate = size(answer, CompressLayer::new().libdeflate());
        let on_zlib_rs = size(answer, CompressionLayer::new());
        let lines = peer.lines().filter_map(|line| line.split_once(' '));
        let on_miniz = lines.filter(|(_, title)| *title == answer.title).map(|(size, _)| size);
        let Ok(alone) = alone(answer) else { panic!("flate2 fails") };
        let plain: usize = answer.frames.iter().map(Bytes::len).sum();
        print!("  {:<60}{plain:>11}{kit:>11}{by_libdeflate:>11}{on_zlib_rs:>11}", answer.title);
        println!("{:>11}{alone:>11}", on_miniz.collect::<String>());
        (answer.title, kit, alone)
    });
    let sizes = sizes.collect();
    println!();
    sizes
}

/// Compresses with flate2 alone.
fn alone(answer: Answer) -> io::Result<u64> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    for frame in answer.frames {
        encoder.write_all(frame)?;
        if answer.pauses {
            encoder.flush()?;
        }
    }
    Ok(encoder.finish()?.len() as u64)
}

/// The time of one beside that of a peer.
fn percent(costs: &Costs, ours: &str, peer: &str) -> Option<f64> {
    Some(find(costs, ours)?.nanoseconds / find(costs, peer)?.nanoseconds * 100.0)
}

fn find<'a>(costs: &'a Costs, name: &str) -> Option<&'a Cost> {
    costs.0.iter().find(|cost| cost.name == name)
}

fn kit() -> String {
    versioned("tower-kit")
}

fn by_libdeflate() -> String {
    format!("{}, libdeflate", kit())
}

static PEER: LazyLock<Package> = LazyLock::new(|| Package::build("peer-miniz"));

const ON_ZLIB_RS: &str = "tower-http on zlib-rs";

/// Up to this the layer compresses a body of known size at once.
const WHOLE_MOST: u64 = 128 * 1024;

/// The bar in percent of the peer's time, on its default codec.
const BARS_OF_TIME: &[(&str, f64)] = &[
    ("JSON of 1 KiB in one frame", 15.0),
    ("JSON of 10 KiB in one frame", 36.0),
    ("JSON of 100 KiB in one frame", 55.0),
    ("JSON of 1 MiB in one frame", 55.0),
    ("100 events, each flushed", 50.0),
];
