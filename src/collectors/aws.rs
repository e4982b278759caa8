//! What the collectors of AWS have in common: credentials, roles, regions, signatures, AWS's errors.
//!
//! Credentials come from AWS's own chain (environment, profiles with their roles, processes and SSO, web identity of a
//! Kubernetes service account, container and instance metadata), through AWS's own crates. What follows is our own: a
//! role is assumed in each account that is listed, each request is signed (Signature Version 4) and sent by
//! [`super::session`], so that tries, pace, proxies and bounds are the same as everywhere. The chain's own calls (to a
//! metadata service, for a web identity) are not counted among a collector's requests.

use super::client::{Network, Secret, problem};
use super::session::{self, Api, Call, Options, Reply, Run, Token, Verdict, by_status, element};
use crate::clock;
use crate::domain::{Moment, Problem, ProblemKind};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Connector, proxy, tls};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Who asks, where, and how: part of every collector of AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Regions to ask in. At least one. Example: `[eu-west-1, us-east-1]`.
    pub regions: Vec<String>,
    /// Accounts in which a role is assumed. Default: none, that is the account whose credentials we have.
    pub accounts: Vec<Account>,
    /// A profile of `~/.aws/config` instead of the chain's choice. Default: `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// Another place than AWS's own; `{service}` and `{region}` are filled in. Default: `AWS_ENDPOINT_URL_<SERVICE>`, else
    /// `AWS_ENDPOINT_URL`, else AWS. Examples: `http://127.0.0.1:5000`, `https://{service}-fips.{region}.amazonaws.com`.
    pub endpoint_url: Option<String>,
    /// Pace, tries, bounds.
    pub options: Options,
}

/// An account, and the role that we assume in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Its twelve digits; empty for the account whose credentials we have.
    pub id: String,
    /// The role; none: the credentials of the chain are the account's own.
    pub role_arn: Option<String>,
    /// What the role's trust policy asks for (`external_id_env` or `external_id_file`).
    pub external_id: Option<Secret>,
}

impl Config {
    /// What is wrong with it: (field, sentence).
    pub fn validate(&self) -> Vec<(&'static str, String)> {
        let mut wrong = self.options.validate();
        if self.regions.is_empty() {
            wrong.push(("region", "no region; write `region: eu-west-1` or `regions: [eu-west-1, us-east-1]`".to_owned()));
        }
        for region in &self.regions {
            let good = region.len() <= 32
                && region.contains('-')
                && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if !good {
                wrong.push(("regions", format!("`{region}` is not a region; expected one such as `eu-west-1`")));
            }
        }
        for (i, account) in self.accounts.iter().enumerate() {
            if account.id.len() != 12 || !account.id.bytes().all(|b| b.is_ascii_digit()) {
                wrong.push(("accounts", format!("`{}` is not an account; expected its twelve digits, in quotes", account.id)));
            }
            if self.accounts[..i].iter().any(|a| a.id == account.id) {
                wrong.push(("accounts", format!("account {} stands there twice", account.id)));
            }
            match &account.role_arn {
                Some(arn) if !(arn.starts_with("arn:") && arn.contains(":iam::") && arn.contains(":role/")) => {
                    wrong.push(("accounts", format!("`{arn}` is not a role; expected `arn:aws:iam::<account>:role/<name>`")));
                }
                None if account.external_id.is_some() => {
                    wrong.push(("accounts", format!("account {} has an external id, but no `role_arn` that asks for it", account.id)));
                }
                _ => {}
            }
        }
        if let Some(template) = &self.endpoint_url {
            let filled = template.replace("{service}", "s").replace("{region}", "r");
            match Url::parse(&filled) {
                Ok(url)
                    if matches!(url.scheme(), "http" | "https")
                        && url.has_host()
                        && url.username().is_empty()
                        && url.password().is_none() => {}
                _ => wrong.push((
                    "endpoint_url",
                    format!("`{template}` is not a URL of ours; expected `https://host`, without user or password"),
                )),
            }
        }
        wrong
    }

