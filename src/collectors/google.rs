//! Google's credentials: the files that its own libraries read, and the metadata server.
//!
//! A file's `type` says what it is: `service_account` (a key, with which we sign), `external_account` (workload identity
//! federation: a token of elsewhere is exchanged), `authorized_user` (what `gcloud auth application-default login` leaves).
//! Files are read again whenever a token is needed.

use super::client::{Secret, problem};
use super::oauth;
use super::session::{self, Call, Run, Token};
use crate::clock;
use crate::domain::{Moment, Problem, ProblemKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Url;
use reqwest::header::HeaderName;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Who we are in Google Cloud.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// A credentials file. Default: the one that `GOOGLE_APPLICATION_CREDENTIALS` names, else the metadata server.
    pub file: Option<PathBuf>,
    /// The metadata server, instead of `http://metadata.google.internal` or what `GCE_METADATA_HOST` says. If this is
    /// given and no file, the variable is not looked at.
    pub metadata_server: Option<String>,
}

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const SOURCE: &str = "google token";
/// Google takes no assertion that is to live longer.
const ASSERTION_SECONDS: i64 = 3600;

/// A credentials file. Whatever is secret in it is a type that prints `***`.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum File {
    ServiceAccount(Key),
    ExternalAccount(External),
    AuthorizedUser { client_id: String, client_secret: Hidden, refresh_token: Hidden, token_uri: Option<String> },
}

#[derive(Deserialize)]
struct Key {
    client_email: String,
    private_key: Hidden,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

#[derive(Deserialize)]
struct External {
    audience: String,
    subject_token_type: String,
    token_url: Option<String>,
    credential_source: Source,
    service_account_impersonation_url: Option<String>,
    service_account_impersonation: Option<Impersonation>,
}

#[derive(Deserialize)]
struct Impersonation {
    token_lifetime_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct Source {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    format: Option<Shape>,
    environment_id: Option<String>,
    executable: Option<Value>,
}

#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "type", default)]
    kind: String,
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Hidden(String);

impl Hidden {
    fn secret(&self) -> SecretString {
        SecretString::from(self.0.as_str())
    }
}

fn fault(message: impl Into<String>) -> Problem {
    problem(ProblemKind::Internal, "google credentials", message)
}

impl Credentials {
    /// A token for all of Google Cloud that we may use.
    pub(super) async fn token(&self, run: &Run) -> Result<Token, Problem> {
        let named = || std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").filter(|v| !v.is_empty()).map(PathBuf::from);
        let file = self.file.clone().or_else(|| self.metadata_server.is_none().then(named).flatten());
        match file {
            None => self.metadata(run).await,
            Some(path) => {
                let text = Secret::File(path.clone()).reveal().map_err(fault)?;
                match read(text.expose_secret()).map_err(|e| fault(format!("file {}: {e}", path.display())))? {
                    File::ServiceAccount(key) => service_account(run, &key, &path).await,
                    File::ExternalAccount(external) => external_account(run, &external, &path).await,
                    File::AuthorizedUser { client_id, client_secret, refresh_token, token_uri } => {
                        let (secret, refresh) = (client_secret.secret(), refresh_token.secret());
                        let form = [
                            ("grant_type", "refresh_token"),
                            ("client_id", client_id.as_str()),
                            ("client_secret", secret.expose_secret()),
                            ("refresh_token", refresh.expose_secret()),
                        ];
                        let url = endpoint(token_uri.as_deref(), "https://oauth2.googleapis.com/token", "token_uri")?;
                        oauth::fetch(run, SOURCE, &Call::post_form(url, &form).hide(&secret).hide(&refresh)).await
                    }
                }
            }
        }
    }

