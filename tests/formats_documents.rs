//! Every document-shaped format against real documents: the counts are those that jq and xmllint give.

use bornright::domain::{Finding, Lifecycle, Problem};
use bornright::formats::{Context, Flow, Format, FormatSpec, Limits, Sink};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

#[derive(Default)]
struct Summary {
    results: [u64; 6],
    suppressed: u64,
    resources: BTreeSet<String>,
    checks: BTreeSet<String>,
    problems: Vec<String>,
}

impl Sink for Summary {
    fn finding(&mut self, f: &Finding<'_>) -> Flow {
        if f.is_mark() {
            return Flow::More;
        }
        self.results[f.result as usize] += f.count;
        if f.lifecycle == Lifecycle::Suppressed {
            self.suppressed += f.count;
        }
        self.resources.insert(f.resource.id.to_string());
        self.checks.insert(f.check.to_string());
        Flow::More
    }
    fn problem(&mut self, problem: Problem) {
        self.problems.push(problem.kind.word().to_owned());
    }
}

/// One row: the file, what it comes to, and whether it is complete (`None`: refused as not of this format).
struct Row {
    file: &'static str,
    /// pass, fail, error, manual, not_applicable, not_assessed.
    results: [u64; 6],
    suppressed: u64,
    resources: usize,
    checks: usize,
    problems: &'static [&'static str],
    complete: Option<bool>,
}

fn check(format: &str, rows: &[Row]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(format);
    for row in rows {
        let file = File::open(folder.join(row.file)).unwrap_or_else(|e| panic!("{}: {e}", row.file));
        let mut input: Box<dyn BufRead> = if row.file.ends_with(".gz") {
            Box::new(BufReader::new(flate2::bufread::GzDecoder::new(BufReader::new(file))))
        } else {
            Box::new(BufReader::new(file))
        };
        let mut sum = Summary::default();
        let ctx = Context { source: row.file, limits: Limits::default(), want_raw: false };
        let spec = FormatSpec::Builtin(Format::from_word(format).expect("a format"));
        let outcome = bornright::formats::read(&spec, &mut input, &ctx, &mut sum);
        let what = format!("{format}/{}: {:?}", row.file, outcome.as_ref().err().map(ToString::to_string));
        assert_eq!(sum.results, row.results, "{what}: results");
        assert_eq!(sum.suppressed, row.suppressed, "{what}: suppressed");
        assert_eq!(sum.resources.len(), row.resources, "{what}: resources {:?}", sum.resources);
        assert_eq!(sum.checks.len(), row.checks, "{what}: checks {:?}", sum.checks);
        assert_eq!(sum.problems, row.problems, "{what}: problems");
        assert_eq!(outcome.ok().map(|o| o.complete), row.complete, "{what}: complete");
    }
    // A file nobody reads proves nothing.
    for entry in std::fs::read_dir(&folder).expect("the folder is there") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        assert!(name == "README.md" || rows.iter().any(|r| r.file == name), "tests/formats/{format}/{name} is in no test");
    }
}

const fn row(file: &'static str, results: [u64; 6], suppressed: u64, resources: usize, checks: usize) -> Row {
    Row { file, results, suppressed, resources, checks, problems: &[], complete: Some(true) }
}

impl Row {
    const fn problems(mut self, problems: &'static [&'static str], complete: bool) -> Row {
        self.problems = problems;
        self.complete = Some(complete);
        self
    }
    const fn refused(mut self) -> Row {
        self.complete = None;
        self
    }
}

#[test]
fn xccdf() {
    check(
        "xccdf",
        &[
            row("debian11-anssi_minimal.arf.xml.gz", [19, 5, 0, 0, 0, 3], 0, 1, 27),
            row("debian11-standard-WRONG-PLATFORM-all-notapplicable.xccdf-results.xml.gz", [0, 0, 0, 0, 44, 3], 0, 1, 47)
                .problems(&["wrong_platform"], false),
            row("rhel7-stig.DISA-SCC.cdf-prefix.reduced.xml.gz", [8, 6, 0, 0, 0, 0], 0, 1, 14),
            row("no-zone.root.xml", [1, 1, 0, 0, 0, 0], 0, 1, 2),
        ],
    );
}

