//! The rule stage as a whole: runs in, counts and integrals out, against values worked by hand and against a second,
//! naive computation.

use super::*;
use crate::domain::{
    Cause, CheckResult, CheckSelector, Combine, Control, Counts, Finding, Lifecycle, Moment, Nature, Population, ScopeTemplate, Severity,
    Span, State, Waiver,
};
use proptest::prelude::*;

const T0: i64 = 1_790_000_000_000;
const HOUR: i64 = 3_600_000;

fn at(hours: f64) -> Moment {
    Moment(T0 + (hours * HOUR as f64) as i64)
}

fn selector(id: &str) -> CheckSelector {
    CheckSelector { format: None, collector: None, id: id.to_owned(), resource_type: None, where_path: None }
}

fn control(id: &str, checks: &[&str]) -> Control {
    Control {
        id: id.to_owned(),
        set: "set".to_owned(),
        version: "1".to_owned(),
        title: id.to_owned(),
        owner: "o".to_owned(),
        nature: Nature::Detective,
        severity: Severity::High,
        requirements: Vec::new(),
        checks: checks.iter().map(|c| selector(c)).collect(),
        combine: Combine::Worst,
        population: None,
        fix_within: Some(Span(10 * HOUR as u64)),
        max_age: None,
        new_resource_grace: None,
        confirmations: 1,
        rationale: String::new(),
        remediation: String::new(),
        training: String::new(),
    }
}

fn collector(name: &str) -> CollectorRules {
    CollectorRules {
        name: name.to_owned(),
        format: "native".to_owned(),
        max_age: Span(3 * HOUR as u64),
        grace: Span(HOUR as u64),
        trust_suppressions: false,
        violations_only: false,
        every: Span(HOUR as u64),
    }
}

fn waiver(control: &str, resource: &str, from: Moment, until: Moment) -> Waiver {
    Waiver {
        id: "w".to_owned(),
        control: control.to_owned(),
        resource: resource.to_owned(),
        scope: None,
        reason: "r".to_owned(),
        owner: "o".to_owned(),
        ticket: String::new(),
        from,
        until,
    }
}

struct World {
    book: Book,
    account: Account,
    log: Vec<PairTransition>,
}

impl World {
    fn new(rules: Rules) -> World {
        World { book: Book::new(rules, 1000), account: Account::new(at(0.0)), log: Vec::new() }
    }

    fn of(controls: Vec<Control>, waivers: Vec<Waiver>) -> World {
        World::new(rules(controls, vec![collector("a"), collector("b")], waivers))
    }

    fn run(&mut self, collector: &str, now: Moment, complete: bool, findings: &[(&str, &str, CheckResult)]) {
        let list: Vec<Finding<'_>> = findings.iter().map(|(check, resource, result)| Finding::new(*check, *resource, *result)).collect();
        self.run_with(collector, now, complete, &list);
    }

