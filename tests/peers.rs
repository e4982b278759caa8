//! Scanners run for real, and what they leave is read, judged and shown as their users would see it.

mod support;

use support::peers::peer;

/// Whoever names a peer here may count on it in a test. `./test --setup` installs them all.
#[test]
fn every_peer_is_here() {
    let programs = [
        "moto_server",
        "custodian",
        "trestle",
        "prowler",
        "prometheus",
        "promtool",
        "prometheus-alertmanager",
        "amtool",
        "oscap",
        "chromium",
        "initdb",
        "postgres",
        "pg_ctl",
        "psql",
    ];
    for program in programs {
        assert!(peer(program).is_file());
    }
}
