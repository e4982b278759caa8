//! Bytes in, findings out. One file per format; pure, streaming, fuzzed.
//!
//! A reader never guesses: what it cannot read becomes a [`Problem`] with its position, and the record costs only
//! itself. It returns `Err` only when the document is not of its format at all. Vendor words end here.
//! This room does no IO of its own: it is handed a reader of decompressed bytes.

use crate::domain::finding::closed_words;
use crate::domain::{Finding, Position, Problem, ProblemKind, RunOutcome};
use std::fmt;
use std::io::BufRead;

mod auto;
mod json;
pub mod jsonpath;
mod pages;
pub mod predicate;
mod stream;
pub mod summary;
mod time;
mod walk;
mod yaml;

mod asff;
mod aws_config;
mod azure_assessments;
mod azure_policy;
mod azure_regulatory;
mod checkov;
pub mod cloud_custodian;
mod compliance_operator;
mod conftest;
mod fugue;
mod gatekeeper;
mod github;
mod inspec;
mod kube_bench;
mod native;
mod ocsf;
mod oscal;
mod policy_report;
mod powerpipe;
mod regula;
mod sarif;
mod scc;
mod scorecard;
mod sentinel;
mod snyk_iac;
mod trivy;
mod trivy_operator;
mod wiz;
mod xccdf;

pub use cloud_custodian::envelope as custodian_envelope;

closed_words! {
    /// The formats that are read without a mapping; the names are a contract.
    Format {
        /// bornright's own NDJSON, one finding a line.
        Native = "native",
        /// OCSF 1.x: Prowler (v3 native JSON, v4 and v5 class 2004) and class 2003 as Security Hub V2 sends it.
        Ocsf = "ocsf",
        /// AWS Security Finding Format, from Security Hub or Prowler.
        Asff = "asff",
        /// XCCDF 1.1/1.2 results and ARF.
        Xccdf = "xccdf",
        /// OSCAL assessment results.
        Oscal = "oscal",
        /// AWS Config evaluation results.
        AwsConfig = "aws_config",
        /// Defender for Cloud assessments.
        AzureAssessments = "azure_assessments",
        /// Defender for Cloud regulatory compliance.
        AzureRegulatory = "azure_regulatory",
        /// Azure Policy states.
        AzurePolicy = "azure_policy",
        /// Microsoft Sentinel incidents: work items, never a pass ratio.
        Sentinel = "sentinel",
        /// Google Security Command Center findings (violations only).
        Scc = "scc",
        /// Wiz configuration findings and issues.
        Wiz = "wiz",
        /// Fugue compliance by rules.
        Fugue = "fugue",
        /// Regula reports.
        Regula = "regula",
        /// Snyk IaC test results.
        SnykIac = "snyk_iac",
        /// Cloud Custodian policy output (violations only).
        CloudCustodian = "cloud_custodian",
        /// Gatekeeper constraints (violations only).
        Gatekeeper = "gatekeeper",
        /// Kubernetes PolicyReport and OpenReports.
        PolicyReport = "policy_report",
        /// Trivy reports: misconfiguration, vulnerabilities, secrets, Kubernetes, compliance.
        Trivy = "trivy",
        /// trivy-operator resources.
        TrivyOperator = "trivy_operator",
        /// Results of the OpenShift Compliance Operator.
        ComplianceOperator = "compliance_operator",
        /// kube-bench results.
        KubeBench = "kube_bench",
        /// Conftest results (passes only as numbers).
        Conftest = "conftest",
        /// Checkov reports in all three shapes.
        Checkov = "checkov",
        /// SARIF 2.1.0 (violations only, as a rule).
        Sarif = "sarif",
        /// InSpec and CINC reports.
        Inspec = "inspec",
        /// Powerpipe and Steampipe benchmark results.
        Powerpipe = "powerpipe",
        /// OpenSSF Scorecard results.
        Scorecard = "scorecard",
        /// GitHub branch protection and rulesets.
        Github = "github",
    }
}

/// How a document is to be read.
#[derive(Clone, Debug)]
pub enum FormatSpec {
    /// Recognise the document by its shape, and say what it was taken for.
    Auto,
    /// A format we know.
    Builtin(Format),
    /// The operator's own mapping.
    JsonPath(std::sync::Arc<jsonpath::Mapping>),
}

/// What a reader is told besides the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The document's name for problems: a path, or a URL without its query.
    pub source: &'a str,
    /// Bounds on what is read from outside.
    pub limits: Limits,
    /// Whether the sink wants `Finding::raw` filled (some control has a `where`).
    pub want_raw: bool,
}

/// Bounds on a document. Whatever exceeds one becomes a problem of kind `limit`, never an allocation.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one record.
    pub record_bytes: usize,
    /// Bytes of a whole document, after decompression.
    pub document_bytes: u64,
    /// Nesting of JSON or XML.
    pub depth: usize,
    /// Problems reported one by one for a document; the rest is counted in one last problem.
    pub problems: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { record_bytes: 16 << 20, document_bytes: 16 << 30, depth: 128, problems: 1000 }
    }
}

