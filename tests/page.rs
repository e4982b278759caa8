//! The pages for people: what they say, what they never say, and that nothing breaks out of its place.

mod snapshot_fixture;

use bornright::domain::{Counts, Moment, Span};
use bornright::report::{Part, STYLE, control, index, message};
use bornright::snapshot::{Row, Snapshot};
use snapshot_fixture::{AT, estate, large};

fn plain(html: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in html.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                out.push(' ');
            }
            '\u{a0}' | '\u{202f}' => out.push(' '),
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text of the table row that has `needle`.
fn line_of(html: &str, needle: &str) -> String {
    let row = html.split("<tr ").find(|row| row.contains(needle)).unwrap_or_else(|| panic!("no row has {needle}"));
    plain(&format!("<tr {row}"))
}

#[test]
fn ratios_stand_with_their_honesty() {
    let html = index(&estate(), AT, &Part::default());
    // 9 good, 2 bad, 2 unknown, 5 waived over two scopes: 9/11, 9/13, 11/13, 16/18; nothing is rounded in our favor.
    let line = line_of(&html, "controls/storage-no-public-access");
    assert!(line.contains("81.8 % (69.2 % to 84.7 %) 88.8 % 9 2 2 5"), "{line}");
    let line = line_of(&html, "controls/logging-trail-encrypted");
    assert!(line.contains("100 % 100 % 4 0 0 0"), "{line}");
}

#[test]
fn where_there_is_no_ratio_the_page_says_why() {
    let html = index(&estate(), AT, &Part::default());
    for (id, why) in [
        ("iam-root-no-keys", "no ratio: nothing is known, evidence is missing or too old (0 % to 100 %) 0 % 0 0 1 0"),
        ("host-no-telnet", "no ratio: nothing is in scope – 0 0 0 0"),
        ("k8s-namespace-owner", "no ratio: its sources list only violations and it has no population to divide by – 0 3 0 0"),
        ("k8s-images-signed", "no ratio: all that is in scope is waived 100 % 0 0 0 2"),
        ("weird%2F..%2F%22id%22%20%3Cb%3E", "no ratio: no finding has matched yet – 0 0 0 0"),
    ] {
        let line = line_of(&html, &format!("controls/{id}"));
        assert!(line.contains(why), "{line}");
    }
    // In a scope where some sources list only violations, its other controls' reason alone would mislead.
    let line = line_of(&html, "?scope=shop%5Cprod");
    assert!(line.contains("no ratio: some sources list only violations, and of the rest nothing has a verdict"), "{line}");
    assert!(!html.contains("NaN"));
}

#[test]
fn the_page_follows_time_between_snapshots() {
    let s = estate();
    let line = |now: Moment| line_of(&index(&s, now, &Part::default()), "controls/logging-trail-encrypted");
    assert!(line(AT + Span::MINUTE.times(14)).contains("100 % 100 %"));
    let later = line(AT + Span::MINUTE.times(15));
    assert!(later.contains("no ratio: nothing is known"), "{later}");
}

#[test]
fn text_from_outside_stays_text() {
    let s = estate();
    let weird = control(&s, AT, "weird/../\"id\" <b>").expect("it is there");
    for html in [&index(&s, AT, &Part::default()), &weird, &message("404", "<script>"), &index(&s, AT, &scope("<script>alert(1)</script>"))]
    {
        let lower = html.to_lowercase();
        for never in ["<script", "<img", "onerror=alert(1)>", "javascript:alert(1)\"", "<b>", "style=\"", " onclick"] {
            assert!(!lower.contains(never), "{never}");
        }
    }
    // A training text that is no web address is shown, not linked.
    assert!(plain(&weird).contains("javascript:alert(1)"));
    assert!(weird.contains("No finding has matched a check of this control yet"));
}

fn scope(name: &str) -> Part {
    Part { scope: Some(name.to_owned()), page: 1 }
}

#[test]
fn a_control_has_its_rationale_its_fix_and_its_scopes() {
    let html = control(&estate(), AT, "storage-no-public-access").expect("it is there");
    let text = plain(&html);
    for said in [
        "Most leaks of data begin",
        "Turn on the account&#39;s public access block.",
        "Within 7d of detection",
        "nist-800-53-r5 AC-3",
        "ocsf:s3_bucket_level_public_access_block",
        "On 1 of them two scanners disagree",
        "9 d ago 1 overdue",
    ] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
    assert!(line_of(&html, ">111122223333<").contains("75 % (60 % to 80 %) 86.6 % 6 2 2 5"));
    // A deadline that passes after the snapshot counts at its instant.
    let later = control(&estate(), AT + Span::MINUTE.times(20), "storage-no-public-access").expect("it is there");
    assert!(plain(&later).contains("9 d ago 2 overdue"));
    assert_eq!(control(&estate(), AT, "no-such"), None);
}