    fn run_with(&mut self, collector: &str, now: Moment, complete: bool, findings: &[Finding<'_>]) {
        self.log.extend(self.account.advance(&self.book, now));
        self.book.begin(collector, now, false);
        let scope = ScopeTemplate::parse("{account|cluster}").expect("valid");
        let fields = [("account".to_owned(), "acme".to_owned())];
        for f in findings {
            self.book.observe(Observed { finding: f, fields: &fields, default_time: now, scope: &scope, source: "test" });
        }
        let (changes, _) = self.book.end(complete, now, &|_| Cause::Resource, &|_, _| None);
        self.log.extend(self.account.apply(&self.book, &changes));
        self.account.look(&self.book, now);
        self.book.taken();
    }

    fn advance(&mut self, now: Moment) {
        self.log.extend(self.account.advance(&self.book, now));
        self.account.look(&self.book, now);
    }

    /// Counts of the first control in its only scope.
    fn counts(&self) -> [u64; 4] {
        self.account.rows[0].counts.0
    }

    fn hours(&self) -> [f64; 4] {
        self.account.rows[0].resource_ms.0.map(|ms| ms as f64 / HOUR as f64)
    }
}

fn rules(controls: Vec<Control>, collectors: Vec<CollectorRules>, waivers: Vec<Waiver>) -> Rules {
    Rules::compile(controls, collectors, waivers, &|_| Err("no where here".to_owned()), &|_| false).expect("valid rules")
}

use CheckResult::{Error, Fail, Manual, NotApplicable, NotAssessed, Pass};

#[test]
fn evidence_is_held_until_it_is_too_old_and_then_unknown() {
    let mut w = World::of(vec![control("c", &["k"])], vec![]);
    w.run("a", at(0.0), true, &[("k", "r1", Pass), ("k", "r2", Fail)]);
    assert_eq!(w.counts(), [1, 1, 0, 0]);
    w.advance(at(5.0));
    // max_age 3 h: one pass and one fail for 3 h, then two unknown for 2 h.
    assert_eq!(w.counts(), [0, 0, 2, 0]);
    assert_eq!(w.hours(), [3.0, 3.0, 4.0, 0.0]);
    let stale: Vec<_> = w.log.iter().filter(|t| t.change.cause == Cause::Freshness).map(|t| t.at).collect();
    assert_eq!(stale, [at(3.0), at(3.0)], "at the exact instant, not when somebody looked");
}

#[test]
fn an_error_is_no_information_and_evidence_ages_on() {
    let mut w = World::of(vec![control("c", &["k"])], vec![]);
    w.run("a", at(0.0), true, &[("k", "r", Fail)]);
    w.run("a", at(2.0), true, &[("k", "r", Error)]);
    assert_eq!(w.counts(), [0, 1, 0, 0], "an error does not clear a failure");
    w.run("a", at(4.0), true, &[("k", "r", NotAssessed)]);
    assert_eq!(w.counts(), [0, 0, 1, 0], "and does not keep evidence fresh");
}

#[test]
fn a_resource_without_a_verdict_is_unknown_after_its_grace() {
    let mut w = World::of(vec![control("c", &["k"])], vec![]);
    w.run("a", at(0.0), true, &[("k", "r", Error)]);
    assert_eq!(w.counts(), [0, 0, 0, 0]);
    w.advance(at(1.5));
    assert_eq!(w.counts(), [0, 0, 1, 0]);
    assert_eq!(w.hours()[2], 0.5);
}

#[test]
fn not_applicable_leaves_the_population_and_manual_is_unknown() {
    let mut w = World::of(vec![control("c", &["k"])], vec![]);
    w.run("a", at(0.0), true, &[("k", "r1", NotApplicable), ("k", "r2", Manual)]);
    assert_eq!(w.counts(), [0, 0, 1, 0]);
}

#[test]
fn a_partial_run_closes_nothing_and_a_complete_one_only_what_it_can_know() {
    let mut w = World::of(vec![control("c", &["k"]), control("d", &["m"])], vec![]);
    w.run("a", at(0.0), true, &[("k", "r1", Pass), ("k", "r2", Fail), ("m", "r1", Fail)]);
    w.run("a", at(1.0), false, &[("k", "r1", Pass)]);
    assert_eq!(w.counts(), [1, 1, 0, 0], "partial: r2 stays");
    w.run("a", at(2.0), true, &[("k", "r1", Pass), ("m", "r1", Fail)]);
    assert_eq!(w.counts(), [1, 0, 0, 0], "complete: r2 is gone");
    // The check m ran on nothing this time, though r1 is there: the scanner skipped it. Its failure stays.
    w.run("a", at(2.5), true, &[("k", "r1", Pass)]);
    assert_eq!(w.account.rows[1].counts.0, [0, 1, 0, 0]);
    assert_eq!(w.hours()[1], 2.0, "what r2 accrued stays");
}

#[test]
fn another_collectors_resources_are_not_closed() {
    let mut w = World::of(vec![control("c", &["k"])], vec![]);
    w.run("a", at(0.0), true, &[("k", "r1", Pass)]);
    w.run("b", at(0.5), true, &[("k", "r2", Fail)]);
    w.run("a", at(1.0), true, &[("k", "r1", Pass)]);
    assert_eq!(w.counts(), [1, 1, 0, 0]);
}

#[test]
fn two_scanners_that_disagree_count_and_the_worst_holds() {
    let mut w = World::of(vec![control("c", &["k"])], vec![]);
    w.run("a", at(0.0), true, &[("k", "r", Pass)]);
    w.run("b", at(0.0), true, &[("k", "r", Fail)]);
    assert_eq!(w.counts(), [0, 1, 0, 0]);
    assert_eq!(w.account.survey.disagreements[0], 1);
    // b dies; a goes on saying pass. Nobody knows any more, and it does not turn green.
    w.run("a", at(2.0), true, &[("k", "r", Pass)]);
    w.run("a", at(4.0), true, &[("k", "r", Pass)]);
    assert_eq!(w.counts(), [0, 0, 1, 0]);
    assert_eq!(w.account.survey.disagreements[0], 0);
}

#[test]
fn a_waiver_holds_from_its_first_to_before_its_last_instant_between_scans() {
    let mut w = World::of(vec![control("c", &["k"])], vec![waiver("c", "r*", at(1.0), at(2.0))]);
    w.run("a", at(0.0), true, &[("k", "r1", Fail), ("k", "r2", Pass)]);
    w.advance(at(2.5));
    assert_eq!(w.hours(), [2.5, 1.5, 0.0, 1.0], "failing 1 h, waived 1 h, failing 0.5 h; the passing one stays compliant");
    assert_eq!(w.counts(), [1, 1, 0, 0]);
    let causes: Vec<_> = w.log.iter().filter(|t| t.change.cause == Cause::Waiver).map(|t| (t.at, t.change.to)).collect();
    assert_eq!(causes, [(at(1.0), Some(State::Waived)), (at(2.0), Some(State::NonCompliant))]);
}

#[test]
fn a_suppression_by_the_source_stands_unless_it_is_trusted() {
    for (trust, expected) in [(false, [0, 1, 0, 0]), (true, [0, 0, 0, 1])] {
        let mut c = collector("a");
        c.trust_suppressions = trust;
        let mut w = World::new(rules(vec![control("c", &["k"])], vec![c], vec![]));
        let mut f = Finding::new("k", "r", Fail);
        f.lifecycle = Lifecycle::Suppressed;
        w.run_with("a", at(0.0), true, &[f]);
        assert_eq!(w.counts(), expected);
        assert_eq!(w.account.survey.suppressed, 1, "either way it is shown as waiver debt");
    }
}

#[test]
fn older_evidence_never_changes_the_live_state() {
    let mut w = World::of(vec![control("c", &["k"])], vec![]);
    let mut new = Finding::new("k", "r", Fail);
    new.observed_at = Some(at(1.0));
    w.run_with("a", at(1.0), true, &[new]);
    let mut old = Finding::new("k", "r", Pass);
    old.observed_at = Some(at(0.5));
    w.run_with("a", at(1.2), true, &[old]);
    assert_eq!(w.counts(), [0, 1, 0, 0]);
    // A record from the future is not fresh for ever: the document's own time is taken.
    let mut future = Finding::new("k", "r", Pass);
    future.observed_at = Some(at(1e6));
    w.run_with("a", at(1.5), true, &[future]);
    w.advance(at(5.0));
    assert_eq!(w.counts(), [0, 0, 1, 0]);
}

#[test]
fn a_dead_scanner_whose_old_report_is_read_again_goes_stale() {
    let mut w = World::of(vec![control("c", &["k"])], vec![]);
    for hour in 0..6 {
        let mut f = Finding::new("k", "r", Pass);
        f.observed_at = Some(at(0.0));
        w.run_with("a", at(f64::from(hour)), true, &[f]);
    }
    assert_eq!(w.counts(), [0, 0, 1, 0]);
    assert_eq!(w.hours(), [3.0, 0.0, 2.0, 0.0]);
}

#[test]
fn in_one_document_the_worst_of_equal_subjects_counts_whatever_the_order() {
    for order in [[Pass, Fail], [Fail, Pass]] {
        let mut w = World::of(vec![control("c", &["k"])], vec![]);
        w.run("a", at(0.0), true, &[("k", "r", order[0]), ("k", "r", order[1])]);
        assert_eq!(w.counts(), [0, 1, 0, 0]);
        w.run("a", at(1.0), true, &[("k", "r", Pass), ("k", "r", Pass)]);
        assert_eq!(w.counts(), [1, 0, 0, 0]);
    }
}

#[test]
fn episodes_deadlines_and_flapping() {
    let mut w = World::of(vec![control("c", &["k"])], vec![]);
    w.run("a", at(0.0), true, &[("k", "r", Pass)]);
    w.run("a", at(1.0), true, &[("k", "r", Fail)]);
    w.run("a", at(3.0), true, &[("k", "r", Pass)]);
    let v = |w: &World| w.account.rows[0].violations.as_ref().expect("violations occurred").by_severity[Severity::High as usize];
    assert_eq!((v(&w).opened, v(&w).fixed, v(&w).met, v(&w).missed), (1, 1, 1, 0));
    // Failing again within 2 × T: the same episode, counted once.
    w.run("a", at(4.0), true, &[("k", "r", Fail)]);
    w.run("a", at(5.0), true, &[("k", "r", Pass)]);
    assert_eq!((v(&w).fixed, v(&w).met), (1, 1));
    // A new one after the flap window, never fixed: missed at opened + 10 h, while evidence is renewed.
    for hour in [8, 10, 12, 14, 16] {
        w.run("a", at(f64::from(hour)), true, &[("k", "r", Fail)]);
    }
    assert_eq!(v(&w).missed, 0);
    w.advance(at(18.0));
    assert_eq!((v(&w).missed, v(&w).overdue), (1, 1));
    w.run("a", at(18.5), true, &[("k", "r", Pass)]);
    assert_eq!((v(&w).fixed, v(&w).met, v(&w).missed, v(&w).overdue), (2, 1, 1, 0));
    assert_eq!(w.account.durations[Severity::High as usize].sum_ms, (2.0 * HOUR as f64 + 10.5 * HOUR as f64) as u64);
}

#[test]
fn confirmations_believe_a_change_only_after_k_equal_observations() {
    let mut c = control("c", &["k"]);
    c.confirmations = 2;
    let mut w = World::of(vec![c], vec![]);
    w.run("a", at(0.0), true, &[("k", "r", Pass)]);
    w.run("a", at(1.0), true, &[("k", "r", Fail)]);
    assert_eq!(w.counts(), [1, 0, 0, 0]);
    w.run("a", at(2.0), true, &[("k", "r", Fail)]);
    assert_eq!(w.counts(), [0, 1, 0, 0]);
    w.run("a", at(3.0), true, &[("k", "r", Pass)]);
    w.run("a", at(4.0), true, &[("k", "r", Fail)]);
    w.run("a", at(5.0), true, &[("k", "r", Pass)]);
    assert_eq!(w.counts(), [0, 1, 0, 0], "the count begins anew when the verdict falls back");
}

#[test]
fn a_source_of_violations_needs_a_population_for_a_ratio() {
    let mut violations = collector("a");
    violations.violations_only = true;
    let mut plain = control("c", &["bad"]);
    plain.checks[0].collector = Some("a".to_owned());
    let mut counted = plain.clone();
    counted.id = "d".to_owned();
    counted.population = Some(Population { from: CheckSelector { collector: Some("b".to_owned()), ..selector("inventory") } });
    let rules = rules(vec![plain, counted], vec![violations, collector("b")], vec![]);
    assert!(!rules.has_ratio(0) && rules.has_ratio(1));
    let mut w = World::new(rules);
    let of_d = |w: &World| {
        let d = w.book.controls().find("d");
        let own: Vec<PairTransition> = w.log.iter().copied().filter(|t| Some(t.change.control) == d).collect();
        Some(replayed(&own, w.account.at).0)
    };
    w.run("b", at(0.0), true, &[("inventory", "r1", NotAssessed), ("inventory", "r2", NotAssessed)]);
    let row = |w: &World, control: &str| {
        let c = w.book.controls().find(control).expect("known");
        (0..w.account.rows.len()).find(|i| w.book.rows()[*i].control == c).map(|i| w.account.rows[i].counts.0)
    };
    assert_eq!(row(&w, "d"), Some([0, 0, 2, 0]), "the violation source never ran: nobody knows");
    w.run("a", at(0.5), true, &[("bad", "r1", Fail)]);
    assert_eq!(row(&w, "d"), Some([1, 1, 0, 0]));
    assert_eq!(row(&w, "c"), Some([0, 1, 0, 0]));
    // It ran again and lists nothing: a marker says that the check ran.
    let mut marker = Finding::new("bad", "", NotAssessed);
    marker.count = 0;
    w.run_with("a", at(1.0), true, &[marker]);
    assert_eq!(row(&w, "d"), Some([2, 0, 0, 0]));
    assert_eq!(row(&w, "c"), Some([0, 0, 0, 0]));
    assert_eq!(of_d(&w), row(&w, "d"), "transitions alone tell the same");
    // It ran, lists nothing, and does not say that it ran this check: its silence says nothing.
    w.run("a", at(1.2), true, &[("bad", "r1", Fail)]);
    w.run_with("a", at(1.5), true, &[]);
    assert_eq!(row(&w, "d"), Some([0, 0, 2, 0]));
    assert_eq!(of_d(&w), row(&w, "d"));
    let mut again = Finding::ran("bad");
    again.observed_at = Some(at(1.6));
    w.run_with("a", at(1.6), true, &[again]);
    assert_eq!(row(&w, "d"), Some([2, 0, 0, 0]));
    // The violation source dies while the inventory lives on: unknown, not compliant.
    w.run("b", at(3.0), true, &[("inventory", "r1", NotAssessed), ("inventory", "r2", NotAssessed)]);
    w.advance(at(5.0));
    assert_eq!(row(&w, "d"), Some([0, 0, 2, 0]));
    assert_eq!(of_d(&w), row(&w, "d"));
}

#[test]
fn numbers_without_resources_weigh_what_the_source_says() {
    let mut w = World::of(vec![control("c", &["k"])], vec![]);
    let aggregate = |n: u64| {
        let mut f = Finding::new("k", "deploy.yaml", Pass);
        f.aggregate = true;
        f.count = n;
        f
    };
    w.run_with("a", at(0.0), true, &[aggregate(7), Finding::new("k", "deploy.yaml", Fail)]);
    assert_eq!(w.counts(), [7, 1, 0, 0]);
    w.run_with("a", at(1.0), true, &[aggregate(5), Finding::new("k", "deploy.yaml", Fail)]);
    assert_eq!(w.counts(), [5, 1, 0, 0]);
    assert_eq!(w.hours(), [7.0, 1.0, 0.0, 0.0]);
    // The transitions tell the same story by themselves.
    assert_eq!(replayed(&w.log, at(1.0)), w.account.rows[0].counts);
    w.run_with("a", at(2.0), true, &[Finding::new("k", "deploy.yaml", Fail)]);
    assert_eq!(w.counts(), [0, 1, 0, 0]);
    assert_eq!(replayed(&w.log, at(2.0)), w.account.rows[0].counts);
}

#[test]
fn surplus_scopes_are_folded_for_good_and_lose_nothing() {
    let mut book_rules = World::of(vec![control("c", &["k"])], vec![]);
    book_rules.book = Book::new(book_rules.book.rules().clone(), 2);
    let mut w = book_rules;
    let list: Vec<Finding<'_>> = (0..5)
        .map(|i| {
            let mut f = Finding::new("k", format!("r{i}"), Pass);
            f.fields.set("account", format!("acct{i}"));
            f
        })
        .collect();
    w.run_with("a", at(0.0), true, &list);
    let shown: Vec<(String, u64)> = w
        .book
        .rows()
        .iter()
        .enumerate()
        .filter(|(i, r)| r.row as usize == *i)
        .map(|(i, r)| (w.book.scopes().get(r.shown).to_owned(), w.account.rows[i].counts.0[0]))
        .collect();
    assert_eq!(shown, [("acct0".to_owned(), 1), ("acct1".to_owned(), 1), ("__other__".to_owned(), 3)]);
    assert_eq!(w.book.folded(), 3);
}

#[test]
fn another_scope_takes_the_resource_over_without_counting_it_twice() {
    let mut w = World::of(vec![control("c", &["k"])], vec![]);
    let placed = |account: &'static str| {
        let mut f = Finding::new("k", "r", Fail);
        f.fields.set("account", account);
        f
    };
    w.run_with("a", at(0.0), true, &[placed("one")]);
    w.run_with("a", at(1.0), true, &[placed("two")]);
    assert_eq!(w.account.rows.iter().map(|r| r.counts.0).collect::<Vec<_>>(), [[0, 0, 0, 0], [0, 1, 0, 0]]);
    assert_eq!(w.log.iter().filter(|t| t.change.cause == Cause::Mapping).count(), 1);
}

