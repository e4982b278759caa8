//! Defender for Cloud regulatory compliance.

use super::{Context, FormatError, Sink};
use crate::domain::RunOutcome;
use std::io::BufRead;

/// Reads one document; see [`super::read`].
pub(super) fn read(_input: &mut dyn BufRead, ctx: &Context<'_>, _sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    Err(FormatError::wrong(ctx, "azure_regulatory cannot be read yet"))
}