#[test]
fn a_scope_filters_the_controls() {
    let html = index(&estate(), AT, &scope("shop\\prod"));
    assert!(html.contains("controls/host-no-telnet") && !html.contains("controls/logging-trail-encrypted"));
    assert!(plain(&index(&estate(), AT, &scope("nowhere"))).contains("There is no scope nowhere"));
}

#[test]
fn collectors_show_what_went_wrong() {
    let html = index(&estate(), AT, &Part::default());
    assert!(line_of(&html, "aws-prod<small>").contains("complete 1 min ago 1 min ago 13 pass, 9 fail 3 that no control asks for 2"));
    assert!(line_of(&html, "hosts<small>").contains("not run yet never none 0"));
    assert!(line_of(&html, "cluster<small>").contains("failed 2 min ago never none 12"));
    assert!(plain(&html).contains("`status_code` is 4, expected PASS, FAIL or MANUAL"));
    assert!(plain(&html).contains("From files: 1 active, 1 expired, 1 invalid. From sources&#39; own suppressions: 4 active."));
    assert!(line_of(&html, "2026-q4/legacy-buckets").contains("active ends in 30 min"));
}

#[test]
fn demo_and_unready_and_failed_reload_are_said_on_top() {
    let said = |s: &Snapshot| plain(&index(s, AT, &Part::default()));
    assert!(!said(&estate()).contains("Demonstration"));
    assert!(said(&Snapshot { demo: true, ..estate() }).contains("Demonstration."));
    assert!(said(&Snapshot { reload: Some((false, AT)), ..estate() }).contains("The last reload failed"));
    assert!(!said(&Snapshot { reload: Some((true, AT)), ..estate() }).contains("reload"));
    let empty = said(&Snapshot::default());
    assert!(empty.contains("Nothing has been collected yet, so nothing is known."), "{empty}");
    assert!(empty.contains("The definitions in force have no control.") && !empty.contains("100 %"), "{empty}");
}

#[test]
fn many_controls_are_paged_and_all_are_reachable() {
    let mut s = large(450, 2);
    // The worst one stands first wherever it is defined.
    s.rows.iter_mut().filter(|r| r.control == 449).for_each(|r| r.counts = Counts([0, 9_999, 0, 0]));
    let mut seen = std::collections::BTreeSet::new();
    for page in 1..=3 {
        let html = index(&s, AT, &Part { scope: None, page });
        let ids: Vec<&str> = html.split("href=\"controls/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        if page == 1 {
            assert_eq!(ids[0], "control-with-a-usual-name-449");
            assert!(html.contains("href=\"?page=2#controls\"") && !html.contains("Previous"));
        }
        seen.extend(ids.into_iter().map(str::to_owned));
    }
    assert_eq!(seen.len(), 450);
    // Beyond the last page is the last page.
    assert!(index(&s, AT, &Part { scope: None, page: usize::MAX }).contains("Page 3 of 3"));
}

#[test]
fn a_row_that_never_saw_evidence_does_not_look_fresh() {
    let mut s = estate();
    s.rows = vec![Row { control: 0, scope: 0, counts: Counts([0, 0, 4, 0]), ..Row::default() }];
    s.changes = vec![];
    s.first_change = vec![0, 0];
    let line = line_of(&index(&s, AT, &Part::default()), "controls/storage-no-public-access");
    assert!(line.contains("no ratio") && line.ends_with("0 0 4 0 never"), "{line}");
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    let pages = [index(&estate(), AT, &Part::default()), control(&estate(), AT, "storage-no-public-access").expect("it is there")];
    for html in &pages {
        for attribute in ["src=\"", "action=\"", "@import"] {
            assert!(!html.contains(attribute), "{attribute}");
        }
        for link in html.split("<link ").skip(1) {
            assert!(link.contains("href=\"data:,\"") || link.contains("style.css"), "{link}");
        }
    }
    assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    // Both themes define the same colors.
    let names = |text: &str| -> Vec<String> {
        let mut n: Vec<String> = text
            .split("--")
            .skip(1)
            .filter_map(|t| t.split_once(": #").map(|(name, _)| name.to_owned()))
            .filter(|n| !n.contains([')', ' ']))
            .collect();
        n.sort();
        n
    };
    let (light, dark) = STYLE.split_once("@media (prefers-color-scheme: dark)").expect("a dark theme");
    let dark = dark.split_once("* {").expect("rules follow").0;
    assert_eq!(names(light), names(dark));
}
