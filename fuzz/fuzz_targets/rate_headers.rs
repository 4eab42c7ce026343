//! Fuzzes the parser of quota headers.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| connections_exporter::fuzzing::rate_headers(data));
