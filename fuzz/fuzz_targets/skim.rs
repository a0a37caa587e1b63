//! What serde_json reads is read the same.
#![no_main]

#[path = "../../skim/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|text: &[u8]| oracle::check(text));
