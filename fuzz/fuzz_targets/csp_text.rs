#![no_main]

#[path = "../cases/csp_text.rs"]
mod case;

libfuzzer_sys::fuzz_target!(|input: &str| case::check(input));