#[test]
fn new_rules_drop_what_is_no_longer_asked_and_say_so() {
    let mut w = World::of(vec![control("c", &["k"]), control("d", &["k"])], vec![]);
    w.run("a", at(0.0), true, &[("k", "r", Fail)]);
    let next = rules(vec![control("c", &["k"])], vec![collector("a"), collector("b")], vec![waiver("c", "r", at(0.0), at(9.0))]);
    w.advance(at(1.0));
    let changes = w.book.reconfigure(next, 1000, at(1.0));
    w.account.apply(&w.book, &changes);
    w.account.look(&w.book, at(1.0));
    let told: Vec<_> = changes.iter().map(|c| (w.book.controls().get(c.control).to_owned(), c.from, c.to, c.cause)).collect();
    assert_eq!(
        told,
        [
            ("c".to_owned(), Some(State::NonCompliant), Some(State::Waived), Cause::Waiver),
            ("d".to_owned(), Some(State::NonCompliant), None, Cause::Control),
        ]
    );
    assert_eq!(w.account.rows.iter().map(|r| r.counts.0).collect::<Vec<_>>(), [[0, 0, 0, 1], [0, 0, 0, 0]]);
}

#[test]
fn states_of_a_million_pairs_take_tens_of_bytes() {
    let controls: Vec<Control> = (0..50).map(|i| control(&format!("c{i}"), &[&format!("k{i}")])).collect();
    let mut w = World::of(controls, vec![]);
    let ids: Vec<String> =
        (0..2000).map(|i| format!("arn:aws:service:eu-west-1:123456789012:some-resource/of-a-usual-length-{i:06}")).collect();
    let mut list = Vec::new();
    for k in 0..10 {
        for (i, id) in ids.iter().enumerate() {
            list.push(Finding::new(format!("k{}", (i % 5) * 10 + k), id.as_str(), Pass));
        }
    }
    w.run_with("a", at(0.0), true, &list);
    let per_pair = w.book.bytes_held() as f64 / 20_000.0;
    assert!(per_pair < 24.0, "{per_pair} bytes a pair");
}

