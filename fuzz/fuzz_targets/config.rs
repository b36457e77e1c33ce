//! See `grasp_sync_fuzz::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grasp_sync_fuzz::config(data));
