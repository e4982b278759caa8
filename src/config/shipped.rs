//! The definitions that ship with the program, as they stand in `slo-definitions/`.

/// (path, text) of every shipped file, sorted by path. A test compares the list with the directory.
pub fn shipped() -> &'static [(&'static str, &'static str)] {
    &[]
}
