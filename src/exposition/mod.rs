//! Prometheus text, OpenMetrics and JSON from a snapshot.

pub mod names;
