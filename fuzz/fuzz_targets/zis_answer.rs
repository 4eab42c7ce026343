//! Fuzzes the reader of ZIS listings.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| connections_exporter::fuzzing::zis_answer(data));
