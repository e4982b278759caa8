//! Cloud Custodian policy output (violations only).

use super::{Context, FormatError, Sink};
use crate::domain::RunOutcome;
use std::io::{BufRead, Read};

/// Reads one document; see [`super::read`].
pub(super) fn read(_input: &mut dyn BufRead, ctx: &Context<'_>, _sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    Err(FormatError::wrong(ctx, "cloud_custodian cannot be read yet"))
}

/// One document of what a policy left in its directory: `{"metadata": …, "resources": … or null}`.
pub fn envelope(metadata: impl Read, resources: Option<impl Read>) -> impl Read {
    let (begin, resources) = match resources {
        Some(resources) => ("", Some(resources)),
        None => ("null", None),
    };
    (&b"{\"metadata\":"[..])
        .chain(metadata)
        .chain(&b",\"resources\":"[..])
        .chain(begin.as_bytes())
        .chain(OrNothing(resources))
        .chain(&b"}"[..])
}

struct OrNothing<R>(Option<R>);

impl<R: Read> Read for OrNothing<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.as_mut().map_or(Ok(0), |r| r.read(buf))
    }
}