    async fn metadata(&self, run: &Run) -> Result<Token, Problem> {
        let host = std::env::var("GCE_METADATA_HOST").ok().filter(|h| !h.is_empty()).map(|h| format!("http://{h}"));
        let base = self.metadata_server.clone().or(host);
        let url = session::at(
            base.as_deref().unwrap_or("http://metadata.google.internal"),
            "/computeMetadata/v1/instance/service-accounts/default/token",
        )?;
        let call = Call::get(url).header(HeaderName::from_static("metadata-flavor"), "Google");
        oauth::fetch(run, "google metadata server", &call).await
    }
}

/// Reads a credentials file, quoting nothing of it: serde's own messages would.
fn read(text: &str) -> Result<File, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("is not JSON: line {}, column {}", e.line(), e.column()))?;
    let kind = value["type"].as_str().unwrap_or_default().to_owned();
    match kind.as_str() {
        "service_account" | "external_account" | "authorized_user" => serde_json::from_value(value).map_err(|e| {
            // "missing field `private_key`" names what a person needs; "invalid type: string …" would quote.
            let told = e.to_string();
            let missing = told.strip_prefix("missing field ").map(|f| format!(": {f} is missing"));
            format!("is no {kind} that we can read{}", missing.unwrap_or_default())
        }),
        "" => Err("has no `type`; expected a credentials file as Google writes it".to_owned()),
        _ => Err("is of a type that is not read; expected service_account, external_account or authorized_user".to_owned()),
    }
}

/// A URL that a credentials file names: credentials go there, so it is encrypted, or on this machine.
fn endpoint(named: Option<&str>, usual: &str, what: &str) -> Result<Url, Problem> {
    let url = Url::parse(named.unwrap_or(usual)).map_err(|e| fault(format!("{what} is not a URL: {e}")))?;
    let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if url.scheme() == "https" || here { Ok(url) } else { Err(fault(format!("{what} is not https"))) }
}

/// A signed statement of who we are, for a token (RFC 7523).
async fn service_account(run: &Run, key: &Key, path: &Path) -> Result<Token, Problem> {
    let url = endpoint(key.token_uri.as_deref(), "https://oauth2.googleapis.com/token", "token_uri")?;
    let assertion = assertion(key, url.as_str(), clock::now()).map_err(|e| fault(format!("file {}: {e}", path.display())))?;
    let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion.expose_secret())];
    oauth::fetch(run, SOURCE, &Call::post_form(url, &form).hide(&assertion)).await
}

fn assertion(key: &Key, audience: &str, now: Moment) -> Result<SecretString, String> {
    let pair = rsa(&key.private_key.0)?;
    let issued = now.0.div_euclid(1000);
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key.private_key_id });
    let claims = json!({
        "iss": key.client_email, "scope": SCOPE, "aud": audience, "iat": issued, "exp": issued + ASSERTION_SECONDS,
    });
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| "its private_key cannot sign".to_owned())?;
    Ok(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

/// A private key in PEM: PKCS #8, as Google writes it, or PKCS #1.
fn rsa(pem: &str) -> Result<RsaKeyPair, String> {
    let body: String = pem.lines().map(str::trim).filter(|l| !l.starts_with("-----")).collect();
    let der = STANDARD.decode(body).map_err(|_| "its private_key is not PEM".to_owned())?;
    RsaKeyPair::from_pkcs8(&der)
        .or_else(|_| RsaKeyPair::from_der(&der))
        .map_err(|e| format!("its private_key cannot be used ({e}); expected RSA of 2048 to 4096 bits"))
}

/// A token of elsewhere, exchanged (RFC 8693), and the service account that is then acted for.
async fn external_account(run: &Run, external: &External, path: &Path) -> Result<Token, Problem> {
    let subject = subject(run, &external.credential_source, path).await?;
    let url = endpoint(external.token_url.as_deref(), "https://sts.googleapis.com/v1/token", "token_url")?;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("audience", external.audience.as_str()),
        ("scope", SCOPE),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token_type", external.subject_token_type.as_str()),
        ("subject_token", subject.expose_secret()),
    ];
    let federated = oauth::fetch(run, "google token exchange", &Call::post_form(url, &form).hide(&subject)).await?;
    let Some(impersonation) = &external.service_account_impersonation_url else { return Ok(federated) };
    let url = endpoint(Some(impersonation), "", "service_account_impersonation_url")?;
    let seconds = external.service_account_impersonation.as_ref().and_then(|i| i.token_lifetime_seconds).unwrap_or(3600);
    let body = json!({ "scope": [SCOPE], "lifetime": format!("{seconds}s") });
    oauth::fetch(run, "google service account impersonation", &Call::post_json(url, &body).bearer(&federated.value)).await
}

