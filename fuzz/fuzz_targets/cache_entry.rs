#![no_main]

#[path = "../cases/cache_entry.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|input: &[u8]| case::check(input));
