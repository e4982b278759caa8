//! The composition root: configuration in, running tasks out. The only file that sees every room.

mod demo;
mod gate;
pub(crate) mod load;
pub(crate) mod pipeline;
pub(crate) mod verdict;
mod writer;
