//! Fuzzes the parser of `Retry-After`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| connections_exporter::fuzzing::retry_after_value(data));