/// Counts by transitions alone, as an auditor would take them.
fn replayed(log: &[PairTransition], until: Moment) -> Counts {
    let mut counts = [0i64; 4];
    for t in log.iter().filter(|t| t.at <= until) {
        if let Some(s) = t.change.from {
            counts[s as usize] -= i64::from(t.change.weight);
        }
        if let Some(s) = t.change.to {
            counts[s as usize] += i64::from(t.change.weight);
        }
    }
    Counts(counts.map(|n| u64::try_from(n).expect("never below nothing")))
}

/// Integrals by transitions alone.
fn integrated(log: &[PairTransition], until: Moment) -> [u64; 4] {
    let mut out = [0u64; 4];
    let mut last = at(0.0);
    let mut instants: Vec<Moment> = log.iter().map(|t| t.at).filter(|t| *t <= until).collect();
    instants.push(until);
    instants.sort_unstable();
    for t in instants {
        let held = replayed(log, Moment(t.0 - 1));
        // The counts that hold just before `t` held since the last instant.
        for (sum, n) in out.iter_mut().zip(held.0) {
            *sum += n * t.since(last).0;
        }
        last = t;
    }
    out
}

#[derive(Clone, Debug)]
struct Step {
    minutes: i64,
    collector: bool,
    complete: bool,
    findings: Vec<(u8, u8, u8)>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let finding = (0u8..3, 0u8..5, 0u8..6);
    let step = (1i64..150, any::<bool>(), any::<bool>(), prop::collection::vec(finding, 0..8));
    prop::collection::vec(step.prop_map(|(minutes, collector, complete, findings)| Step { minutes, collector, complete, findings }), 1..12)
}

