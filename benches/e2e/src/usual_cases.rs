//! The cases of the usual stack, for benches/stack.rs to call.

use support::Bench;
use wire::{Exchanges, USUAL, WORKLOADS};

mod app;
mod on_axum;
#[expect(dead_code, reason = "what compares and prints is for the other program")]
#[path = "../../support/mod.rs"]
mod support;
mod usual_stack;
#[path = "../../support/wire.rs"]
mod wire;

fn main() {
    let bench = Bench::from_args();
    for workload in &WORKLOADS {
        bench.group(workload.title).case(USUAL, || Exchanges::new(workload, usual_stack::usual));
    }
    panic!("there is no such case");
}