#[test]
fn sarif() {
    check(
        "sarif",
        &[
            row("bandit.sarif.gz", [0, 25, 0, 0, 0, 0], 0, 7, 5),
            row("cfn-guard.sarif", [0, 6, 0, 0, 0, 0], 0, 1, 3),
            row("checkov.sarif.gz", [0, 39, 0, 0, 0, 0], 1, 3, 32),
            row("gitleaks_7.5.0.sarif.gz", [0, 8, 0, 0, 0, 0], 0, 3, 1),
            row("gitleaks_8.sarif.gz", [0, 3, 0, 0, 0, 0], 0, 2, 3),
            row("semgrep.sarif", [0, 3, 0, 0, 0, 0], 0, 2, 1),
            row("trivy.sarif.gz", [0, 4, 0, 0, 0, 0], 0, 1, 2),
            row("zizmor.sarif.gz", [0, 6, 0, 0, 0, 0], 0, 1, 5),
            row("dockle_0_3_15.sarif", [0, 4, 0, 0, 0, 0], 0, 1, 4),
            row("SuppressionTestCurrent.sarif", [0, 4, 0, 0, 0, 0], 3, 4, 4),
            row("suppression_test.sarif", [0, 5, 0, 0, 0, 0], 3, 5, 5),
            // The specification's own example says in a notification that a rule was disabled by an exception.
            row("appendix_k.sarif.gz", [0, 1, 0, 0, 0, 0], 1, 1, 1).problems(&["scanner_error"], false),
            row("appendix_k1.sarif", [0; 6], 0, 0, 0),
            row("appendix_k3.sarif", [0, 1, 0, 0, 0, 0], 0, 1, 1),
            row("no_runs.sarif", [0; 6], 0, 0, 0).problems(&["empty"], false),
        ],
    );
}

#[test]
fn trivy() {
    check(
        "trivy",
        &[
            row("dockerfile.json", [26, 1, 0, 0, 0, 0], 0, 1, 2),
            row("helm_testchart.json.gz", [215, 6, 0, 0, 0, 0], 0, 3, 7),
            row("terraform-remote-module.json.gz", [58, 3, 0, 0, 0, 0], 0, 2, 4),
            row("misconfig-and-secrets.json.gz", [22, 5, 0, 0, 0, 0], 0, 3, 5),
            row("secrets.json", [0, 2, 0, 0, 0, 0], 0, 1, 2),
            // One vulnerability of each status: not_affected and under_investigation are not failures.
            row("all_statuses.json.gz", [0, 6, 0, 1, 1, 0], 0, 3, 8),
            row("suppressed.json", [0, 2, 0, 0, 0, 0], 1, 1, 2),
            // Upstream cut rows out of these two by hand: their summaries know of more failures.
            row("k8s.old-schema.json.gz", [108, 20, 0, 0, 0, 0], 0, 10, 11).problems(&["mismatch", "mismatch"], false),
            row("CONSTRUCTED.k8s.resources-schema.json.gz", [77, 10, 0, 0, 0, 0], 0, 3, 6).problems(&["mismatch", "mismatch"], false),
            row("compliance.all.json", [0, 2, 0, 0, 0, 0], 0, 1, 2),
            row("compliance.summary.json", [0, 2, 0, 0, 0, 0], 0, 1, 2),
        ],
    );
}

#[test]
fn checkov() {
    check(
        "checkov",
        &[
            row("single-framework.object.json.gz", [12, 16, 0, 0, 0, 1], 1, 3, 18),
            // --quiet: 70 + 20 + 12 passes and one skip are only numbers.
            row("multi-framework.array.quiet.json.gz", [102, 38, 0, 0, 0, 1], 1, 10, 35),
            row("severity.platform.json.gz", [0, 4, 0, 0, 0, 0], 0, 2, 4),
            row("parse-error.exit0.json", [0; 6], 0, 0, 0).problems(&["scanner_error"], false),
            row("no-results.flat-object.json", [0; 6], 0, 0, 0).problems(&["empty"], false),
        ],
    );
}

#[test]
fn kube_bench() {
    check(
        "kube_bench",
        &[
            row("eks-or-node.many.json.gz", [20, 4, 0, 0, 0, 0], 0, 1, 24).problems(&["mismatch"], true),
            // The project's own test data has fewer rows than its totals say.
            row("result.json", [2, 0, 0, 1, 0, 0], 0, 3, 3).problems(&["mismatch"; 3], false),
            row("result_no_totals.json", [2, 0, 0, 1, 0, 0], 0, 3, 3).problems(&["mismatch"; 3], false),
            row("passedControlsCollection.json", [1, 0, 0, 1, 0, 0], 0, 2, 2).problems(&["mismatch"; 2], false),
        ],
    );
}

#[test]
fn policy_report() {
    check(
        "policy_report",
        &[
            row("openreports.list.json", [0, 3, 0, 0, 0, 0], 0, 2, 3),
            row("kyverno.exception-skip.0.yaml", [0, 0, 0, 0, 1, 0], 1, 1, 1),
            row("kyverno.exception-skip.1.yaml", [0, 0, 0, 0, 1, 0], 1, 1, 1),
            row("kyverno.exception-skip.2.yaml", [1, 0, 0, 0, 1, 0], 1, 2, 1),
            row("wgpolicyk8s.sample-v1beta1-kyverno.yaml", [1, 0, 0, 0, 0, 0], 0, 1, 1),
            row("wgpolicyk8s.sample-v1beta2-kyverno.yaml", [1, 0, 0, 0, 0, 0], 0, 1, 1),
            // The samples of the API and of the documentation list fewer rows than they sum up.
            row("kyverno.policyreport.docs.yaml", [1, 1, 0, 0, 0, 0], 0, 1, 2).problems(&["mismatch"], false),
            row("openreports.sample-cis-k8s.yaml", [0, 3, 0, 0, 0, 0], 0, 1, 3).problems(&["mismatch"], false),
            row("wgpolicyk8s.sample-cis-k8s.yaml", [0, 3, 0, 0, 0, 0], 0, 1, 3).problems(&["mismatch"], false),
            row("wgpolicyk8s.sample-co.yaml", [0, 2, 0, 0, 0, 0], 0, 1, 2).problems(&["mismatch"], false),
            row("wgpolicyk8s.sample-rhacm-policy.yaml", [0, 1, 0, 0, 0, 0], 0, 1, 1).problems(&["mismatch"], false),
        ],
    );
}

