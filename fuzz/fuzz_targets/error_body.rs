//! Fuzzes the reader of a vendor's error response.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| connections_exporter::fuzzing::error_body(data));
