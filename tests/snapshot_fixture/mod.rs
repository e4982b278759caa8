//! Snapshots made by hand, for tests of the reading half: one with every shape that a page has to show, and one of any size.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use bornright::domain::{Cause, CheckResult, Counts, Moment, Nature, ProblemKind, Severity, Span, State, WaiverOrigin, WaiverState};
use bornright::slo::{ControlSelector, Measure, Sli, Slo, Timeline};
use bornright::snapshot::{
    Change, ChangeKind, CollectorView, ControlView, Direction, DurationHistogram, LedgerView, Row, ScopeView, SloView, Snapshot,
    ViolationCounts, Violations, WaiverView,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// 2026-11-23T06:00:00Z, the instant of [`estate`].
pub(crate) const AT: Moment = Moment(1_795_413_600_000);

pub(crate) fn control(id: &str) -> ControlView {
    ControlView {
        id: id.to_owned(),
        set: "object-storage".to_owned(),
        version: "2.1.0".to_owned(),
        title: format!("Title of {id}"),
        owner: "platform".to_owned(),
        nature: Nature::Preventive,
        severity: Severity::High,
        requirements: vec![],
        rationale: String::new(),
        remediation: String::new(),
        training: String::new(),
        fix_within: None,
        max_age: Span::HOUR.times(3),
        checks: vec![],
        has_ratio: true,
        disagreements: 0,
    }
}

/// Three scopes and seven controls; see the comments for what each is there for.
pub(crate) fn estate() -> Snapshot {
    let controls = vec![
        // An ordinary one: six comply, two do not, two are unknown, five are waived, in the first scope.
        ControlView {
            title: "Object storage is not public".to_owned(),
            requirements: vec![
                ("cis-aws-3.0".to_owned(), "2.1.4".to_owned()),
                ("nist-800-53-r5".to_owned(), "AC-3".to_owned()),
                ("nist-800-53-r5".to_owned(), "AC-3".to_owned()),
            ],
            rationale: "Most leaks of data begin with a bucket that everybody can read.".to_owned(),
            remediation: "Turn on the account's public access block.\n\nThen remove public ACLs and policies bucket by bucket.".to_owned(),
            training: "https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html".to_owned(),
            fix_within: Some(Span::DAY.times(7)),
            checks: vec!["ocsf:s3_bucket_level_public_access_block".to_owned(), "asff:S3.8".to_owned()],
            disagreements: 1,
            ..control("storage-no-public-access")
        },
        // All is known and all complies.
        ControlView { title: "Trails are encrypted".to_owned(), severity: Severity::Medium, ..control("logging-trail-encrypted") },
        // Nothing is known any more.
        ControlView { title: "Root has no access keys".to_owned(), severity: Severity::Critical, ..control("iam-root-no-keys") },
        // Nothing is in scope.
        ControlView { title: "No host runs a telnet server".to_owned(), nature: Nature::Detective, ..control("host-no-telnet") },
        // Its sources list only violations.
        ControlView {
            title: "Namespaces carry an owner".to_owned(),
            severity: Severity::Low,
            has_ratio: false,
            set: "kubernetes".to_owned(),
            ..control("k8s-namespace-owner")
        },
        // All that is in scope is waived.
        ControlView { title: "Images are signed".to_owned(), nature: Nature::Reactive, ..control("k8s-images-signed") },
        // Text that wants to break out, and no finding at all.
        ControlView {
            title: "Back\\slash, \"quote\",\nline feed, <script>alert(1)</script> & é".to_owned(),
            owner: "{owner=\"x\"}".to_owned(),
            rationale: "<img src=x onerror=alert(1)>".to_owned(),
            training: "javascript:alert(1)".to_owned(),
            ..control("weird/../\"id\" <b>")
        },
    ];
    let scopes = vec![
        ScopeView {
            name: "111122223333".to_owned(),
            parts: vec![("account".to_owned(), "111122223333".to_owned()), ("account-name".to_owned(), "prod \"eu\"".to_owned())],
        },
        ScopeView {
            name: "shop\\prod".to_owned(),
            parts: vec![
                ("cluster".to_owned(), "shop".to_owned()),
                ("scope".to_owned(), "x".to_owned()),
                ("part_scope".to_owned(), "y".to_owned()),
            ],
        },
        ScopeView { name: "__other__".to_owned(), parts: vec![] },
    ];
    let fresh = |ago: Span| (Some(AT - ago), Some(AT - ago + Span::HOUR.times(3)));
    let row = |control: u32, scope: u32, counts: [u64; 4], ago: Span| {
        let (newest_evidence, fresh_until) = fresh(ago);
        Row { control, scope, counts: Counts(counts), newest_evidence, fresh_until, ..Row::default() }
    };
    let mut public = ViolationCounts { opened: 4, fixed: 2, overdue: 1, met: 1, missed: 1 };
    let mut by_severity = [ViolationCounts::default(); 5];
    by_severity[Severity::High as usize] = public;
    public = ViolationCounts { opened: 1, fixed: 1, ..ViolationCounts::default() };
    by_severity[Severity::Medium as usize] = public;
    let rows = vec![
        Row {
            resource_ms: Counts([36_000_001, 7_200_010, 100, 12_345]),
            evidence_ms: [9_007_199_254_740_993, 7],
            violations: Some(Box::new(Violations { by_severity, oldest_open: Some(AT - Span::DAY.times(9)) })),
            transitions: BTreeMap::from([
                ((Direction::Drift, Cause::Resource), 4),
                ((Direction::Remediation, Cause::Resource), 2),
                ((Direction::Other, Cause::Freshness), 2),
            ]),
            ..row(0, 0, [6, 2, 2, 5], Span::MINUTE.times(90))
        },
        Row { resource_ms: Counts([1_000, 0, 0, 0]), ..row(0, 2, [3, 0, 0, 0], Span::HOUR) },
        row(1, 0, [4, 0, 0, 0], Span::MINUTE),
        Row { newest_evidence: Some(AT - Span::DAY), fresh_until: Some(AT - Span::HOUR), ..row(2, 0, [0, 0, 1, 0], Span::DAY) },
        row(3, 1, [0, 0, 0, 0], Span::HOUR),
        Row { newest_evidence: None, fresh_until: None, ..row(4, 1, [0, 3, 0, 0], Span::HOUR) },
        row(5, 1, [0, 0, 0, 2], Span::HOUR),
    ];
    let minute = |n: u64| AT + Span::MINUTE.times(n);
    let changes = vec![
        // In ten minutes a pass runs out, in twenty a deadline passes, in thirty a waiver ends.
        Change { row: 0, at: minute(10), what: ChangeKind::Move { from: Some(State::Compliant), to: Some(State::Unknown), weight: 1 } },
        Change { row: 0, at: minute(20), what: ChangeKind::Deadline(Severity::High) },
        Change { row: 0, at: minute(30), what: ChangeKind::Move { from: Some(State::Waived), to: Some(State::NonCompliant), weight: 2 } },
        Change { row: 2, at: minute(15), what: ChangeKind::Move { from: Some(State::Compliant), to: Some(State::Unknown), weight: 4 } },
    ];
    let mut durations = DurationHistogram::new(&[0.5, 10.0, 60.0]);
    for ms in [400, 9_000, 9_001, 120_000] {
        durations.observe(Span(ms));
    }
    let mut findings = [0; CheckResult::ALL.len()];
    findings[CheckResult::Pass as usize] = 13;
    findings[CheckResult::Fail as usize] = 9;
    let collectors = vec![
        CollectorView {
            name: "aws-prod".to_owned(),
            reach: "file",
            format: "ocsf".to_owned(),
            every: Span::HOUR,
            max_age: Span::HOUR.times(3),
            up: Some(true),
            complete: true,
            last_success: Some(AT - Span::MINUTE),
            last_run: Some(AT - Span::MINUTE),
            last_duration: Span(9_001),
            findings,
            unmapped: 3,
            runs: [3, 1, 0],
            problems: BTreeMap::from([(ProblemKind::Malformed, 2)]),
            requests: vec![],
            durations,
            recent_problems: vec![
                "scans/prowler.json (record 17): malformed: `status_code` is 4, expected PASS, FAIL or MANUAL".to_owned(),
            ],
            scanner: "Prowler 5.46.0".to_owned(),
        },
        CollectorView {
            name: "hosts".to_owned(),
            reach: "http",
            format: "xccdf".to_owned(),
            every: Span::DAY,
            requests: vec![("ok", 41), ("throttled", 2), ("failed", 0)],
            max_age: Span::DAY.times(3),
            durations: DurationHistogram::new(&[0.5, 10.0, 60.0]),
            ..CollectorView::default()
        },
        CollectorView {
            name: "cluster".to_owned(),
            reach: "command",
            format: "policy_report".to_owned(),
            every: Span::MINUTE.times(5),
            max_age: Span::MINUTE.times(15),
            up: Some(false),
            last_run: Some(AT - Span::MINUTE.times(2)),
            last_duration: Span(30_000),
            runs: [0, 0, 12],
            problems: BTreeMap::from([(ProblemKind::Denied, 12)]),
            durations: DurationHistogram::new(&[0.5, 10.0, 60.0]),
            recent_problems: vec!["kubectl: denied: <b>policyreports.wgpolicyk8s.io is forbidden</b>".to_owned()],
            ..CollectorView::default()
        },
    ];
    let waiver = |id: &str, state, until| WaiverView {
        id: id.to_owned(),
        control: "storage-*".to_owned(),
        resource: "arn:aws:s3:::legacy-*".to_owned(),
        owner: "platform".to_owned(),
        reason: "moves to the new account in January".to_owned(),
        ticket: "SEC-1234".to_owned(),
        from: AT - Span::DAY.times(10),
        until,
        covers: 5,
        state,
    };
    let mut fix = DurationHistogram::new(&[86_400.0, 604_800.0]);
    fix.observe(Span::DAY.times(2));
    fix.observe(Span::DAY.times(30));
    Snapshot {
        slos: Arc::new(slos()),
        at: AT,
        horizon: AT + Span::HOUR,
        generation: 7,
        started_at: AT - Span::DAY.times(2),
        demo: false,
        ready: true,
        controls: Arc::new(controls),
        scopes: Arc::new(scopes),
        first_change: vec![0, 3, 3, 4, 4, 4, 4, 4],
        rows,
        changes,
        collectors,
        waiver_counts: BTreeMap::from([
            ((WaiverState::Active, WaiverOrigin::File), 1),
            ((WaiverState::Expired, WaiverOrigin::File), 1),
            ((WaiverState::Invalid, WaiverOrigin::File), 1),
            ((WaiverState::Active, WaiverOrigin::Source), 4),
        ]),
        waivers: Arc::new(vec![
            waiver("2026-q4/legacy-buckets", WaiverState::Active, minute(30)),
            waiver("2026-q3/old", WaiverState::Expired, AT - Span::DAY),
            waiver("2026-q4/endless", WaiverState::Invalid, Moment::NEVER),
        ]),
        remediation_durations: Severity::ALL
            .iter()
            .map(|s| if *s == Severity::High { fix.clone() } else { DurationHistogram::new(&[86_400.0, 604_800.0]) })
            .collect(),
        folded: 2,
        last_ingest: Some(AT - Span::MINUTE),
        ingest_interval: Span::MINUTE.times(5),
        reload: None,
        definitions_digest: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        ledger: LedgerView { records: 16, head: "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752".to_owned() },
    }
}

/// Two objectives: 100 resources of which 2 fail since an hour before, all of them known for a day; and one counted in
/// slices of an hour, of which the last three were bad, good and without data.
fn slos() -> Vec<SloView> {
    let selector = || ControlSelector { set: Some("aws".to_owned()), ..ControlSelector::default() };
    let view = |slo: Slo, parts: Vec<Arc<Timeline>>, slices: Option<Arc<Timeline>>, slices_total| SloView {
        slo: slo.clone(),
        controls: vec![0],
        joint_scopes: Vec::new(),
        measure: Measure { slo, parts, slices },
        slices_total,
        steps: Vec::new(),
        scan_interval: Span::HOUR,
    };
    let mut states = Timeline::new();
    states.change(AT - Span::DAY, [100, 0, 0, 0], [0; 4]);
    states.change(AT - Span::HOUR, [-2, 2, 0, 0], [0; 4]);
    let mut slices = Timeline::new();
    for (hours, events) in [(3, [0, 1, 0, 0]), (2, [1, 0, 0, 0]), (1, [0, 0, 1, 0])] {
        slices.change(AT - Span::HOUR.times(hours), [0; 4], events);
    }
    let slice = Sli::TimeSlice { slice: Span::HOUR, threshold: 0.95 };
    vec![
        view(Slo::new("platform", "storage", selector(), 0.99, Span::DAY.times(30)), vec![Arc::new(states)], None, [0; 3]),
        view(
            Slo { sli: slice, ..Slo::new("platform", "storage-hours", selector(), 0.9, Span::DAY.times(7)) },
            Vec::new(),
            Some(Arc::new(slices)),
            [1, 1, 1],
        ),
    ]
}

/// `controls` × `scopes` rows with numbers that look like an estate's; every fifth row has violations. No changes ahead.
pub(crate) fn large(controls: u32, scopes: u32) -> Snapshot {
    let rows = (0..controls).flat_map(|c| (0..scopes).map(move |s| (c, s))).map(|(control, scope)| {
        let n = u64::from(control * 31 + scope * 17) % 97;
        let counts = Counts([40 + n, n % 7, n % 3, u64::from(n == 5)]);
        let mut row = Row {
            control,
            scope,
            counts,
            resource_ms: Counts(counts.0.map(|n| n * 86_412_345)),
            evidence_ms: [86_412_345, 17 * n],
            newest_evidence: Some(AT - Span::MINUTE.times(n)),
            fresh_until: Some(AT + Span::HOUR),
            ..Row::default()
        };
        if n % 5 == 0 {
            let mut v = Violations { oldest_open: Some(AT - Span::HOUR), ..Violations::default() };
            v.by_severity[Severity::High as usize] = ViolationCounts { opened: n, fixed: n / 2, overdue: 1, met: n / 2, missed: 1 };
            row.violations = Some(Box::new(v));
        }
        row
    });
    let rows: Vec<Row> = rows.collect();
    Snapshot {
        at: AT,
        horizon: AT + Span::HOUR,
        generation: 1,
        started_at: AT,
        ready: true,
        controls: Arc::new((0..controls).map(|i| control(&format!("control-with-a-usual-name-{i:03}"))).collect()),
        scopes: Arc::new(
            (0..scopes)
                .map(|i| ScopeView {
                    name: format!("{:012}", 111_122_220_000u64 + u64::from(i)),
                    parts: vec![("account".to_owned(), format!("{:012}", 111_122_220_000u64 + u64::from(i)))],
                })
                .collect(),
        ),
        first_change: vec![0; rows.len() + 1],
        rows,
        last_ingest: Some(AT),
        ingest_interval: Span::HOUR,
        ..Snapshot::default()
    }
}
