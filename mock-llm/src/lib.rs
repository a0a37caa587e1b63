//! An LLM API that streams, and misbehaves on request.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mock_llm::{MockLlm, Settings};
//!
//! let mock = MockLlm::start(Settings { chunk_count: 3, ..Settings::default() }).await?;
//! // … a client sends requests to mock.base_url() …
//! assert!(mock.until(|mock| mock.cancelled() == 1).await);
//! assert_eq!(mock.requests()[0].json()["stream"], true);
//!
//! // One that behaves badly, whatever it is asked.
//! let bad = MockLlm::start(Settings { faults: "chunks:5,abort:3".parse()?, ..Settings::default() }).await?;
//! # Ok(())
//! # }
//! ```
//!
//! HTTP/1.1 and HTTP/2 on the same port; HTTP/2 with prior knowledge, or by ALPN with TLS. By the end of the path:
//!
//! | path | dialect |
//! |---|---|
//! | `/chat/completions` | OpenAI Chat Completions |
//! | `/responses` | OpenAI Responses |
//! | `/messages` | Anthropic Messages |
//! | `/events` | plain events: comments, ids, names, two lines of data, `retry`; GET or POST |
//! | `/models` | a list of one model |
//!
//! As with the vendors, `"stream":true` has to be said; otherwise the answer is JSON. The answer is numbered words of 8
//! bytes. Usage says 9 tokens in, and as many out as there are content events.
//!
//! A connection's peer that does what no library's server does is in [`frames`].
//!
//! # Patterns
//!
#![doc = include_str!("../patterns.md")]
#![forbid(unsafe_code)]

mod answer;
mod certificate;
mod connection;
mod dialect;
mod faults;
pub mod frames;
mod gzip;
mod plan;
mod server;
mod settings;
mod state;
mod stream;
mod text;
mod waiting;

pub use faults::{Faults, UnknownPattern};
pub use server::MockLlm;
pub use settings::Settings;
pub use state::RecordedRequest;
