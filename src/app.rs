//! The composition root: configuration in, running tasks out. The only file that sees every room.

mod gate;
pub(crate) mod pipeline;
