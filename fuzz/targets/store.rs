//! See [`cases::store`].
#![no_main]

#[path = "../cases/mod.rs"]
#[expect(dead_code, reason = "each target has one of them")]
mod cases;

libfuzzer_sys::fuzz_target!(|input: &[u8]| cases::store(input));
