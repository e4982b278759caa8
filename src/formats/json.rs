//! JSON as scanners write it: one array, indented or not; one value a line; pages one after another.
