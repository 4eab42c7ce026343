//! Fuzzes the parser of the configuration file.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| connections_exporter::fuzzing::configuration(data));
