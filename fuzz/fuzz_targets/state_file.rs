//! Fuzzes the reader of state files.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| connections_exporter::fuzzing::state_file(data));
