//! push.

use super::client::Secret;

/// Who may hand in documents, and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The bearer token that a sender must show (`token_file` or `token_env`). Several lines are several tokens, any of
    /// which will do, so that a token can be changed without a gap. Read again for every request. No default: without
    /// a token nobody may push. Example: `/run/secrets/bornright-push`.
    pub token: Secret,
    /// Bytes of one document as sent. Default 256 MiB ([`MAX_BYTES`]).
    pub max_bytes: u64,
}

/// The default of [`Config::max_bytes`]: a Prowler report of 100 000 findings has about 200 MB.
pub const MAX_BYTES: u64 = 256 << 20;
