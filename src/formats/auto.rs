//! Recognises a document by its shape.

use super::{Context, FormatError, Sink};
use crate::domain::RunOutcome;
use std::io::BufRead;

/// Recognises the document, says so with a `tracing` event, and reads it.
pub(super) fn read(_input: &mut dyn BufRead, ctx: &Context<'_>, _sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    Err(FormatError::wrong(ctx, "no known format has this shape"))
}