#[test]
fn conftest() {
    check(
        "conftest",
        &[
            row("none.json", [4, 0, 0, 0, 0, 0], 0, 1, 1),
            row("service.json", [4, 0, 0, 1, 0, 0], 0, 1, 2),
            row("many.json", [0, 3, 0, 1, 0, 0], 0, 1, 2),
            row("CONSTRUCTED.skipped-exceptions.json", [0, 2, 0, 1, 0, 1], 1, 1, 2),
        ],
    );
}

#[test]
fn inspec() {
    check(
        "inspec",
        &[
            row("one-of-each-status.rhel8.json.gz", [1, 1, 0, 1, 1, 0], 0, 1, 4),
            row("aws-s3-baseline.json", [0, 2, 0, 0, 0, 0], 0, 1, 2),
            row("sample-results.json", [0, 2, 0, 0, 0, 0], 0, 1, 2),
            row("single_control_results.json.gz", [1, 0, 0, 0, 0, 0], 0, 1, 1),
            row("profile-only.inspec-json.no-results.json.gz", [0; 6], 0, 0, 0).refused(),
        ],
    );
}

#[test]
fn regula() {
    // The waived row's rule holds: its raw result is true.
    check("regula", &[row("report.json", [2, 1, 0, 0, 0, 0], 1, 2, 3)]);
}

#[test]
fn scorecard() {
    check(
        "scorecard",
        &[
            row("check1.json", [0, 1, 0, 0, 0, 0], 0, 1, 1),
            row("check1_annotations.json", [0, 1, 0, 0, 0, 0], 0, 1, 1),
            row("check3.json", [0, 2, 0, 0, 0, 1], 0, 1, 3),
            row("check5.json", [0, 1, 0, 0, 0, 0], 0, 1, 1),
        ],
    );
}

const FORMATS: [&str; 10] =
    ["xccdf", "conftest", "checkov", "trivy", "kube_bench", "policy_report", "sarif", "inspec", "regula", "scorecard"];

fn fixtures(format: &str) -> Vec<(String, Vec<u8>)> {
    use std::io::Read;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(format);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|n| n.to_str()).expect("a plain name").to_owned();
        let mut bytes = std::fs::read(&path).expect("readable");
        if name.ends_with(".gz") {
            let mut plain = Vec::new();
            flate2::bufread::GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).expect("good gzip");
            bytes = plain;
        }
        if name != "README.md" {
            all.push((name, bytes));
        }
    }
    assert!(!all.is_empty());
    all.sort();
    all
}

fn try_read(format: &str, bytes: &[u8]) -> (Summary, Result<bornright::domain::RunOutcome, bornright::formats::FormatError>) {
    let mut sum = Summary::default();
    let ctx = Context { source: "doc", limits: Limits::default(), want_raw: true };
    let spec = FormatSpec::Builtin(Format::from_word(format).expect("a format"));
    let mut input = BufReader::with_capacity(1000, bytes);
    let outcome = bornright::formats::read(&spec, &mut input, &ctx, &mut sum);
    (sum, outcome)
}

#[test]
fn no_document_passes_for_one_of_another_format() {
    for of in FORMATS {
        for (name, bytes) in fixtures(of) {
            for format in FORMATS.iter().filter(|f| **f != of) {
                let (sum, outcome) = try_read(format, &bytes);
                assert!(outcome.is_err(), "{of}/{name} was read as {format}: {outcome:?}");
                assert_eq!(sum.results, [0; 6], "{of}/{name} read as {format}");
            }
        }
    }
}

#[test]
fn what_breaks_off_is_never_complete() {
    for of in FORMATS {
        for (name, bytes) in fixtures(of) {
            // A YAML document is whole at the end of every line: only its own summary can tell.
            if name.ends_with(".yaml") {
                continue;
            }
            let body = bytes.iter().rposition(|b| !b.is_ascii_whitespace()).map_or(0, |i| i + 1);
            let step = (body / 23).max(1);
            for cut in (0..body).step_by(step).chain([body - 1]) {
                let (_, outcome) = try_read(of, &bytes[..cut]);
                assert!(outcome.is_err() || outcome.is_ok_and(|o| !o.complete), "{of}/{name} cut at {cut} of {body} is complete");
                // Damage within must not panic, whatever it makes of the document.
                let mut damaged = bytes.clone();
                damaged[cut] = damaged[cut].wrapping_add(128);
                drop(try_read(of, &damaged));
                damaged[cut] = b'"';
                drop(try_read(of, &damaged));
            }
        }
    }
}
