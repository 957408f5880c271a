#![no_main]

#[path = "../cases/cache_keys.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|input: case::Input| case::check(&input));
