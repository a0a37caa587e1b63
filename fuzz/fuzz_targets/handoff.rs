//! Messages of protocol 2 are read or refused.
#![no_main]

#[path = "../../protocol/tests/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oracle::check(bytes));
