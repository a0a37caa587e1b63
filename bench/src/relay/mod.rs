//! Measuring what relaying costs: a mock API behind the daemon, and in front of it clients of one thread.
//!
//! [`mock`] and [`daemon`] start the processes, [`load`] asks, and each of [`paced`], [`burst`] … measures one thing
//! and returns a [`section`], of which the report and the [`plot`] are made.

pub mod burst;
pub mod calls;
pub mod daemon;
pub mod first;
pub mod instead;
pub mod load;
pub mod many;
pub mod mock;
pub mod options;
pub mod paced;
pub mod plot;
pub mod samples;
pub mod section;
