//! Long runs, which `scripts/soak` and `scripts/scale` start: minutes of mixed traffic against every
//! layer, while Redis dies and comes back, and the numbers that the documentation promises, at the
//! size that it promises them for.
//!
//! A program of its own, and no test among the others: it takes minutes, and arguments.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what cannot go on fails")]

use std::env;

#[expect(dead_code, reason = "shared with the other tests")]
#[path = "../it/program.rs"]
mod program;
#[expect(dead_code, reason = "shared with the other tests")]
#[path = "../it/redis_server.rs"]
mod redis_server;
#[expect(dead_code, reason = "shared with the other tests")]
#[path = "../it/support.rs"]
mod support;

mod chance;
mod chaos;
mod day;
mod run;
mod scale;
mod serve;
mod tally;
mod text;
mod traffic;
mod world;

fn main() {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let seed = |text: &str| text.parse().expect("the seed is a number");
    match args[..] {
        ["serve"] => serve::serve(),
        ["soak", minutes] => run::soak(minutes.parse().expect("minutes"), chance::seed()),
        ["soak", minutes, given] => run::soak(minutes.parse().expect("minutes"), seed(given)),
        ["scale", "urls"] => scale::urls(),
        ["scale", "urls", kind] => scale::answers(kind),
        ["scale", "connections"] => scale::connections(),
        ["scale", "day"] => day::day(chance::seed()),
        ["scale", "day", given] => day::day(seed(given)),
        _ => panic!("soak MINUTES [SEED], or scale urls, connections or day [SEED]"),
    }
}
