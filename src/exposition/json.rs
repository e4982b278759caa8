//! JSON views.
