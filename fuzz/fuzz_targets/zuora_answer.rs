//! Fuzzes the reader of Zuora listings.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| connections_exporter::fuzzing::zuora_answer(data));
