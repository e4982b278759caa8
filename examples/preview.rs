//! Serves the pages and metrics of a snapshot made by hand, to look at them in a browser while working on them:
//! `cargo run --example preview -- 127.0.0.1:9877 [large|empty|demo]`.

#[path = "../tests/snapshot_fixture/backend.rs"]
mod backend;
#[path = "../tests/snapshot_fixture/mod.rs"]
mod snapshot_fixture;

use bornright::domain::Span;
use bornright::snapshot::Snapshot;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:9877".to_owned());
    let snapshot = match arguments.next().as_deref() {
        Some("large") => snapshot_fixture::large(300, 16),
        Some("empty") => Snapshot { at: snapshot_fixture::AT, ..Snapshot::default() },
        Some("demo") => Snapshot { demo: true, reload: Some((false, snapshot_fixture::AT)), ..snapshot_fixture::estate() },
        _ => snapshot_fixture::estate(),
    };
    let backend = backend::Fixed::new(snapshot, snapshot_fixture::AT + Span::MINUTE);
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    bornright::serve::run(listener, backend, tokio_util::sync::CancellationToken::new()).await
}
