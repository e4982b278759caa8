//! The data behind `bornright demo`: real output of real scanners, inside the program.

use crate::clock;
use crate::domain::{Moment, Span};
use anyhow::Context as _;
use std::fs::File;
use std::path::Path;

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_bytes!(concat!("../../examples/demo/", $name)))),+] };
}

/// (path, bytes) of every file of the demo, as in `examples/demo/`.
const FILES: &[(&str, &[u8])] = shipped![
    "bornright.yaml",
    "aws/prowler-1.ocsf.json.gz",
    "aws/prowler-2.ocsf.json.gz",
    "aws/security-hub.asff.json.gz",
    "code/checkov.json.gz",
    "code/conftest.json",
    "code/regula.json",
    "code/zizmor.sarif.gz",
    "host/inspec-rhel8.json.gz",
    "host/web-01-1.xccdf.xml.gz",
    "host/web-01-2.xccdf.xml.gz",
    "host/web-01-3.xccdf.xml.gz",
    "kubernetes/kube-bench-node.json",
    "kubernetes/policy-report.yaml",
    "kubernetes/trivy-helm.json.gz",
    "kubernetes/trivy-k8s.json.gz",
];

/// Where the files stand below the demo's root, as in the repository: the configuration names the definitions by a
/// relative path.
pub(crate) const FOLDER: &str = "examples/demo";

/// An exception as people make them: of one resource, with a reason, an owner and an end. Its days are counted from
/// when the demo starts, so that it always holds and always ends soon.
fn waivers(now: Moment) -> String {
    format!(
        "apiVersion: bornright/v1\n\
         kind: WaiverSet\n\
         metadata: {{ name: demo }}\n\
         spec:\n  waivers:\n    - id: access-logs\n      control: storage-delete-needs-mfa\n      \
         resource: arn:aws:s3:::acme-access-logs-*\n      \
         reason: Log delivery cannot give a second factor; the bucket moves to the archive account.\n      \
         owner: platform\n      ticket: DEMO-1\n      from: {}\n      until: {}\n",
        now - Span::DAY,
        now + Span(20 * Span::DAY.0)
    )
}

/// Lays the shipped definitions and a waiver out beside the scans.
pub(crate) fn lay_out_definitions(root: &Path) -> anyhow::Result<()> {
    for (name, text) in crate::config::shipped() {
        let path = root.join("slo-definitions").join(Path::new(name).file_name().unwrap_or_default());
        std::fs::create_dir_all(root.join("slo-definitions"))?;
        std::fs::write(&path, text).with_context(|| format!("{}", path.display()))?;
    }
    let path = root.join("slo-definitions/demo-waivers.yaml");
    std::fs::write(&path, waivers(clock::now())).with_context(|| format!("{}", path.display()))
}

/// Later scans of what an earlier one looked at: they come round after round, so that there is drift to see.
const ROUNDS: &[&[&str]] = &[
    &["aws/prowler-1.ocsf.json.gz", "host/web-01-1.xccdf.xml.gz"],
    &["aws/prowler-2.ocsf.json.gz", "host/web-01-2.xccdf.xml.gz"],
    &["host/web-01-3.xccdf.xml.gz"],
];

/// Lays the scans of `round` out under `root`, as if the scanners had just run. In round 0 everything that has only one
/// scan comes too; in later rounds those are merely run again.
pub(crate) fn lay_out(root: &Path, round: usize) -> anyhow::Result<()> {
    let dir = &root.join(FOLDER);
    let now = std::time::UNIX_EPOCH + Span(u64::try_from(clock::now().0).unwrap_or(0)).std();
    let staged = |name: &str| ROUNDS.iter().position(|files| files.contains(&name));
    let current = round % ROUNDS.len();
    for (name, bytes) in FILES {
        let path = dir.join(name);
        match staged(name) {
            Some(r) if r != current => continue,
            _ => {}
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("{}", parent.display()))?;
        }
        std::fs::write(&path, bytes).with_context(|| format!("{}", path.display()))?;
        File::options().write(true).open(&path)?.set_modified(now)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_demo_ships() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo");
        let mut found = Vec::new();
        let mut dirs = vec![root.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).expect("the folder is there") {
                let path = entry.expect("readable").path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    found.push(path.strip_prefix(&root).expect("below").to_string_lossy().into_owned());
                }
            }
        }
        found.retain(|f| !f.ends_with(".md") && !f.ends_with(".py"));
        found.sort();
        let mut listed: Vec<String> = FILES.iter().map(|(n, _)| (*n).to_owned()).collect();
        listed.sort();
        assert_eq!(found, listed);
    }
}
