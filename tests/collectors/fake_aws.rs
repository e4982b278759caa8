//! Some of AWS, on loopback: STS, Security Hub and Config, in pages, for tests that say what goes wrong and when.
//!
//! It checks that requests are signed for the right service and region, and answers by whose access key signed them.

use super::server::{Reply, Server, answer, ok};
use serde_json::{Value, json};

/// The account of the access key that does not come from AssumeRole.
pub(crate) const OWN: &str = "417205518860";

/// A request, as AWS would look at it.
pub(crate) struct Ask {
    /// Its number, from 0.
    pub(crate) n: usize,
    /// Whose key signed it.
    pub(crate) account: String,
    pub(crate) service: String,
    pub(crate) region: String,
    /// `GetFindings`, `DescribeConfigRules` …, or the path.
    pub(crate) operation: String,
    pub(crate) body: Value,
    /// The session token it came with.
    pub(crate) session: String,
}

impl Ask {
    fn read(n: usize, request: &str) -> Ask {
        let header = |name: &str| {
            let line = request.lines().find(|l| l.to_ascii_lowercase().starts_with(&format!("{name}: ")));
            line.map_or_else(String::new, |l| l[name.len() + 2..].to_owned())
        };
        let authorization = header("authorization");
        let scope: Vec<&str> =
            authorization.split("Credential=").nth(1).unwrap_or_default().split(',').next().unwrap_or_default().split('/').collect();
        let part = |i: usize| scope.get(i).copied().unwrap_or_default().to_owned();
        let text = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (target, action) = (header("x-amz-target"), text.split("Action=").nth(1).and_then(|t| t.split('&').next()).unwrap_or_default());
        let operation = match (target.rsplit('.').next().unwrap_or_default(), action) {
            ("", "") => path.to_owned(),
            ("", action) => action.to_owned(),
            (target, _) => target.to_owned(),
        };
        let body = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        Ask {
            n,
            account: part(0).strip_prefix("ASIA").map_or_else(|| OWN.to_owned(), |a| a.chars().filter(char::is_ascii_digit).collect()),
            service: part(3),
            region: part(2),
            operation,
            body,
            session: header("x-amz-security-token"),
        }
    }

    /// A request that [`super::server`] was sent.
    pub(crate) fn of(n: usize, request: &str) -> Ask {
        Ask::read(n, request)
    }

    /// Only its operation.
    pub(crate) fn read_operation(n: usize, request: &str) -> String {
        Ask::read(n, request).operation
    }

    /// The number of the page that is asked for, from 0.
    pub(crate) fn page(&self) -> usize {
        self.body["NextToken"].as_str().and_then(|t| t.strip_prefix("page-")).map_or(0, |n| n.parse().unwrap())
    }
}

/// An error in the manner of AWS's JSON protocols.
pub(crate) fn error(status: &str, code: &str, message: &str) -> Reply {
    let body = json!({"__type": format!("com.amazonaws.x#{code}"), "message": message});
    answer(status, "Content-Type: application/x-amz-json-1.1\r\n", body.to_string())
}

/// A control finding of Security Hub: every tenth resource fails.
pub(crate) fn finding(account: &str, region: &str, i: usize) -> Value {
    let status = if i.is_multiple_of(10) { "FAILED" } else { "PASSED" };
    json!({
        "SchemaVersion": "2018-10-08",
        "Id": format!("arn:aws:securityhub:{region}:{account}:security-control/S3.8/finding/{i:08}"),
        "ProductArn": format!("arn:aws:securityhub:{region}::product/aws/securityhub"), "ProductName": "Security Hub",
        "GeneratorId": "security-control/S3.8", "AwsAccountId": account, "Region": region,
        "CreatedAt": "2026-11-20T06:00:00.000Z", "UpdatedAt": "2026-11-23T06:00:00.000Z", "LastObservedAt": "2026-11-23T06:00:00.000Z",
        "Title": "S3 general purpose buckets should block public access", "Description": "…", "RecordState": "ACTIVE",
        "Severity": {"Label": "HIGH"}, "Workflow": {"Status": if status == "PASSED" { "RESOLVED" } else { "NEW" }},
        "Compliance": {"Status": status, "SecurityControlId": "S3.8", "AssociatedStandards": [{"StandardsId": "standards/aws-foundational-security-best-practices/v/1.0.0"}]},
        "Resources": [{"Type": "AwsS3Bucket", "Id": format!("arn:aws:s3:::b-{account}-{region}-{i}"), "Region": region}],
    })
}

