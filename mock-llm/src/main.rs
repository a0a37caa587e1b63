//! `mock-llm`: see `--help`.
#![forbid(unsafe_code)]

fn main() {}
