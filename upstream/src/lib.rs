//! Connections to HTTP APIs whose answers are long streams.
#![forbid(unsafe_code)]