    /// Every account in every region.
    pub(super) fn cells(self: &Arc<Config>) -> Vec<Cell> {
        let own = [Account::default()];
        let accounts = if self.accounts.is_empty() { &own[..] } else { &self.accounts[..] };
        let cell = |account: &Account, region: &String| Cell { aws: Arc::clone(self), account: account.clone(), region: region.clone() };
        accounts.iter().flat_map(|a| self.regions.iter().map(move |r| cell(a, r))).collect()
    }

    /// How many (account, region) are asked, and how many roles assumed.
    pub fn extent(&self) -> (u64, u64) {
        let roles = self.accounts.iter().filter(|a| a.role_arn.is_some()).count();
        ((self.accounts.len().max(1) * self.regions.len()) as u64, roles as u64)
    }
}

/// One account in one region.
#[derive(Clone)]
pub(super) struct Cell {
    aws: Arc<Config>,
    pub(super) account: Account,
    pub(super) region: String,
}

/// The keys of one identity.
struct Keys {
    id: String,
    secret: SecretString,
    session: Option<SecretString>,
}

impl Keys {
    /// As one secret, for the cache of tokens.
    fn pack(&self) -> SecretString {
        let session = self.session.as_ref().map(|s| s.expose_secret());
        SecretString::from(serde_json::json!([self.id, self.secret.expose_secret(), session]).to_string())
    }

    fn unpack(packed: &SecretString) -> Option<Keys> {
        let (id, secret, session): (String, String, Option<String>) = serde_json::from_str(packed.expose_secret()).ok()?;
        Some(Keys { id, secret: secret.into(), session: session.map(SecretString::from) })
    }
}

impl Cell {
    /// What problems and evidence call a service there.
    pub(super) fn name(&self, service: &str) -> String {
        [service, &self.account.id, &self.region].iter().filter(|t| !t.is_empty()).copied().collect::<Vec<_>>().join(" ")
    }

    /// Fields of the findings that do not say where they are.
    pub(super) fn fields(&self) -> Vec<(String, String)> {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let mut fields = vec![pair("provider", "aws"), pair("region", &self.region)];
        if !self.account.id.is_empty() {
            fields.push(pair("account", &self.account.id));
        }
        fields
    }

    /// A service of AWS there, to be asked with signed requests.
    pub(super) fn service(&self, name: &'static str) -> Service {
        Service { cell: self.clone(), name, raw_path: name == "s3" }
    }

    /// Where a service is, without a slash at the end; and whether the operator said so.
    pub(super) fn endpoint(&self, service: &str) -> (String, bool) {
        let named = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
        let variable = format!("AWS_ENDPOINT_URL_{}", service.to_ascii_uppercase());
        let given = self.aws.endpoint_url.clone().or_else(|| named(&variable)).or_else(|| named("AWS_ENDPOINT_URL"));
        match given {
            Some(url) => (url.replace("{service}", service).replace("{region}", &self.region).trim_end_matches('/').to_owned(), true),
            None => (format!("https://{service}.{}.{}", self.region, suffix(&self.region)), false),
        }
    }

