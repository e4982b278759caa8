//! Reaches sources and brings their documents, undecoded. What they mean is `formats`' business, what follows from
//! it `evaluate`'s.
//!
//! One task per collector ([`run`]): interval, jitter, timeout, backoff. A collector fails alone: a fault becomes a
//! problem with a kind, and the run is then partial and closes nothing.

use crate::domain::{Moment, Problem, Span};
use crate::formats::Format;
use std::path::PathBuf;

pub mod aws;
pub mod aws_config;
pub mod aws_security_hub;
pub mod azure;
pub mod client;
pub mod command;
pub mod decode;
pub mod file;
pub mod fugue;
pub mod gcp_scc;
pub mod github;
pub mod google;
pub mod http;
pub mod kubernetes;
mod oauth;
pub mod probe;
pub mod push;
pub mod run;
pub mod s3;
pub mod session;
pub mod wiz;

/// A server that says exactly what it is told, for tests of what we make of it.
#[cfg(test)]
#[expect(dead_code, reason = "the tests of the collectors use the rest")]
#[path = "../../tests/collectors/server.rs"]
mod test_server;

/// How a source is reached. Each kind's `Config` lives in its own file; a new kind is one file and one variant.
#[derive(Clone, Debug)]
pub enum Reach {
    /// Files and directories on this machine.
    File(file::Config),
    /// A document behind a URL.
    Http(http::Config),
    /// Security Hub's findings, as ASFF.
    AwsSecurityHub(aws_security_hub::Config),
    /// Security Hub's findings, as OCSF.
    AwsSecurityHubV2(aws_security_hub::Config),
    /// What AWS Config's rules found.
    AwsConfig(aws_config::Config),
    /// Objects of a bucket.
    S3(s3::Config),
    /// A program's standard output, or the files it writes.
    Command(command::Config),
    /// Handed in by `POST /api/v1/runs/{collector}`.
    Push(push::Config),
    /// Defender for Cloud.
    AzureDefender(azure::defender::Config),
    /// Azure Policy states.
    AzurePolicy(azure::policy::Config),
    /// Microsoft Sentinel incidents.
    Sentinel(azure::sentinel::Config),
    /// Google Security Command Center.
    GcpScc(gcp_scc::Config),
    /// Wiz.
    Wiz(wiz::Config),
    /// What tools of compliance leave in a Kubernetes cluster.
    Kubernetes(Box<kubernetes::Config>),
    /// Branch protection and rulesets of GitHub repositories.
    Github(Box<github::Config>),
    /// Fugue's environments.
    Fugue(Box<fugue::Config>),
}

impl Reach {
    /// The word in YAML (`from: { file: … }`) and on the page.
    pub const fn word(&self) -> &'static str {
        match self {
            Reach::File(_) => "file",
            Reach::Http(_) => "http",
            Reach::AwsSecurityHub(_) => "aws_security_hub",
            Reach::AwsSecurityHubV2(_) => "aws_security_hub_v2",
            Reach::AwsConfig(_) => "aws_config",
            Reach::S3(_) => "s3",
            Reach::Command(_) => "command",
            Reach::Push(_) => "push",
            Reach::AzureDefender(_) => "azure_defender",
            Reach::AzurePolicy(_) => "azure_policy",
            Reach::Sentinel(_) => "sentinel",
            Reach::GcpScc(_) => "gcp_scc",
            Reach::Wiz(_) => "wiz",
            Reach::Kubernetes(_) => "kubernetes",
            Reach::Github(_) => "github",
            Reach::Fugue(_) => "fugue",
        }
    }

    /// What its documents are, if the kind of source says it.
    pub const fn format(&self) -> Option<Format> {
        match self {
            Reach::File(_) | Reach::Http(_) | Reach::Command(_) | Reach::Push(_) | Reach::S3(_) => None,
            Reach::AwsSecurityHub(_) => Some(Format::Asff),
            Reach::AwsSecurityHubV2(_) => Some(Format::Ocsf),
            Reach::AwsConfig(_) => Some(Format::AwsConfig),
            Reach::AzureDefender(config) => Some(match config.report {
                azure::defender::Report::Assessments => Format::AzureAssessments,
                azure::defender::Report::RegulatoryCompliance => Format::AzureRegulatory,
            }),
            Reach::AzurePolicy(_) => Some(Format::AzurePolicy),
            Reach::Sentinel(_) => Some(Format::Sentinel),
            Reach::GcpScc(_) => Some(Format::Scc),
            Reach::Wiz(_) => Some(Format::Wiz),
            Reach::Kubernetes(config) => Some(config.read.format()),
            Reach::Github(_) => Some(Format::Github),
            Reach::Fugue(_) => Some(Format::Fugue),
        }
    }

    /// Whether we make HTTP requests to reach it.
    pub const fn makes_requests(&self) -> bool {
        matches!(self, Reach::Http(_)) || self.options().is_some()
    }

    /// How an API is asked, if it is one that [`session`] asks.
    pub const fn options(&self) -> Option<&session::Options> {
        match self {
            Reach::AwsSecurityHub(c) | Reach::AwsSecurityHubV2(c) => Some(&c.aws.options),
            Reach::AwsConfig(c) => Some(&c.aws.options),
            Reach::S3(c) => Some(&c.aws.options),
            Reach::File(_) | Reach::Http(_) | Reach::Command(_) | Reach::Push(_) => None,
            Reach::AzureDefender(config) => Some(&config.options),
            Reach::AzurePolicy(config) => Some(&config.options),
            Reach::Sentinel(config) => Some(&config.options),
            Reach::GcpScc(config) => Some(&config.options),
            Reach::Wiz(config) => Some(&config.options),
            Reach::Kubernetes(config) => Some(&config.options),
            Reach::Github(config) => Some(&config.options),
            Reach::Fugue(config) => Some(&config.options),
        }
    }
}

