//! Reads what we do not know, by the operator's mapping (JSON, NDJSON, CSV by header).

use super::{Context, FormatError, Sink};
use crate::domain::RunOutcome;
use std::io::BufRead;

/// A compiled mapping.
#[derive(Clone, Debug)]
pub struct Mapping {}

/// Reads one document by `mapping`; see [`super::read`].
pub(super) fn read(
    _mapping: &Mapping,
    _input: &mut dyn BufRead,
    ctx: &Context<'_>,
    _sink: &mut dyn Sink,
) -> Result<RunOutcome, FormatError> {
    Err(FormatError::wrong(ctx, "jsonpath cannot be read yet"))
}
