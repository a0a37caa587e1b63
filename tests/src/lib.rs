//! The harness of the end-to-end tests and of the demo: everything real, everything private, nothing left behind.
//!
//! ```no_run
//! use e2e::{Apache, Client, Mpm, Receiver};
//!
//! let apache = Apache::builder(Mpm::Event)
//!     .php_fpm(2)
//!     .file("go.php", "<?php header('X-Socket-Handoff: '.$_GET['to']); header('X-Handoff-Data: hello');")
//!     .start();
//! let daemon = Receiver::bind(apache.socket_path("daemon.sock"));
//! let mut client = Client::connect(apache.addr());
//! client.get(&format!("/go.php?to={}", daemon.path().display()));
//! let handoff = daemon.receive();
//! assert_eq!(handoff.data, b"hello");
//! handoff.respond("data: hi\n\n");
//! assert_eq!(client.read_response().text(), "data: hi\n\n");
//! ```
//!
//! Servers listen on 127.0.0.1 or on Unix sockets in a temporary directory, run with that directory as their root, and
//! end with the value that started them, also when a test panics or is interrupted.
#![forbid(unsafe_code)]

mod apache;
mod browser;
mod client;
mod daemon;
mod demo;
pub mod faults;
mod load;
mod mpm;
mod offers;
mod php;
mod process;
mod random;
mod receiver;
mod sandbox;
mod sse;
mod wait;

pub use apache::{Apache, Builder};
pub use browser::{Report, browse, uri_component};
pub use client::{Client, Ending, Head, Response};
pub use daemon::Daemon;
pub use demo::Demo;
pub use load::{Load, Outcome, Request, Requests, tokens};
pub use mpm::Mpm;
pub use offers::{Offered, Offers, ServingOffers, Taken};
pub use php::PhpFpm;
pub use process::{Server, cpu_ticks, kill, open_files};
pub use random::Random;
pub use receiver::{HungReceiver, Received, Receiver, Serving};
pub use sandbox::{Sandbox, build_dir};
pub use sse::{Event, events};
pub use wait::{PATIENCE, wait_until};

/// The types of Unix sockets that a daemon may have.
pub use handoff_protocol::SocketType;
/// What a daemon of protocol 2 can answer.
pub use handoff_protocol::v2::Answer;
