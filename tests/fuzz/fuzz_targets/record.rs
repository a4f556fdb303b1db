//! See `plimsoll_fuzz::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| plimsoll_fuzz::record(data));
