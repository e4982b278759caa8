//! OCSF 1.x: Prowler (v3 native JSON, v4 and v5 class 2004) and class 2003 as Security Hub V2 sends it.

use super::{Context, FormatError, Sink};
use crate::domain::RunOutcome;
use std::io::BufRead;

/// Reads one document; see [`super::read`].
pub(super) fn read(_input: &mut dyn BufRead, ctx: &Context<'_>, _sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    Err(FormatError::wrong(ctx, "ocsf cannot be read yet"))
}
