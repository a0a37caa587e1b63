//! An LLM API that streams, and misbehaves on request.
#![forbid(unsafe_code)]
