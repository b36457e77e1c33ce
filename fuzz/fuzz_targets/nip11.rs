//! See `grasp_sync_fuzz::nip11`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| grasp_sync_fuzz::nip11(data));