fn play(steps: &[Step], looks: bool, backwards: bool) -> World {
    let checks = ["k", "l", "m"];
    let results = [Pass, Fail, Error, Manual, NotApplicable, NotAssessed];
    let mut w = World::of(vec![control("c", &["k", "l"]), control("d", &["m"])], vec![waiver("c", "r1", at(2.0), at(5.25))]);
    let mut now = 0;
    for s in steps {
        if looks {
            for part in 1..4 {
                w.advance(Moment(at(0.0).0 + (now + s.minutes * part / 4) * 60_000));
            }
        }
        now += s.minutes;
        let mut list: Vec<(&str, String, CheckResult)> =
            s.findings.iter().map(|(c, r, v)| (checks[*c as usize], format!("r{r}"), results[*v as usize])).collect();
        if backwards {
            list.reverse();
        }
        let list: Vec<(&str, &str, CheckResult)> = list.iter().map(|(c, r, v)| (*c, r.as_str(), *v)).collect();
        w.run(if s.collector { "a" } else { "b" }, Moment(at(0.0).0 + now * 60_000), s.complete, &list);
    }
    w.advance(Moment(at(0.0).0 + (now + 77) * 60_000));
    w
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counters_follow_from_transitions_alone_and_nothing_depends_on_who_looked(steps in steps()) {
        let w = play(&steps, false, false);
        let end = w.account.at;
        for (i, slot) in w.book.rows().iter().enumerate() {
            let own: Vec<PairTransition> = w.log.iter().copied().filter(|t| w.book.row(t.change.control, t.change.scope) == Some(i as u32)).collect();
            prop_assert_eq!(replayed(&own, end), w.account.rows[i].counts, "control {}", slot.control);
            prop_assert_eq!(integrated(&own, end), w.account.rows[i].resource_ms.0);
        }
        // Somebody who looked four times as often, and a scanner that told its findings in another order, change nothing.
        for (looks, backwards) in [(true, false), (false, true)] {
            let other = play(&steps, looks, backwards);
            for (name, _) in [("c", 0), ("d", 0)] {
                let row = |w: &World| {
                    let c = w.book.controls().find(name);
                    w.book.rows().iter().position(|r| Some(r.control) == c).map(|i| {
                        let r = &w.account.rows[i];
                        (r.counts, r.resource_ms, r.evidence_ms, r.violations.as_ref().map(|v| v.by_severity))
                    })
                };
                let (a, b) = (row(&w), row(&other));
                if !backwards {
                    prop_assert_eq!(a, b);
                } else {
                    // The order of registration may differ, the numbers may not.
                    prop_assert_eq!(a.map(|r| (r.0, r.1)), b.map(|r| (r.0, r.1)));
                }
            }
        }
    }
}