    /// The account's number, asked of STS if the configuration does not say.
    pub(super) async fn account_id(&self, run: &Run) -> Result<String, Problem> {
        if !self.account.id.is_empty() {
            return Ok(self.account.id.clone());
        }
        let source = self.name("sts");
        let call =
            Call::post_form(session::at(&self.endpoint("sts").0, "/")?, &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]);
        let body = run.kept(&self.service("sts"), &source, &call.any_answer(), Duration::from_secs(86_400)).await?;
        let id = element(&String::from_utf8_lossy(&body), "Account").filter(|id| id.len() == 12);
        id.ok_or_else(|| problem(ProblemKind::Source, source, "GetCallerIdentity does not say which account we are in"))
    }

    async fn keys(&self, run: &Run, renew: Option<Instant>) -> Result<Keys, Problem> {
        let token = match &self.account.role_arn {
            None => self.base(run, renew).await?,
            Some(role) => {
                let external = match &self.account.external_id {
                    Some(secret) => Some(secret.reveal().map_err(|e| problem(ProblemKind::Internal, self.name("sts"), e))?),
                    None => None,
                };
                run.token(&format!("role {role}"), renew, Box::pin(self.assume(run, role, external))).await?
            }
        };
        self.unpack(&token)
    }

    fn unpack(&self, token: &Token) -> Result<Keys, Problem> {
        Keys::unpack(&token.value).ok_or_else(|| problem(ProblemKind::Internal, self.name("sts"), "the held credentials cannot be read"))
    }

    /// The credentials of the chain.
    async fn base(&self, run: &Run, renew: Option<Instant>) -> Result<Arc<Token>, Problem> {
        run.token("chain", renew, Box::pin(chain(&self.aws, &self.region))).await
    }

    async fn assume(&self, run: &Run, role: &str, external: Option<SecretString>) -> Result<Token, Problem> {
        let source = self.name("sts");
        let mut form = vec![("Action", "AssumeRole"), ("Version", "2011-06-15"), ("RoleArn", role), ("RoleSessionName", "bornright")];
        form.push(("DurationSeconds", "3600"));
        if let Some(external) = &external {
            form.push(("ExternalId", external.expose_secret()));
        }
        let mut call = Call::post_form(session::at(&self.endpoint("sts").0, "/")?, &form).any_answer();
        if let Some(external) = &external {
            call = call.hide(external);
        }
        let reply =
            run.send(&Chain(self.service("sts")), &source, &call).await.map_err(|p| needs(p, &format!("sts:AssumeRole on {role}")))?;
        let xml = String::from_utf8_lossy(&reply.body);
        let lacks = |what: &str| problem(ProblemKind::Source, &source, format!("the answer to AssumeRole has no {what}"));
        let keys = Keys {
            id: element(&xml, "AccessKeyId").ok_or_else(|| lacks("AccessKeyId"))?,
            secret: element(&xml, "SecretAccessKey").ok_or_else(|| lacks("SecretAccessKey"))?.into(),
            session: Some(element(&xml, "SessionToken").ok_or_else(|| lacks("SessionToken"))?.into()),
        };
        let until = element(&xml, "Expiration").and_then(|t| t.parse::<jiff::Timestamp>().ok()).map(Moment::from);
        let life = until.map_or(Duration::from_secs(900), |until| until.since(clock::now()).std());
        Ok(Token::new(keys.pack(), life))
    }
}

/// AWS's DNS suffix of a region.
fn suffix(region: &str) -> &'static str {
    match region.split('-').next().unwrap_or_default() {
        "cn" => "amazonaws.com.cn",
        _ => "amazonaws.com",
    }
}

/// What AWS's own chain finds.
async fn chain(aws: &Config, region: &str) -> Result<Token, Problem> {
    let wrong = |message: String| problem(ProblemKind::Denied, "credentials", message);
    let client = chain_client(&aws.options.network)?;
    let mut loader =
        aws_chain::defaults(aws_chain::BehaviorVersion::latest()).region(aws_chain::Region::new(region.to_owned())).http_client(client);
    if let Some(profile) = &aws.profile {
        loader = loader.profile_name(profile);
    }
    let loaded = loader.load().await;
    let none = "no credentials: none in the environment, in a profile, from a web identity, a container or an instance";
    let provider = loaded.credentials_provider().ok_or_else(|| wrong(none.to_owned()))?;
    let found = provider.provide_credentials().await.map_err(|e| {
        let mut told = format!("{none}: {e}");
        let mut cause = std::error::Error::source(&e);
        while let Some(inner) = cause {
            let _ = write!(told, ": {inner}");
            cause = inner.source();
        }
        wrong(told.chars().take(600).collect())
    })?;
    let keys = Keys {
        id: found.access_key_id().to_owned(),
        secret: found.secret_access_key().to_owned().into(),
        session: found.session_token().map(|t| t.to_owned().into()),
    };
    // Keys without an end may be changed in their file all the same.
    let life = match found.expiry().map(|until| until.duration_since(SystemTime::UNIX_EPOCH)) {
        Some(Ok(until)) => Duration::from_millis(u64::try_from(until.as_millis()).unwrap_or(u64::MAX)).saturating_sub(since_epoch()),
        _ => Duration::from_secs(900),
    };
    Ok(Token::new(keys.pack(), life))
}

