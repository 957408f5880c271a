#![no_main]

#[path = "../cases/compress_dictionaries.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|input: case::Input| case::check(&input));
