//! An LLM API that streams, and misbehaves on request.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use mock_llm::{MockLlm, Settings};
//!
//! let mock = MockLlm::start(Settings { chunk_count: 3, ..Settings::default() }).await?;
//! println!("{}/chat/completions", mock.base_url());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod answer;
mod certificate;
mod connection;
mod dialect;
mod faults;
pub mod frames;
mod server;
mod settings;
mod state;
mod waiting;

pub use faults::Faults;
pub use server::MockLlm;
pub use settings::Settings;
pub use state::RecordedRequest;