/// Of OCSF what Security Hub V2 sends.
pub(crate) fn finding_v2(account: &str, region: &str, i: usize) -> Value {
    let good = !i.is_multiple_of(10);
    json!({
        "activity_id": 1, "category_uid": 2, "class_uid": 2003, "class_name": "Compliance Finding", "type_uid": 200_301, "severity_id": 4,
        "time": 1_795_413_600_000_u64, "time_dt": "2026-11-23T06:00:00Z",
        "status": if good { "Resolved" } else { "New" }, "status_id": if good { 4 } else { 1 },
        "metadata": {"version": "1.6.0", "uid": format!("m-{account}-{region}-{i}"), "product": {"name": "Security Hub", "vendor_name": "AWS"}},
        "cloud": {"provider": "AWS", "region": region, "account": {"uid": account}},
        "compliance": {"control": "S3.8", "standards": ["standards/aws-foundational-security-best-practices/v/1.0.0"],
            "status": if good { "Pass" } else { "Fail" }, "status_id": if good { 1 } else { 3 }},
        "finding_info": {"uid": format!("arn:aws:securityhub:{region}:{account}:finding/{i}"), "title": "buckets block public access"},
        "resources": [{"uid": format!("b-{i}"), "uid_alt": format!("arn:aws:s3:::b-{account}-{region}-{i}"), "type": "AWS::S3::Bucket", "region": region}],
    })
}

/// A page of `all`, a hundred at most.
pub(crate) fn page(ask: &Ask, member: &str, all: usize, make: impl Fn(usize) -> Value) -> Reply {
    let (from, to) = (ask.page() * 100, all.min((ask.page() + 1) * 100));
    let records: Vec<Value> = (from..to).map(make).collect();
    let next = if to < all { format!("page-{}", ask.page() + 1).into() } else { Value::Null };
    ok(json!({member: records, "NextToken": next}).to_string())
}

/// The rules of every account and region: one good, one never evaluated, one being deleted, one of the operator's own.
fn rules(account: &str, region: &str) -> Vec<Value> {
    let rule = |name: &str, state: &str, owner: &str, identifier: &str| {
        json!({"ConfigRuleName": name, "ConfigRuleArn": format!("arn:aws:config:{region}:{account}:config-rule/config-rule-{name}"),
            "ConfigRuleState": state, "Source": {"Owner": owner, "SourceIdentifier": identifier}})
    };
    vec![
        rule("acme-buckets-not-public", "ACTIVE", "AWS", "S3_BUCKET_PUBLIC_READ_PROHIBITED"),
        rule("acme-never", "ACTIVE", "AWS", "RDS_STORAGE_ENCRYPTED"),
        rule("acme-gone", "DELETING", "AWS", "EBS_OPTIMIZED_INSTANCE"),
        rule("acme-groups", "ACTIVE", "CUSTOM_LAMBDA", "arn:aws:lambda:eu-west-1:417205518860:function:groups"),
    ]
}

fn evaluation(rule: &str, i: usize) -> Value {
    let (kind, id) =
        if rule == "acme-groups" { ("AWS::EC2::SecurityGroup", format!("sg-{i:04}")) } else { ("AWS::S3::Bucket", format!("b-{i}")) };
    json!({
        "EvaluationResultIdentifier": {"EvaluationResultQualifier": {"ConfigRuleName": rule, "ResourceType": kind, "ResourceId": id, "EvaluationMode": "DETECTIVE"},
            "OrderingTimestamp": 1_795_413_500.25},
        "ComplianceType": if i.is_multiple_of(10) { "NON_COMPLIANT" } else { "COMPLIANT" },
        "ResultRecordedTime": 1_795_413_600.5, "ConfigRuleInvokedTime": 1_795_413_599.5,
    })
}

