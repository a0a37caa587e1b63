//! The ways to misbehave, and how they are asked for.

/// What an answer is to be like, instead of well-behaved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {}
