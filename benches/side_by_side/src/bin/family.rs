//! The yardstick for rendering: prometheus-client's `Family` with labels of strings, as its manual shows it.
//!
//! ```text
//! family SERIES ROUNDS
//! ```
//!
//! Prints the milliseconds of one encoding (minimum and median; one thread that waits for nothing), and the body's size.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::time::Instant;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    control: String,
    scope: String,
    state: String,
}

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<usize>().unwrap_or(1));
    let (series, rounds) = (args.next().unwrap_or(100_000), args.next().unwrap_or(7));
    let family = Family::<Labels, Gauge>::default();
    for i in 0..series {
        let state = ["compliant", "non_compliant", "unknown", "waived"][i % 4].to_owned();
        let labels = Labels {
            control: format!("service-resource-setting-{:03}-is-as-required", i / 4 % 300),
            scope: format!("{:012}", i / 1200),
            state,
        };
        family.get_or_create_owned(&labels).set(i as i64);
    }
    let mut registry = Registry::default();
    registry.register("compliance_resources", "Resources by state", family);
    let mut took = Vec::new();
    let mut body = String::new();
    for _ in 0..rounds {
        body.clear();
        let began = Instant::now();
        encode(&mut body, &registry).expect("a String takes everything");
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    println!("{{\"series\":{series},\"bytes\":{},\"min_ms\":{:.2},\"median_ms\":{:.2}}}", body.len(), took[0], took[took.len() / 2]);
}