fn since_epoch() -> Duration {
    Duration::from_millis(u64::try_from(clock::now().0).unwrap_or(0))
}

/// The client with which the chain asks for itself: with our authorities and our proxy.
fn chain_client(network: &Network) -> Result<aws_smithy_runtime_api::client::http::SharedHttpClient, Problem> {
    let wrong = |message: String| problem(ProblemKind::Internal, "credentials", message);
    let context = match &network.ca_file {
        None => tls::TlsContext::default(),
        Some(path) => {
            let pem = std::fs::read(path).map_err(|e| wrong(format!("{}: {e}", path.display())))?;
            let store = tls::TrustStore::empty().with_pem_certificate(pem);
            tls::TlsContext::builder().with_trust_store(store).build().map_err(|e| wrong(format!("{}: {e}", path.display())))?
        }
    };
    let proxy = match &network.proxy_url {
        None => proxy::ProxyConfig::from_env(),
        Some(url) => {
            let mut proxy = proxy::ProxyConfig::all(url.as_str()).map_err(|e| wrong(format!("proxy_url: {e}")))?;
            proxy = proxy.no_proxy("localhost,127.0.0.1,::1,169.254.169.254,169.254.170.2,169.254.170.23,[fd00:ec2::254],[fd00:ec2::23]");
            if let Some((user, password)) = &network.proxy_login {
                let password = password.reveal().map_err(|e| wrong(format!("the proxy's password: {e}")))?;
                proxy = proxy.with_basic_auth(user.as_str(), password.expose_secret());
            }
            proxy
        }
    };
    Ok(aws_smithy_http_client::Builder::new().build_with_connector_fn(move |settings, _| {
        let mut builder = Connector::builder();
        builder.set_connector_settings(settings.cloned());
        builder.proxy_config(proxy.clone()).tls_provider(tls::Provider::Rustls(CryptoMode::Ring)).tls_context(context.clone()).build()
    }))
}

/// Says of a refusal what we would have to be allowed.
pub(super) fn needs(problem: Problem, permission: &str) -> Problem {
    match problem.kind {
        ProblemKind::Denied if !problem.message.contains("not subscribed") => {
            Problem { message: format!("{}; it takes the permission {permission}", problem.message), ..problem }
        }
        _ => problem,
    }
}

/// A service of AWS in one account and region.
#[derive(Clone)]
pub(super) struct Service {
    cell: Cell,
    name: &'static str,
    /// S3 signs a path as it stands.
    raw_path: bool,
}

/// The same with the credentials of the chain, whatever role the account is read with: to assume that role.
struct Chain(Service);

impl Api for Chain {
    async fn authorize(&self, run: &Run, call: Call, renew: Option<Instant>) -> Result<Call, Problem> {
        let Chain(service) = self;
        let token = service.cell.base(run, renew).await?;
        service.sign(call, &service.cell.unpack(&token)?, SystemTime::UNIX_EPOCH + since_epoch())
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        self.0.classify(reply)
    }
}

impl Api for Service {
    async fn authorize(&self, run: &Run, call: Call, renew: Option<Instant>) -> Result<Call, Problem> {
        let keys = self.cell.keys(run, renew).await?;
        self.sign(call, &keys, SystemTime::UNIX_EPOCH + since_epoch())
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        if reply.status.is_success() && !reply.is_html() {
            return Verdict::Fine;
        }
        verdict(reply)
    }
}