/// Takes what a reader finds, as it finds it.
pub trait Sink {
    /// One finding. Borrowed: copy what is to be kept. `Flow::Stop` ends the reading early (the outcome is then not complete).
    fn finding(&mut self, finding: &Finding<'_>) -> Flow;
    /// One thing that went wrong.
    fn problem(&mut self, problem: Problem);
}

/// Whether a sink wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    More,
    /// Enough.
    Stop,
}

/// The document is not of the configured format, or cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("{source_name}: {message}")]
pub struct FormatError {
    /// The document.
    pub source_name: String,
    /// What sort of fault, for the problem it becomes.
    pub kind: ProblemKind,
    /// Where it stood.
    pub position: Position,
    /// What was found, what was expected, and which format it looks like.
    pub message: String,
}

impl FormatError {
    /// Not of this format.
    pub fn wrong(ctx: &Context<'_>, message: impl fmt::Display) -> FormatError {
        FormatError {
            source_name: ctx.source.to_owned(),
            kind: ProblemKind::WrongFormat,
            position: Position::default(),
            message: message.to_string(),
        }
    }

    /// The problem this error is in a run.
    pub fn into_problem(self) -> Problem {
        Problem { kind: self.kind, source: self.source_name, position: self.position, message: self.message }
    }
}

impl Format {
    /// True for sources whose resources are objects of one cluster, named without it: `group/kind/namespace/name`.
    pub const fn names_within_a_cluster(self) -> bool {
        matches!(self, Format::Gatekeeper | Format::PolicyReport | Format::TrivyOperator | Format::ComplianceOperator)
    }

    /// True for sources that list violations but not what complies: a ratio needs a population (design.md section 5).
    pub const fn violations_only(self) -> bool {
        matches!(self, Format::Scc | Format::CloudCustodian | Format::Gatekeeper | Format::Sarif | Format::Sentinel)
    }
}

/// Reads one document of decompressed bytes, streaming, into `sink`.
///
/// # Errors
/// The document is not of that format, or breaks off before it can be recognised. Whatever was handed to the sink
/// before stays valid; the run is then not complete.
pub fn read(spec: &FormatSpec, input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    let format = match spec {
        FormatSpec::Auto => return auto::read(input, ctx, sink),
        FormatSpec::JsonPath(mapping) => return jsonpath::read(mapping, input, ctx, sink),
        FormatSpec::Builtin(format) => *format,
    };
    let head = auto::Head::peek(input);
    read_as(format, &mut head.replay(input), ctx, sink).map_err(|e| auto::explain(e, format, head.bytes()))
}

/// Reads one document of a format that we know.
fn read_as(format: Format, input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    match format {
        Format::Native => native::read(input, ctx, sink),
        Format::Ocsf => ocsf::read(input, ctx, sink),
        Format::Asff => asff::read(input, ctx, sink),
        Format::Xccdf => xccdf::read(input, ctx, sink),
        Format::Oscal => oscal::read(input, ctx, sink),
        Format::AwsConfig => aws_config::read(input, ctx, sink),
        Format::AzureAssessments => azure_assessments::read(input, ctx, sink),
        Format::AzureRegulatory => azure_regulatory::read(input, ctx, sink),
        Format::AzurePolicy => azure_policy::read(input, ctx, sink),
        Format::Sentinel => sentinel::read(input, ctx, sink),
        Format::Scc => scc::read(input, ctx, sink),
        Format::Wiz => wiz::read(input, ctx, sink),
        Format::Fugue => fugue::read(input, ctx, sink),
        Format::Regula => regula::read(input, ctx, sink),
        Format::SnykIac => snyk_iac::read(input, ctx, sink),
        Format::CloudCustodian => cloud_custodian::read(input, ctx, sink),
        Format::Gatekeeper => gatekeeper::read(input, ctx, sink),
        Format::PolicyReport => policy_report::read(input, ctx, sink),
        Format::Trivy => trivy::read(input, ctx, sink),
        Format::TrivyOperator => trivy_operator::read(input, ctx, sink),
        Format::ComplianceOperator => compliance_operator::read(input, ctx, sink),
        Format::KubeBench => kube_bench::read(input, ctx, sink),
        Format::Conftest => conftest::read(input, ctx, sink),
        Format::Checkov => checkov::read(input, ctx, sink),
        Format::Sarif => sarif::read(input, ctx, sink),
        Format::Inspec => inspec::read(input, ctx, sink),
        Format::Powerpipe => powerpipe::read(input, ctx, sink),
        Format::Scorecard => scorecard::read(input, ctx, sink),
        Format::Github => github::read(input, ctx, sink),
    }
}

/// [`read`] without short cuts: every record of `native`, `ocsf` and `asff` is parsed in full, where `read` jumps over what it
/// does not need. What the short cuts are tested against; of the other formats, the same as [`read`].
///
/// # Errors
/// As [`read`].
#[doc(hidden)]
pub fn read_in_full(format: Format, input: &mut dyn BufRead, ctx: &Context<'_>, sink: &mut dyn Sink) -> Result<RunOutcome, FormatError> {
    match format {
        Format::Native => native::read_by(input, ctx, sink, false),
        Format::Ocsf => ocsf::read_by(input, ctx, sink, false),
        Format::Asff => asff::read_by(input, ctx, sink, false),
        other => read(&FormatSpec::Builtin(other), input, ctx, sink),
    }
}
