//! See `grasp_sync_fuzz::filters`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grasp_sync_fuzz::filters(data));
