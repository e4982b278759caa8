//! One scanner's verdict on one resource for one check, in one vocabulary.

use super::Moment;
use std::borrow::Cow;
use std::fmt;

/// What a scanner said about one resource for one of its own checks.
///
/// Borrowed from the bytes it was read from: a reader hands it to a sink, the sink copies what it keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding<'a> {
    /// The scanner's own rule id (`s3_bucket_public_access`, `CKV_AWS_144`, `xccdf_…_rule_x`).
    pub check: Cow<'a, str>,
    /// What was judged.
    pub resource: ResourceRef<'a>,
    /// The verdict, as the scanner says it.
    pub result: CheckResult,
    /// The second axis: whether the source suppressed or retired the record. Never merged into `result`.
    pub lifecycle: Lifecycle,
    /// The scanner's severity; set on passes too by many scanners.
    pub severity: Option<Severity>,
    /// When the scanner looked. `None`: the document does not say.
    pub observed_at: Option<Moment>,
    /// Where the resource lives and what the format knows about it, for scope templates: `account`,
    /// `account_name`, `region`, `provider`, `cluster`, `namespace`, `host`, `repository`, `project`,
    /// `subscription`, `artifact`, `profile`, `service`, `file`.
    pub fields: Fields<'a>,
    /// The check's title.
    pub title: Option<Cow<'a, str>>,
    /// What the scanner says about this very result.
    pub message: Option<Cow<'a, str>>,
    /// Framework requirements the source itself relates this check to.
    pub control_refs: Vec<ControlRef<'a>>,
    /// How many equal verdicts this record stands for: 1, or more where the source gives only a number.
    /// A record with `count != 1` or `aggregate` has no resource of its own behind each of them.
    pub count: u64,
    /// True if the source gives only a number here, and `resource` names the document or group that was counted.
    pub aggregate: bool,
    /// The record's own bytes (JSON), for `where` expressions; `None` for formats that have no such record.
    pub raw: Option<&'a [u8]>,
}

/// The resource as the scanner names it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceRef<'a> {
    /// The scanner's identifier: an ARN, an Azure id, `group/kind/namespace/name`, a host name, `file:resource`.
    pub id: Cow<'a, str>,
    /// The scanner's type (`AwsS3Bucket`, `Pod`), if it says.
    pub kind: Option<Cow<'a, str>>,
    /// A name for people, if it says.
    pub name: Option<Cow<'a, str>>,
}

/// A few named values. Small: looked up by walking.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields<'a>(pub Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_ref())
    }

    /// Adds `name`, unless the value is empty.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((name.into(), value));
        }
    }
}

/// A requirement of a framework, as a source names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlRef<'a> {
    /// The framework, as the source writes it (`CIS-3.0`, `NIST-800-53-Revision-5`).
    pub framework: Cow<'a, str>,
    /// Its version, where the source gives it apart from the name.
    pub version: Option<Cow<'a, str>>,
    /// The requirement's id within the framework.
    pub id: Cow<'a, str>,
}

macro_rules! closed_words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }
        impl $name {
            /// Every variant, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// The word used in YAML, JSON, metrics and docs.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
            /// The variant with this word.
            pub fn from_word(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.word()) }
        }
    };
}
pub(crate) use closed_words;

closed_words! {
    /// A check's verdict in the scanner's mouth.
    CheckResult {
        /// The resource complies.
        Pass = "pass",
        /// The resource does not comply.
        Fail = "fail",
        /// The check could not be carried out: no information about the resource.
        Error = "error",
        /// A person has to look: the resource's state is unknown.
        Manual = "manual",
        /// The check does not apply to the resource.
        NotApplicable = "not_applicable",
        /// The check was not carried out on the resource: no information.
        NotAssessed = "not_assessed",
    }
}
closed_words! {
    /// What the source did with the record, apart from the verdict.
    Lifecycle {
        /// Current.
        Active = "active",
        /// The source hides it: muted, suppressed, exempt, rejected.
        Suppressed = "suppressed",
        /// The source says that it is no longer current: archived, inactive, deleted.
        Inactive = "inactive",
    }
}
closed_words! {
    /// How bad a failure is. Ordered from harmless to worst.
    Severity {
        /// For information.
        Info = "info",
        /// Low.
        Low = "low",
        /// Medium.
        Medium = "medium",
        /// High.
        High = "high",
        /// Critical.
        Critical = "critical",
    }
}

#[expect(clippy::derivable_impls, reason = "the macro's enums have no #[default] variant")]
impl Default for CheckResult {
    fn default() -> Self {
        CheckResult::NotAssessed
    }
}
#[expect(clippy::derivable_impls, reason = "the macro's enums have no #[default] variant")]
impl Default for Lifecycle {
    fn default() -> Self {
        Lifecycle::Active
    }
}

impl Severity {
    /// Reads what scanners write: any case, `informational`, `moderate`, `important`, `none`, `fatal`.
    pub fn lenient(text: &str) -> Option<Severity> {
        let mut buf = [0u8; 16];
        let bytes = text.as_bytes();
        if bytes.len() > buf.len() {
            return None;
        }
        buf[..bytes.len()].copy_from_slice(bytes);
        buf[..bytes.len()].make_ascii_lowercase();
        Some(match &buf[..bytes.len()] {
            b"critical" | b"fatal" => Severity::Critical,
            b"high" | b"important" => Severity::High,
            b"medium" | b"moderate" => Severity::Medium,
            b"low" => Severity::Low,
            b"info" | b"informational" | b"none" | b"negligible" => Severity::Info,
            _ => return None,
        })
    }
}

impl<'a> Finding<'a> {
    /// A mark, not a finding: `check` was carried out, whatever it found. Only sources that list violations and nothing
    /// else need it: there, silence about a resource means something only if the check ran at all. Counts as nothing.
    pub fn ran(check: impl Into<Cow<'a, str>>) -> Finding<'a> {
        Finding { check: check.into(), count: 0, aggregate: true, ..Finding::default() }
    }

    /// Whether this is such a mark.
    pub fn is_mark(&self) -> bool {
        self.count == 0 && self.resource.id.is_empty()
    }

    /// A finding of weight one about `resource`.
    pub fn new(check: impl Into<Cow<'a, str>>, resource: impl Into<Cow<'a, str>>, result: CheckResult) -> Finding<'a> {
        Finding {
            check: check.into(),
            resource: ResourceRef { id: resource.into(), kind: None, name: None },
            result,
            count: 1,
            ..Finding::default()
        }
    }
}
