//! What a scrape costs: our writer beside prometheus-client's ways, in one run, in CPU time of the thread that renders.
//!
//! `cargo bench --bench scrape [-- CONTROLS SCOPES ROUNDS]`. The ways run in turn, round after round, so that a busy
//! machine is busy for all of them; medians are printed. The goals stand in docs/performance.md.
#![allow(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

#[path = "../tests/snapshot_fixture/mod.rs"]
mod snapshot_fixture;

use bornright::domain::{Span, State};
use bornright::exposition::{Encoding, Exposition, Format, SnapshotCollector};
use bornright::snapshot::Snapshot;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// CPU time of this thread, from the kernel's own account (Linux).
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux keeps it");
    Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number of nanoseconds"))
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    control: String,
    scope: String,
    state: String,
}

/// As many series as the page has, kept in families of strings as prometheus-client's manual shows it.
fn families(snapshot: &Snapshot, series: usize) -> Registry {
    let mut registry = Registry::default();
    let mut left = series;
    for n in 0.. {
        if left == 0 {
            break;
        }
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for row in &snapshot.rows {
            for state in State::ALL {
                if left > 0 {
                    left -= 1;
                    let labels = Labels {
                        control: snapshot.controls[row.control as usize].id.clone(),
                        scope: snapshot.scopes[row.scope as usize].name.clone(),
                        state: state.word().to_owned(),
                    };
                    family.get_or_create_owned(&labels).set(row.counts[*state] as f64 * 86_412.345);
                }
            }
        }
        registry.register(format!("compliance_resource_seconds_{n}"), "Resource-seconds", family);
    }
    registry
}

fn main() {
    // cargo hands `--bench` to every benchmark.
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let [controls, scopes, rounds] = [250u32, 25, 9].into_iter().enumerate().fold([0; 3], |mut all, (i, d)| {
        all[i] = numbers.get(i).copied().unwrap_or(d);
        all
    });
    let snapshot = Arc::new(snapshot_fixture::large(controls, scopes));
    let at = |n: u32| snapshot_fixture::AT + Span::SECOND.times(u64::from(n) * 15);
    let text = Encoding { format: Format::Text, gzip: false };
    let openmetrics = Encoding { format: Format::OpenMetrics1, gzip: false };
    let gzip = Encoding { format: Format::OpenMetrics1, gzip: true };

    let page = Exposition::new().render(&snapshot, at(0), text).concat();
    let series = page.split(|b| *b == b'\n').filter(|l| !l.is_empty() && !l.starts_with(b"#")).count();
    let moving = page.split(|b| *b == b'\n').filter(|l| l.windows(14).any(|w| w == b"_seconds_total")).count();
    let registry = families(&snapshot, series);

    let warm = Exposition::new();
    let warm_gzip = Exposition::new();
    let still = Exposition::new();
    // Nothing in it moves: controls without a row.
    let mut without = snapshot_fixture::large(series as u32 / 3, 1);
    without.rows.clear();
    let without = Arc::new(without);
    let mut body = String::with_capacity(page.len() * 2);
    let mut copy: Vec<u8> = Vec::with_capacity(page.len());

    type Way<'a> = (&'a str, Box<dyn FnMut(u32) -> usize + 'a>);
    let pieces = |p: Vec<bytes::Bytes>| p.iter().map(bytes::Bytes::len).sum::<usize>();
    let mut ways: Vec<Way<'_>> = vec![
        (
            "memcpy of the finished page",
            Box::new(|_| {
                copy.clear();
                copy.extend_from_slice(black_box(&page));
                copy.len()
            }),
        ),
        (
            "prometheus-client Family<struct of String>",
            Box::new(|_| {
                let mut out = String::with_capacity(page.len() * 2);
                encode(&mut out, &registry).expect("a String takes it");
                out.len()
            }),
        ),
        (
            "prometheus-client Collector over the snapshot",
            Box::new(|n| {
                let mut registry = Registry::default();
                registry.register_collector(Box::new(SnapshotCollector { snapshot: snapshot.clone(), now: at(n) }));
                body.clear();
                encode(&mut body, &registry).expect("a String takes it");
                body.len()
            }),
        ),
        ("own writer, all of it, text", Box::new(|n| pieces(Exposition::new().render(&snapshot, at(n), text)))),
        ("own writer, all of it, OpenMetrics", Box::new(|n| pieces(Exposition::new().render(&snapshot, at(n), openmetrics)))),
        ("own writer, all of it, OpenMetrics, gzip", Box::new(|n| pieces(Exposition::new().render(&snapshot, at(n), gzip)))),
        ("between scans, OpenMetrics", Box::new(|n| pieces(warm.render(&snapshot, at(n), openmetrics)))),
        ("between scans, OpenMetrics, gzip", Box::new(|n| pieces(warm_gzip.render(&snapshot, at(n), gzip)))),
        ("between scans, as many series and none moves, gzip", Box::new(|n| pieces(still.render(&without, at(n), gzip)))),
    ];
    for level in [1, 2, 3, 6] {
        let name: &'static str = match level {
            1 => "gzip of the whole page, level 1",
            2 => "gzip of the whole page, level 2",
            3 => "gzip of the whole page, level 3",
            _ => "gzip of the whole page, level 6",
        };
        let page = &page;
        ways.push((
            name,
            Box::new(move |_| {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
                out.write_all(page).expect("a Vec takes it");
                out.finish().expect("a Vec takes it").len()
            }),
        ));
    }
    // The kernel's account moves in ticks of some milliseconds, so a way is repeated until it has taken many. The first
    // two rounds, not counted, warm caches and kept parts, and say how often that is.
    let mut took: Vec<Vec<Duration>> = vec![Vec::new(); ways.len()];
    let mut sizes = vec![0; ways.len()];
    let mut repeats = vec![1; ways.len()];
    for round in 0..rounds + 2 {
        for (i, (_, way)) in ways.iter_mut().enumerate() {
            let (begun, wall) = (cpu(), Instant::now());
            for _ in 0..repeats[i] {
                sizes[i] = black_box(way(round));
            }
            if round == 1 {
                repeats[i] = (0.1 / wall.elapsed().as_secs_f64().max(1e-6)).ceil().clamp(1.0, 20_000.0) as u32;
            } else if round > 1 {
                took[i].push((cpu() - begun) / repeats[i]);
            }
        }
    }
    let medians: Vec<f64> = took
        .iter_mut()
        .map(|t| {
            t.sort();
            t[t.len() / 2].as_secs_f64() * 1000.0
        })
        .collect();
    println!("{series} series, {moving} of them moving, {} bytes of text; {rounds} rounds", page.len());
    println!("{:<50} {:>10} {:>9} {:>12} {:>10}", "", "CPU ms", "× Family", "ns/series", "bytes");
    for (((name, _), ms), size) in ways.iter().zip(&medians).zip(&sizes) {
        println!("{name:<50} {ms:>10.4} {:>9.3} {:>12.1} {size:>10}", ms / medians[1], ms * 1e6 / series as f64);
    }
}
