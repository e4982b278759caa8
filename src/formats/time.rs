//! Instants as scanners write them.
