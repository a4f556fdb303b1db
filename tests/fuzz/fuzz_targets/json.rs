//! See `plimsoll_fuzz::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| plimsoll_fuzz::json(data));
