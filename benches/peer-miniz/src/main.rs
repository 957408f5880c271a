//! The cases of tower-http's layer on flate2's default backend, for benches/compress.rs to call.

use std::env;

use tower_http::compression::CompressionLayer;

use answers::{Answer, Held, Longest, ON_MINIZ, Requests, Turns, is_eligible, size};
use support::Bench;

#[path = "../../support/answers.rs"]
mod answers;
#[expect(dead_code, reason = "what compares and prints is for the other program")]
#[path = "../../support/mod.rs"]
mod support;

fn main() {
    let layer = CompressionLayer::new;
    if env::args().any(|arg| arg == "--sizes") {
        for answer in Answer::all().into_iter().filter(is_eligible) {
            println!("{} {}", size(answer, layer()), answer.title);
        }
        return;
    }
    let bench = Bench::from_args();
    for answer in Answer::all() {
        bench.group(answer.title).case(ON_MINIZ, || Requests::new(answer, layer()));
    }
    let turns = Answer::turns();
    bench.group(turns[0].title).case(ON_MINIZ, || Turns::new(turns, layer()));
    let held = Answer::held();
    bench.group(held.title).case(ON_MINIZ, || Held::new(held, layer()));
    let huge = Answer::huge();
    bench.group(huge.title).case(ON_MINIZ, || Longest::new(huge, layer()));
    panic!("there is no such case");
}
