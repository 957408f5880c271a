#![no_main]

#[path = "../cases/config_texts.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|input: &str| case::check(input));