/// When and how a collector runs.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The collector's name.
    pub name: String,
    /// Declared interval.
    pub every: Span,
    /// A run is given up after this.
    pub timeout: Span,
    /// How the source is reached.
    pub reach: Reach,
    /// True if the format is Cloud Custodian's, whose output is a directory a policy.
    pub custodian: bool,
}

/// What one execution brought.
#[derive(Debug)]
pub struct Collected {
    /// The collector's name.
    pub collector: String,
    /// When it began.
    pub started: Moment,
    /// When the last byte came.
    pub finished: Moment,
    /// The documents, newest first where that is known.
    pub documents: Vec<Document>,
    /// True if every part came. Reading the documents may still show otherwise.
    pub complete: bool,
    /// If true, documents after the first that speak of the same subject (account, host, repository …) are older
    /// runs and are left out by the pipeline.
    pub newest_per_subject: bool,
    /// What went wrong.
    pub problems: Vec<Problem>,
    /// True if the source says that nothing changed since the last run (HTTP 304, same files): the held documents
    /// are handed again, so that the pipeline stays a pure function of documents.
    pub unchanged: bool,
    /// HTTP requests it took, by what came of them.
    pub requests: client::Requests,
}

impl Collected {
    /// A run that has brought nothing yet.
    pub fn nothing(collector: &str, started: Moment) -> Collected {
        Collected {
            collector: collector.to_owned(),
            started,
            finished: started,
            documents: Vec::new(),
            complete: false,
            newest_per_subject: false,
            problems: Vec::new(),
            unchanged: false,
            requests: client::Requests::default(),
        }
    }
}

/// One raw document, in a file: the source's own, or spooled by us.
#[derive(Debug)]
pub struct Document {
    /// Path, or URL without its query: how problems and evidence name it.
    pub name: String,
    /// Where its bytes are. For Cloud Custodian the policy's directory.
    pub path: PathBuf,
    /// Its own time if it has one: modification time, `Last-Modified`. Never "now" for a file: a dead scanner's old
    /// report must not look fresh.
    pub modified: Option<Moment>,
    /// Fields that every finding of the document gets unless it has them itself (captured from the path).
    pub fields: Vec<(String, String)>,
    /// What of ours it lies in, removed when the last who holds it lets go: a document, or the cache that may hand it
    /// again.
    pub spool: Option<Held>,
}

/// Something of ours that lasts as long as it is held.
#[derive(Clone, Debug)]
pub enum Held {
    /// A spooled file.
    File(std::sync::Arc<tempfile::TempPath>),
    /// A directory with copies.
    Directory(std::sync::Arc<tempfile::TempDir>),
}
