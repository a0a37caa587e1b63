//! A stream is read the same however it is cut, and as the specification says.
#![no_main]

#[path = "../../sse/tests/reference/mod.rs"]
mod reference;

libfuzzer_sys::fuzz_target!(|stream: &[u8]| reference::check(stream));