/// Everything in order: so many findings, or evaluations of each rule, in each account and region.
pub(crate) fn orderly(ask: &Ask, count: usize) -> Reply {
    let (account, region) = (ask.account.as_str(), ask.region.as_str());
    let known = |a: &str, r: &str| ask.body["AccountId"] == a && ask.body["AwsRegion"] == r;
    match (ask.service.as_str(), ask.operation.as_str()) {
        ("sts", "GetCallerIdentity") => ok(format!(
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
        )),
        ("sts", "AssumeRole") => {
            let form = ask.body.as_str().unwrap_or_default();
            let of: String = form.split("RoleArn=arn%3Aaws%3Aiam%3A%3A").nth(1).unwrap_or_default().chars().take(12).collect();
            ok(format!(
                "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA{of}</AccessKeyId><SecretAccessKey>s3cr3t-of-{of}</SecretAccessKey>\
                 <SessionToken>s3ssion-of-{of}-{}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
                ask.n
            ))
        }
        ("securityhub", "/findings") => page(ask, "Findings", count, |i| finding(account, region, i)),
        ("securityhub", "/findingsv2") => page(ask, "Findings", count, |i| finding_v2(account, region, i)),
        ("securityhub", "/accounts") => {
            ok(json!({"HubArn": format!("arn:aws:securityhub:{region}:{account}:hub/default"), "ControlFindingGenerator": "SECURITY_CONTROL"}).to_string())
        }
        ("securityhub", "/standards/get") => ok(json!({"StandardsSubscriptions": [{
            "StandardsArn": format!("arn:aws:securityhub:{region}::standards/aws-foundational-security-best-practices/v/1.0.0"),
            "StandardsSubscriptionArn": format!("arn:aws:securityhub:{region}:{account}:subscription/aws-foundational-security-best-practices/v/1.0.0"),
            "StandardsStatus": "READY"}]})
        .to_string()),
        ("securityhub", path) if path.starts_with("/securityControls/definitions") => {
            ok(json!({"SecurityControlDefinitions": [{"SecurityControlId": "S3.8"}, {"SecurityControlId": "IAM.6"}]}).to_string())
        }
        ("securityhub", "/associations/batchGet") => {
            let details: Vec<Value> = ask.body["StandardsControlAssociationIds"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| {
                    let off = id["SecurityControlId"] == "IAM.6";
                    json!({"StandardsArn": id["StandardsArn"], "SecurityControlId": id["SecurityControlId"],
                        "AssociationStatus": if off { "DISABLED" } else { "ENABLED" },
                        "UpdatedReason": if off { "root has hardware MFA by contract" } else { "" }, "StandardsControlTitle": "a title"})
                })
                .collect();
            ok(json!({"StandardsControlAssociationDetails": details, "UnprocessedAssociations": []}).to_string())
        }
        ("config", "DescribeConfigRules") => ok(json!({"ConfigRules": rules(account, region)}).to_string()),
        ("config", "DescribeComplianceByConfigRule") => ok(json!({"ComplianceByConfigRules": [
            {"ConfigRuleName": "acme-never", "Compliance": {"ComplianceType": "INSUFFICIENT_DATA"}}]})
        .to_string()),
        ("config", "GetComplianceDetailsByConfigRule") => {
            let rule = ask.body["ConfigRuleName"].as_str().unwrap().to_owned();
            page(ask, "EvaluationResults", count, |i| evaluation(&rule, i))
        }
        ("config", "DescribeAggregateComplianceByConfigRules") => {
            let of = |account: &str, rule: &str, kind: &str| {
                json!({"ConfigRuleName": rule, "AccountId": account, "AwsRegion": "eu-west-1", "Compliance": {"ComplianceType": kind}})
            };
            ok(json!({"AggregateComplianceByConfigRules": [
                of("417205518860", "acme-groups", "NON_COMPLIANT"), of("982374105512", "acme-groups", "COMPLIANT"),
                of("982374105512", "acme-never", "INSUFFICIENT_DATA")]})
            .to_string())
        }
        ("config", "GetAggregateComplianceDetailsByConfigRule") if known("417205518860", "eu-west-1") || known("982374105512", "eu-west-1") => {
            let rule = ask.body["ConfigRuleName"].as_str().unwrap().to_owned();
            let (account, region) = (ask.body["AccountId"].clone(), ask.body["AwsRegion"].clone());
            page(ask, "AggregateEvaluationResults", count, |i| {
                let mut record = evaluation(&rule, i);
                record["AccountId"] = account.clone();
                record["AwsRegion"] = region.clone();
                record
            })
        }
        _ => answer("404 Not Found", "Content-Type: text/html\r\n", "<!doctype html><title>404 Not Found</title>"),
    }
}

/// AWS with `count` of everything, where `fault` may answer instead.
pub(crate) fn aws(count: usize, fault: impl Fn(&Ask) -> Option<Reply> + Send + Sync + 'static) -> Server {
    Server::new(move |n, request| {
        let ask = Ask::read(n, request);
        if ask.account.is_empty() || ask.service.is_empty() {
            return error("403 Forbidden", "MissingAuthenticationTokenException", "Missing Authentication Token");
        }
        fault(&ask).unwrap_or_else(|| orderly(&ask, count))
    })
}
