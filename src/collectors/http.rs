//! http.

/// Its configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {}
