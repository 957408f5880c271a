#![no_main]

#[path = "../cases/stack_heads.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|input: case::Input<'_>| case::check(&input));