async fn subject(run: &Run, source: &Source, path: &Path) -> Result<SecretString, Problem> {
    if source.environment_id.is_some() || source.executable.is_some() {
        let message = "its credential_source is AWS's metadata or a program, which are not supported; use `file` or `url`";
        return Err(fault(format!("file {}: {message}", path.display())));
    }
    let text = match (&source.file, &source.url) {
        (Some(file), _) => {
            // Beside the credentials file, unless it says where.
            let file = path.parent().map_or_else(|| file.clone(), |dir| dir.join(file));
            Secret::File(file).reveal().map_err(fault)?
        }
        (None, Some(url)) => {
            // Such a server is inside (a cluster's, a CI system's), and often spoken to without TLS.
            let url = Url::parse(url).map_err(|e| fault(format!("credential_source.url is not a URL: {e}")))?;
            let mut call = Call::get(url).any_answer();
            for (name, value) in &source.headers {
                let name = HeaderName::try_from(name).map_err(|_| fault("credential_source.headers has a name that is none"))?;
                call = call.secret(name, value, &SecretString::from(value.as_str()));
            }
            let reply = oauth::ask(run, "google subject token", &call).await?;
            let text = std::str::from_utf8(&reply.body).map_err(|_| fault("the subject token is not text"))?;
            SecretString::from(text.trim())
        }
        (None, None) => return Err(fault(format!("file {}: its credential_source has neither `file` nor `url`", path.display()))),
    };
    match &source.format {
        Some(shape) if shape.kind == "json" => {
            let name = shape.subject_token_field_name.as_deref().unwrap_or("access_token");
            let value: Value = serde_json::from_str(text.expose_secret()).map_err(|_| fault("the subject token's document is not JSON"))?;
            let token = value[name].as_str().filter(|t| !t.is_empty());
            token.map(SecretString::from).ok_or_else(|| fault(format!("the subject token's document has no `{name}`")))
        }
        _ if text.expose_secret().is_empty() => Err(fault("the subject token is empty")),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    fn key() -> Key {
        let der = include_str!("../../tests/clouds/throwaway-rsa.b64");
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}-----END PRIVATE KEY-----\n");
        Key { client_email: "a@b.example".to_owned(), private_key: Hidden(pem), private_key_id: Some("k1".to_owned()), token_uri: None }
    }

    #[test]
    fn the_assertion_is_signed_and_says_who_to_whom_and_how_long() {
        let key = key();
        let jwt = assertion(&key, "https://oauth2.googleapis.com/token", Moment::from_seconds(1_700_000_000)).unwrap();
        let parts: Vec<&str> = jwt.expose_secret().split('.').collect();
        let part = |i: usize| URL_SAFE_NO_PAD.decode(parts[i]).unwrap();
        let json = |i: usize| serde_json::from_slice::<Value>(&part(i)).unwrap();
        assert_eq!(json(0), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
        assert_eq!(
            json(1),
            json!({"iss": "a@b.example", "scope": SCOPE, "aud": "https://oauth2.googleapis.com/token", "iat": 1_700_000_000, "exp": 1_700_003_600})
        );
        let pair = rsa(&key.private_key.0).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref());
        public.verify(format!("{}.{}", parts[0], parts[1]).as_bytes(), &part(2)).unwrap();
    }

    #[test]
    fn a_credentials_file_that_is_wrong_is_never_quoted() {
        let told = |text: &str| read(text).map(|_| ()).unwrap_err();
        assert_eq!(told("{"), "is not JSON: line 1, column 1");
        assert_eq!(told("{}"), "has no `type`; expected a credentials file as Google writes it");
        assert_eq!(
            told(r#"{"type":"s3cr3t"}"#),
            "is of a type that is not read; expected service_account, external_account or authorized_user"
        );
        assert_eq!(
            told(r#"{"type":"service_account","client_email":"a"}"#),
            "is no service_account that we can read: `private_key` is missing"
        );
        assert_eq!(told(r#"{"type":"service_account","client_email":["s3cr3t"]}"#), "is no service_account that we can read");
        assert_eq!(rsa("s3cr3t!").unwrap_err(), "its private_key is not PEM");
        assert!(rsa("AAAA").unwrap_err().starts_with("its private_key cannot be used ("));
    }

    #[test]
    fn credentials_go_nowhere_in_the_clear() {
        for good in ["https://oauth2.googleapis.com/token", "http://127.0.0.1:8080/token", "http://localhost/token"] {
            assert!(endpoint(Some(good), "", "token_uri").is_ok(), "{good}");
        }
        for bad in ["http://oauth2.googleapis.com/token", "http://127.0.0.1.evil.example/", "token"] {
            assert!(endpoint(Some(bad), "", "token_uri").is_err(), "{bad}");
        }
    }
}
