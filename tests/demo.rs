//! The README's first command, as a newcomer meets it.

mod support;

use support::Served;

#[test]
fn the_demo_shows_several_scanners_controls_on_a_page_and_on_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Served::start(dir.path(), &["demo"]);
    let (status, page) = demo.get("/");
    assert_eq!(status, 200);
    for word in ["Demonstration", "417205518860", "web-01.acme.example", "shop", "iac-shop", "href=\"metrics\""] {
        assert!(page.contains(word), "the page does not say {word}");
    }
    let m = demo.metrics();
    assert_eq!(m.get("compliance_exporter_demo", &[]), Some(1.0));
    for scope in ["417205518860", "web-01.acme.example", "shop", "iac-shop"] {
        let ratio = m.get("compliance_ratio", &[("scope", scope)]);
        assert!(ratio.is_some_and(|r| (0.0..=1.0).contains(&r)), "{scope} has no ratio: {ratio:?}");
    }
    let collectors = [
        "aws-prowler",
        "aws-security-hub",
        "hosts-openscap",
        "hosts-inspec",
        "cluster-kube-bench",
        "cluster-trivy",
        "cluster-kyverno",
        "code-checkov",
        "code-zizmor",
        "code-regula",
        "code-conftest",
        "code-trivy",
    ];
    for collector in collectors {
        assert_eq!(m.get("compliance_collector_up", &[("collector", collector)]), Some(1.0), "{collector}:\n{}", demo.log());
    }
    // No ratio is shown without its honesty beside it, and none of them is outside its bounds.
    for line in m.0.lines().filter(|l| l.starts_with("compliance_ratio{")) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let labels = series.strip_prefix("compliance_ratio").unwrap();
        let value: f64 = value.parse().unwrap();
        let beside = |name: &str| -> f64 {
            let wanted = format!("{name}{labels} ");
            m.0.lines().find_map(|l| l.strip_prefix(&wanted)).unwrap_or_else(|| panic!("no {wanted}")).parse().unwrap()
        };
        assert!(beside("compliance_ratio_lower") <= value && value <= beside("compliance_ratio_upper"), "{line}");
        assert!((0.0..=1.0).contains(&beside("compliance_coverage_ratio")), "{line}");
    }
    // One exception, so that there is waiver debt to look at.
    assert_eq!(m.get("compliance_waivers", &[("state", "active"), ("origin", "file")]), Some(1.0), "{}", demo.log());
    assert_eq!(m.get("compliance_resources", &[("control", "storage-delete-needs-mfa"), ("state", "waived")]), Some(1.0));
    // Every control on the page is one click from its reasons.
    let first = page.split("href=\"controls/").nth(1).and_then(|p| p.split('"').next()).expect("controls are linked").to_owned();
    let (status, control) = demo.get(&format!("/controls/{first}"));
    assert_eq!(status, 200);
    assert!(control.contains("Demonstration"));
    assert_eq!(demo.stop(), 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it leaves nothing behind");
}
