//! The yardstick of plain means: serde_json into borrowed structs, one record at a time, and the counts that
//! `bornright findings --summary` prints. No cleverness on purpose: this is what a good afternoon's work gives.
//!
//! ```text
//! typed ocsf-ndjson|ocsf-array|asff-pages FILE
//! ```

use hashbrown::HashSet;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};

#[derive(Deserialize)]
struct Ocsf<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    severity: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    status_code: Cow<'a, str>,
    #[serde(borrow)]
    status_detail: Cow<'a, str>,
    #[serde(borrow)]
    unmapped: Unmapped<'a>,
    #[serde(borrow)]
    finding_info: Info<'a>,
    #[serde(borrow)]
    resources: Vec<Resource<'a>>,
    #[serde(borrow)]
    cloud: Cloud<'a>,
    time: i64,
}
#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    event_code: Cow<'a, str>,
}
#[derive(Deserialize)]
struct Unmapped<'a> {
    #[serde(borrow)]
    compliance: &'a RawValue,
}
#[derive(Deserialize)]
struct Info<'a> {
    #[serde(borrow)]
    title: Cow<'a, str>,
}
#[derive(Deserialize)]
struct Resource<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    region: Cow<'a, str>,
}
#[derive(Deserialize)]
struct Cloud<'a> {
    #[serde(borrow)]
    account: Account<'a>,
}
#[derive(Deserialize)]
struct Account<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Asff<'a> {
    #[serde(borrow)]
    title: Cow<'a, str>,
    #[serde(borrow)]
    aws_account_id: Cow<'a, str>,
    #[serde(borrow)]
    updated_at: Cow<'a, str>,
    #[serde(borrow)]
    severity: AsffSeverity<'a>,
    #[serde(borrow)]
    resources: Vec<AsffResource<'a>>,
    #[serde(borrow)]
    compliance: AsffCompliance<'a>,
    #[serde(borrow)]
    workflow: AsffWorkflow<'a>,
}
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AsffSeverity<'a> {
    #[serde(borrow)]
    label: Cow<'a, str>,
}
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AsffResource<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "Type")]
    kind: Cow<'a, str>,
}
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AsffCompliance<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    security_control_id: Cow<'a, str>,
    #[serde(borrow)]
    related_requirements: &'a RawValue,
}
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AsffWorkflow<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
}
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page<'a> {
    #[serde(borrow)]
    findings: Vec<Asff<'a>>,
}

#[derive(Default)]
struct Summary {
    findings: u64,
    pass: u64,
    fail: u64,
    manual: u64,
    suppressed: u64,
    resources: HashSet<Box<str>>,
    checks: HashSet<Box<str>>,
    /// Keeps the compiler from leaving out fields that nothing asks for.
    weight: usize,
}

impl Summary {
    fn add(&mut self, status: &str, muted: bool, check: &str, resource: &str) {
        self.findings += 1;
        match status {
            "PASS" | "PASSED" => self.pass += 1,
            "FAIL" | "FAILED" => self.fail += 1,
            _ => self.manual += 1,
        }
        self.suppressed += u64::from(muted);
        if !self.resources.contains(resource) {
            self.resources.insert(resource.into());
        }
        if !self.checks.contains(check) {
            self.checks.insert(check.into());
        }
    }

    fn ocsf(&mut self, f: &Ocsf<'_>) {
        for r in &f.resources {
            self.add(&f.status_code, f.status == "Suppressed", &f.metadata.event_code, &r.uid);
            self.weight += r.kind.len() + r.region.len();
        }
        self.weight += f.severity.len() + f.status_detail.len() + f.unmapped.compliance.get().len() + f.finding_info.title.len();
        self.weight += f.cloud.account.uid.len() + f.time as usize % 2;
    }

    fn asff(&mut self, f: &Asff<'_>) {
        for r in &f.resources {
            self.add(&f.compliance.status, f.workflow.status == "SUPPRESSED", &f.compliance.security_control_id, &r.id);
            self.weight += r.kind.len();
        }
        self.weight += f.title.len()
            + f.aws_account_id.len()
            + f.updated_at.len()
            + f.severity.label.len()
            + f.compliance.related_requirements.get().len();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (format, path) = (args.next().ok_or("which format?")?, args.next().ok_or("which file?")?);
    let mut input = BufReader::with_capacity(256 << 10, File::open(path)?);
    let mut sum = Summary::default();
    if format == "ocsf-array" {
        let mut all = serde_json::Deserializer::from_reader(input);
        all.deserialize_seq(Elements(&mut sum))?;
    } else {
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line)? > 0 {
            match format.as_str() {
                "ocsf-ndjson" => sum.ocsf(&serde_json::from_slice(&line)?),
                "asff-pages" => serde_json::from_slice::<Page<'_>>(&line)?.findings.iter().for_each(|f| sum.asff(f)),
                other => return Err(format!("{other}: expected ocsf-ndjson, ocsf-array or asff-pages").into()),
            }
            line.clear();
        }
    }
    let Summary { findings, pass, fail, manual, suppressed, .. } = sum;
    let (resources, checks) = (sum.resources.len(), sum.checks.len());
    println!(
        "{{\"findings\":{findings},\"pass\":{pass},\"fail\":{fail},\"manual\":{manual},\"suppressed\":{suppressed},\"resources\":{resources},\"checks\":{checks}}}"
    );
    std::hint::black_box(sum.weight);
    Ok(())
}

/// One element of the array after the other, without holding the array. From a reader nothing can be borrowed, so each
/// element is kept as text first: the textbook way, and the reason why it is slow.
struct Elements<'s>(&'s mut Summary);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of findings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Element(self.0))?.is_some() {}
        Ok(())
    }
}

struct Element<'s>(&'s mut Summary);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        let text = Box::<RawValue>::deserialize(d)?;
        self.0.ocsf(&serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?);
        Ok(())
    }
}
