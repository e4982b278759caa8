//! The sources that `init` knows: one entry each, in the order in which they are offered and written.

/// How a source is come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Asked itself.
    Cloud,
    /// Leaves reports, or hands them in.
    Scanner,
}

/// A source.
#[derive(Debug)]
pub(super) struct Source {
    /// The word of the flag.
    pub(super) word: &'static str,
    /// How it is come by.
    pub(super) group: Group,
    /// For people.
    pub(super) title: &'static str,
    /// Which permission it takes; the table in docs/sources/README.md says the same.
    pub(super) needs: &'static str,
    /// What is written for it.
    pub(super) collectors: &'static [Collector],
}

/// A collector that is written for it.
#[derive(Debug)]
pub(super) struct Collector {
    /// Its name.
    pub(super) name: &'static str,
    /// Its format, which says which shipped controls it can satisfy.
    pub(super) format: &'static str,
    /// Whether it reports passes, so that there is a ratio without more.
    pub(super) passes: bool,
    /// The title of the first control, if no shipped set has one for the format; none if findings are no evidence of
    /// compliance.
    pub(super) control: Option<&'static str>,
    /// The rest of its YAML.
    pub(super) yaml: &'static str,
}

pub(super) const SOURCES: &[Source] = &[
    Source {
        word: "aws",
        group: Group::Cloud,
        title: "AWS: Security Hub and Config",
        needs: "securityhub:GetFindings, DescribeHub, GetEnabledStandards, DescribeStandardsControls, ListSecurityControlDefinitions and BatchGetStandardsControlAssociations; config:DescribeConfigRules, DescribeComplianceByConfigRule and GetComplianceDetailsByConfigRule; credentials from AWS's own chain",
        collectors: &[
            Collector {
                name: "security-hub",
                format: "asff",
                passes: true,
                control: Some("Security Hub finds nothing wrong"),
                yaml: r#"
every: 1h
timeout: 30m
# The home region of a delegated administrator sees every account; else list `regions` and `accounts`.
from: { aws_security_hub: { region: eu-west-1 } }
"#,
            },
            Collector {
                name: "aws-config",
                format: "aws_config",
                passes: true,
                control: Some("AWS Config finds nothing wrong"),
                yaml: r#"
every: 6h
timeout: 1h
# Rules that were deployed under other names are called by what AWS calls them.
from: { aws_config: { regions: [eu-west-1], check: identifier } }
"#,
            },
        ],
    },
    Source {
        word: "kubernetes",
        group: Group::Cloud,
        title: "Kubernetes: Gatekeeper, Kyverno",
        needs: "a service account that may list and watch constraints.gatekeeper.sh, policyreports and clusterpolicyreports, and list what constraints select (docs/sources/kubernetes-gatekeeper.md has the role)",
        collectors: &[
            Collector {
                name: "cluster-policy-reports",
                format: "policy_report",
                passes: true,
                control: Some("Workloads pass the cluster's policies"),
                yaml: r#"
every: 15m
from: { kubernetes: { read: policy_reports, cluster: main } }
"#,
            },
            Collector {
                name: "cluster-gatekeeper",
                format: "gatekeeper",
                passes: false,
                control: Some("Gatekeeper's audit finds nothing"),
                yaml: r#"
every: 15m
from: { kubernetes: { read: gatekeeper, cluster: main } }
"#,
            },
        ],
    },
    Source {
        word: "github",
        group: Group::Cloud,
        title: "GitHub: protection of branches",
        needs: "a token that may read the administration and metadata of the organisation's repositories, in the file that is named",
        collectors: &[Collector {
            name: "github",
            format: "github",
            passes: true,
            control: Some("Default branches are protected"),
            yaml: r#"
every: 6h
timeout: 1h
from: { github: { organisation: acme, token_file: /run/secrets/github } }
"#,
        }],
    },
    Source {
        word: "azure",
        group: Group::Cloud,
        title: "Azure: Defender for Cloud and Policy",
        needs: "the roles Security Reader and Reader on the subscriptions or management groups, for a managed identity or a service principal",
        collectors: &[
            Collector {
                name: "defender",
                format: "azure_assessments",
                passes: true,
                control: Some("Defender for Cloud finds resources healthy"),
                yaml: r#"
every: 1h
# Name your subscriptions: one that is named and does not answer is noticed.
from:
  azure_defender:
    subscriptions: [00000000-0000-4000-8000-000000000001]
    credentials: managed_identity
"#,
            },
            Collector {
                name: "azure-policy",
                format: "azure_policy",
                passes: true,
                control: Some("Resources keep to Azure Policy"),
                yaml: r#"
every: 6h
# Azure evaluates once a day.
max_age: 3d
from:
  azure_policy:
    subscriptions: [00000000-0000-4000-8000-000000000001]
    credentials: managed_identity
"#,
            },
        ],
    },
    Source {
        word: "sentinel",
        group: Group::Cloud,
        title: "Microsoft Sentinel",
        needs: "the role Microsoft Sentinel Reader on the workspace",
        collectors: &[Collector {
            name: "sentinel",
            format: "sentinel",
            passes: false,
            control: Some("No incident is open"),
            yaml: r#"
every: 15m
# Work items: counts and ages, and no ratio.
from:
  sentinel:
    workspaces: [{ subscription: 00000000-0000-4000-8000-000000000001, resource_group: soc, workspace: soc }]
    credentials: managed_identity
"#,
        }],
    },
    Source {
        word: "gcp",
        group: Group::Cloud,
        title: "Google Cloud: Security Command Center",
        needs: "the role Security Center Findings Viewer (roles/securitycenter.findingsViewer) on the organisation, folder or project",
        collectors: &[Collector {
            name: "scc",
            format: "scc",
            passes: false,
            control: Some("Security Command Center finds nothing"),
            yaml: r#"
every: 1h
# It lists violations only: an inventory makes a ratio of it (docs/sources/gcp-scc.md).
from: { gcp_scc: { parents: [organizations/123456789012] } }
"#,
        }],
    },
    Source {
        word: "wiz",
        group: Group::Cloud,
        title: "Wiz",
        needs: "a service account with the scope read:cloud_configuration; its id and secret in the files that are named",
        collectors: &[Collector {
            name: "wiz",
            format: "wiz",
            passes: true,
            control: Some("Wiz finds configurations right"),
            yaml: r#"
every: 6h
timeout: 30m
from:
  wiz:
    api_url: https://api.eu1.app.wiz.io/graphql
    client_id_file: /run/secrets/wiz-id
    client_secret_file: /run/secrets/wiz-secret
"#,
        }],
    },
    Source {
        word: "prowler",
        group: Group::Scanner,
        title: "Prowler",
        needs: "to read the files that Prowler leaves; Prowler itself needs SecurityAudit and ViewOnlyAccess on AWS, Reader on Azure, Viewer on Google Cloud",
        collectors: &[Collector {
            name: "prowler",
            format: "ocsf",
            passes: true,
            control: Some("Prowler finds nothing wrong"),
            yaml: r#"
every: 1d
from: { file: { path: "scans/prowler/*.ocsf.json" } }
format: ocsf
"#,
        }],
    },
    Source {
        word: "openscap",
        group: Group::Scanner,
        title: "OpenSCAP",
        needs: "to read the files that oscap leaves (--results-arf); oscap itself needs root on each host",
        collectors: &[Collector {
            name: "openscap",
            format: "xccdf",
            passes: true,
            control: Some("Hosts keep to their benchmark"),
            yaml: r#"
every: 1d
from: { file: { path: "scans/openscap/*.arf.xml" } }
format: xccdf
# Hosts are the resources here; what owns the ratio is the environment. Name yours.
scope: "{environment}"
fields: { environment: production }
"#,
        }],
    },
    Source {
        word: "cloud-custodian",
        group: Group::Scanner,
        title: "Cloud Custodian",
        needs: "to read the directory that custodian run -s writes; Custodian itself needs to read what its policies look at",
        collectors: &[Collector {
            name: "custodian",
            format: "cloud_custodian",
            passes: false,
            control: Some("Cloud Custodian's policies match nothing"),
            yaml: r#"
every: 1h
# It lists violations only: a policy without filters is the population (docs/sources/cloud-custodian.md).
from: { file: { path: scans/custodian } }
format: cloud_custodian
"#,
        }],
    },
    Source {
        word: "checkov",
        group: Group::Scanner,
        title: "Checkov",
        needs: "a token that pipelines show when they hand in their reports, in the variable BORNRIGHT_PUSH_TOKEN",
        collectors: &[Collector {
            name: "checkov",
            format: "checkov",
            passes: true,
            control: Some("Code passes Checkov"),
            yaml: r#"
every: 1d
# POST /api/v1/runs/checkov, from each pipeline (docs/sources/push.md).
from: { push: { token_env: BORNRIGHT_PUSH_TOKEN } }
format: checkov
fields: { repository: main }
"#,
        }],
    },
    Source {
        word: "trivy",
        group: Group::Scanner,
        title: "Trivy",
        needs: "a token that pipelines show when they hand in their reports, in the variable BORNRIGHT_PUSH_TOKEN",
        collectors: &[Collector {
            name: "trivy",
            format: "trivy",
            passes: true,
            control: Some("Trivy finds nothing wrong"),
            yaml: r#"
every: 1d
# trivy … --format json --include-non-failures; POST /api/v1/runs/trivy (docs/sources/push.md).
from: { push: { token_env: BORNRIGHT_PUSH_TOKEN } }
format: trivy
fields: { repository: main }
"#,
        }],
    },
    Source {
        word: "sarif",
        group: Group::Scanner,
        title: "SARIF (zizmor, Semgrep, Bandit, gitleaks)",
        needs: "a token that pipelines show when they hand in their reports, in the variable BORNRIGHT_PUSH_TOKEN",
        collectors: &[Collector {
            name: "code-scanning",
            format: "sarif",
            passes: false,
            control: Some("Code scanning finds nothing"),
            yaml: r#"
every: 1d
# POST /api/v1/runs/code-scanning, of one repository; a collector for each (docs/sources/push.md).
from: { push: { token_env: BORNRIGHT_PUSH_TOKEN } }
format: sarif
fields: { repository: main }
"#,
        }],
    },
    Source {
        word: "scorecard",
        group: Group::Scanner,
        title: "OpenSSF Scorecard",
        needs: "to read the files that scorecard --format=json leaves; Scorecard itself needs a GitHub token that reads the repositories",
        collectors: &[Collector {
            name: "scorecard",
            format: "scorecard",
            passes: true,
            control: Some("Repositories keep to Scorecard"),
            yaml: r#"
every: 1d
from: { file: { path: "scans/scorecard/*.json" } }
format: scorecard
"#,
        }],
    },
    Source {
        word: "kube-bench",
        group: Group::Scanner,
        title: "kube-bench",
        needs: "to read the files that kube-bench --json leaves, one a node; kube-bench itself runs on each node as root",
        collectors: &[Collector {
            name: "kube-bench",
            format: "kube_bench",
            passes: true,
            control: Some("Nodes keep to the CIS benchmark"),
            yaml: r#"
every: 1d
from: { file: { path: "scans/kube-bench/{host}.json" } }
format: kube_bench
# Reports do not name their cluster. Name yours.
fields: { cluster: main }
"#,
        }],
    },
    Source {
        word: "inspec",
        group: Group::Scanner,
        title: "InSpec",
        needs: "to read the files that inspec exec --reporter json leaves",
        collectors: &[Collector {
            name: "inspec",
            format: "inspec",
            passes: true,
            control: Some("Hosts pass their InSpec profiles"),
            yaml: r#"
every: 1d
from: { file: { path: "scans/inspec/{host}.json" } }
format: inspec
scope: "{environment}"
fields: { environment: production }
"#,
        }],
    },
    Source {
        word: "own",
        group: Group::Scanner,
        title: "A scanner of your own",
        needs: "to run it; it prints native findings, one JSON object a line",
        collectors: &[Collector {
            name: "own-scanner",
            format: "native",
            passes: true,
            control: Some("Our own checks pass"),
            yaml: r#"
every: 6h
# docs/sources/native.md has the format; docs/adding-a-scanner.md reads one that prints something else.
from: { command: { argv: [./check.sh] } }
format: native
"#,
        }],
    },
];
