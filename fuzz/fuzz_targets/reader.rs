//! One target a format: each `[[bin]]` of Cargo.toml is this file, and its name says which reader it feeds.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| bornright_fuzz::check(env!("CARGO_BIN_NAME"), input));