impl Service {
    /// Signature Version 4.
    fn sign(&self, call: Call, keys: &Keys, now: SystemTime) -> Result<Call, Problem> {
        let wrong = |e: &dyn std::fmt::Display| problem(ProblemKind::Internal, self.cell.name(self.name), format!("cannot sign: {e}"));
        let session = keys.session.as_ref().map(|s| s.expose_secret().to_owned());
        let identity = Credentials::new(keys.id.clone(), keys.secret.expose_secret(), session, None, "bornright").into();
        let mut settings = SigningSettings::default();
        if self.raw_path {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.cell.region)
            .name(self.name)
            .time(now)
            .settings(settings)
            .build()
            .map_err(|e| wrong(&e))?
            .into();
        let signed: Vec<(String, String)> = call
            .headers()
            .iter()
            .filter(|(name, _)| matches!(name.as_str(), "content-type" | "x-amz-target"))
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let headers = signed.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request =
            SignableRequest::new(call.verb(), call.url().as_str(), headers, SignableBody::Bytes(call.body())).map_err(|e| wrong(&e))?;
        let (instructions, _) = sign(request, &params).map_err(|e| wrong(&e))?.into_parts();
        let mut call = call.quota(&self.cell.account.id);
        for (name, value) in instructions.headers() {
            let name = HeaderName::try_from(name).map_err(|e| wrong(&e))?;
            let secret = matches!(name.as_str(), "authorization" | "x-amz-security-token");
            call = if secret { call.secret(name, value, &SecretString::from(value)) } else { call.header(name, value) };
        }
        Ok(call)
    }
}

/// JSON 1.1, as AWS Config speaks it.
pub(super) fn json11(endpoint: &str, target: &'static str, body: &serde_json::Value) -> Result<Call, Problem> {
    let call = Call::post_json(session::at(endpoint, "/")?, body);
    let call = call.header(HeaderName::from_static("content-type"), "application/x-amz-json-1.1");
    debug_assert!(HeaderValue::from_str(target).is_ok());
    Ok(call.header(HeaderName::from_static("x-amz-target"), target))
}

/// What an error of AWS is, by its code: on its JSON protocols throttling comes as 400.
fn verdict(reply: &Reply) -> Verdict {
    let (code, message) = reply.code().unwrap_or_default();
    match code.as_str() {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "ProvisionedThroughputExceededException"
        | "BandwidthLimitExceeded"
        | "PriorRequestNotComplete"
        | "EC2ThrottledException"
        | "SlowDown" => Verdict::Throttled,
        "LimitExceededException" if reply.status.as_u16() == 429 || message.to_ascii_lowercase().contains("rate") => Verdict::Throttled,
        // Keys that were changed meanwhile look as if they had never been.
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "TokenRefreshRequired"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId" => Verdict::TokenExpired,
        // A list that is walked is asked again from its first page; asked for its first page, this is final.
        "InvalidNextTokenException"
        | "InvalidInputException"
        | "InvalidToken"
        | "InvalidPaginationToken"
        | "InvalidPaginationTokenException" => Verdict::PageExpired,
        "ValidationException" if message.to_ascii_lowercase().contains("token") => Verdict::PageExpired,
        "AccessDenied"
        | "AccessDeniedException"
        | "InvalidAccessException"
        | "UnauthorizedOperation"
        | "NotAuthorized"
        | "NotAuthorizedException"
        | "OptInRequired"
        | "SubscriptionRequiredException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "RequestTimeTooSkewed"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "AuthFailure" => Verdict::Denied,
        "InternalError"
        | "InternalException"
        | "InternalFailure"
        | "InternalServerException"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException" => Verdict::Failing,
        _ => by_status(reply),
    }
}

#[cfg(test)]
mod tests;
