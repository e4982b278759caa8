//! How a cluster is reached and who we are there: from inside it, by a kubeconfig, or as the operator says.
//!
//! All of it is read anew for each run, and tokens more often, since they are renewed under our hands. A kubeconfig that
//! would have us trust any certificate is refused unless the operator says the same.

use super::super::client::{Identity, problem};
use super::super::session::Token;
use super::{Config, Place};
use crate::clock;
use crate::domain::{Moment, Problem, ProblemKind, Span};
use base64::Engine as _;
use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Where a pod finds what it is known by.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// A kubeconfig of a hundred clusters has some 300 KiB.
const FILE_BYTES: u64 = 8 << 20;
/// What an exec plugin may print.
const PLUGIN_BYTES: u64 = 1 << 20;
/// How long an exec plugin may take; a person at a browser is not waited for.
const PLUGIN_TIME: Duration = Duration::from_secs(30);
/// How long a token from a file is used before the file is read again.
const FILE_TOKEN: Duration = Duration::from_secs(75);

/// A cluster, and how to speak to it.
pub(super) struct Cluster {
    /// What it is called: by the kubeconfig, if by anybody.
    pub(super) name: Option<String>,
    /// Where its API is; may have a path.
    pub(super) server: Url,
    /// Certificates.
    pub(super) identity: Identity,
    /// A file of authorities to trust, if no bytes are given.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) proxy: Option<String>,
    pub(super) login: Login,
}

/// Who we say we are.
pub(super) enum Login {
    /// Nobody, or whoever the client certificate says.
    Nobody,
    Token(SecretString),
    TokenFile(PathBuf),
    TokenEnv(String),
    Basic(String, SecretString),
    Exec(Exec),
}

/// A program that brings credentials.
#[derive(Clone, Deserialize)]
pub(super) struct Exec {
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    command: String,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default)]
    env: Option<Vec<Variable>>,
    #[serde(default, rename = "installHint")]
    hint: Option<String>,
    #[serde(default, rename = "interactiveMode")]
    interactive: Option<String>,
    #[serde(skip)]
    beside: PathBuf,
}

#[derive(Clone, Deserialize)]
struct Variable {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct File {
    #[serde(default, rename = "current-context")]
    current: Option<String>,
    #[serde(default)]
    clusters: Option<Vec<NamedCluster>>,
    #[serde(default)]
    contexts: Option<Vec<NamedContext>>,
    #[serde(default)]
    users: Option<Vec<NamedUser>>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Entry,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    server: Option<String>,
    #[serde(default, rename = "certificate-authority")]
    ca_file: Option<PathBuf>,
    #[serde(default, rename = "certificate-authority-data")]
    ca: Option<String>,
    #[serde(default, rename = "insecure-skip-tls-verify")]
    insecure: Option<bool>,
    #[serde(default, rename = "tls-server-name")]
    server_name: Option<String>,
    #[serde(default, rename = "proxy-url")]
    proxy: Option<String>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

// No `Debug`: it holds secrets in the clear.
#[derive(Default, Deserialize)]
struct User {
    #[serde(default)]
    token: Option<String>,
    #[serde(default, rename = "tokenFile")]
    token_file: Option<PathBuf>,
    #[serde(default, rename = "client-certificate")]
    cert_file: Option<PathBuf>,
    #[serde(default, rename = "client-certificate-data")]
    cert: Option<String>,
    #[serde(default, rename = "client-key")]
    key_file: Option<PathBuf>,
    #[serde(default, rename = "client-key-data")]
    key: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    exec: Option<Exec>,
    #[serde(default, rename = "auth-provider")]
    provider: Option<serde::de::IgnoredAny>,
}

fn fault(place: &Path, message: impl Into<String>) -> Problem {
    problem(ProblemKind::Internal, place.display(), message)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let meta = std::fs::metadata(path).map_err(|e| format!("{}: {e}", path.display()))?;
    if !meta.is_file() || meta.len() > FILE_BYTES {
        return Err(format!("{} is not a regular file of at most {FILE_BYTES} bytes", path.display()));
    }
    std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// The cluster that the configuration means.
///
/// # Errors
/// What is missing or wrong, and where.
pub(super) fn resolve(config: &Config) -> Result<Cluster, Problem> {
    match &config.place {
        Place::InCluster => in_cluster(|name| std::env::var(name).ok().filter(|v| !v.is_empty())),
        Place::Server { url, token } => {
            let server = Url::parse(url).map_err(|e| problem(ProblemKind::Internal, "server", format!("not a URL: {e}")))?;
            let login = match token {
                None => Login::Nobody,
                Some(super::Secret::File(path)) => Login::TokenFile(path.clone()),
                Some(super::Secret::Env(name)) => Login::TokenEnv(name.clone()),
            };
            Ok(Cluster { name: None, server, identity: Identity::default(), ca_file: None, proxy: None, login })
        }
        Place::Kubeconfig { path, context } => {
            let bytes = read(path).map_err(|e| problem(ProblemKind::Internal, "kubeconfig", e))?;
            let text = String::from_utf8(bytes).map_err(|_| fault(path, "is not text; expected a kubeconfig in YAML"))?;
            parse(&text, path, context.as_deref(), config.insecure)
        }
    }
}

fn in_cluster(variable: impl Fn(&str) -> Option<String>) -> Result<Cluster, Problem> {
    let (Some(host), Some(port)) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT")) else {
        return Err(problem(
            ProblemKind::Internal,
            "kubernetes",
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is no pod; help: give `kubeconfig: PATH`, or `server:` with `token_file:`",
        ));
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let server = Url::parse(&format!("https://{host}:{port}"))
        .map_err(|e| problem(ProblemKind::Internal, "KUBERNETES_SERVICE_HOST", format!("makes no URL: {e}")))?;
    let directory = Path::new(SERVICE_ACCOUNT);
    Ok(Cluster {
        name: None,
        server,
        identity: Identity::default(),
        ca_file: Some(directory.join("ca.crt")),
        proxy: None,
        login: Login::TokenFile(directory.join("token")),
    })
}

/// Reads a kubeconfig.
fn parse(text: &str, path: &Path, context: Option<&str>, allow_insecure: bool) -> Result<Cluster, Problem> {
    // The parser's message may quote the text around the fault, and that may be a key: only the place is told.
    let file: File = serde_yaml::from_str(text).map_err(|e| {
        let at = e.location().map(|l| format!(" (line {}, column {})", l.line(), l.column())).unwrap_or_default();
        fault(path, format!("is not a kubeconfig{at}; expected YAML with `clusters`, `contexts` and `users`"))
    })?;
    let (contexts, clusters) = (file.contexts.unwrap_or_default(), file.clusters.unwrap_or_default());
    let names = |all: Vec<&str>| if all.is_empty() { "it has none".to_owned() } else { format!("it has {}", all.join(", ")) };
    let wanted = context.or(file.current.as_deref()).filter(|c| !c.is_empty()).ok_or_else(|| {
        let has = names(contexts.iter().map(|c| c.name.as_str()).collect());
        fault(path, format!("has no current-context; help: choose with `context:`; {has}"))
    })?;
    let chosen = contexts
        .iter()
        .find(|c| c.name == wanted)
        .ok_or_else(|| fault(path, format!("has no context `{wanted}`; {}", names(contexts.iter().map(|c| c.name.as_str()).collect()))))?;
    let named = &chosen.context.cluster;
    let entry = clusters
        .into_iter()
        .find(|c| c.name == *named)
        .ok_or_else(|| fault(path, format!("context `{wanted}`: there is no cluster `{named}`")))?;
    let entry = entry.cluster;
    let user = match &chosen.context.user {
        None => User::default(),
        Some(name) => {
            let found = file.users.unwrap_or_default().into_iter().find(|u| u.name == *name);
            found.ok_or_else(|| fault(path, format!("context `{wanted}`: there is no user `{name}`")))?.user
        }
    };
    let beside = path.parent().unwrap_or(Path::new(""));
    let of_cluster = |message: String| fault(path, format!("cluster `{named}`: {message}"));
    let server = entry.server.ok_or_else(|| of_cluster("there is no `server`".to_owned()))?;
    let server = Url::parse(&server).map_err(|e| of_cluster(format!("`server` is not a URL: {e}; expected `https://host:6443`")))?;
    if !server.username().is_empty() || server.password().is_some() {
        return Err(of_cluster("`server` has a user or password in it".to_owned()));
    }
    let insecure = entry.insecure.unwrap_or(false);
    if insecure && !allow_insecure {
        return Err(of_cluster(
            "`insecure-skip-tls-verify` would have us trust whoever answers, and hand over the token; help: give `certificate-authority-data`, or say `insecure_skip_tls_verify: true` for this collector too".to_owned(),
        ));
    }
    if let Some(name) = entry.server_name {
        return Err(of_cluster(format!(
            "`tls-server-name: {name}` cannot be honoured; help: use a `server` whose name is in its certificate"
        )));
    }
    let data = |field: &str, data: &str| {
        let compact: String = data.split_whitespace().collect();
        base64::engine::general_purpose::STANDARD.decode(compact).map_err(|_| format!("`{field}` is not base64"))
    };
    let ca = match (&entry.ca, &entry.ca_file) {
        (Some(text), _) if !text.is_empty() => Some(data("certificate-authority-data", text).map_err(of_cluster)?),
        (_, Some(file)) if !file.as_os_str().is_empty() => {
            Some(read(&beside.join(file)).map_err(|e| of_cluster(format!("`certificate-authority`: {e}")))?)
        }
        _ => None,
    };
    let name = chosen.context.user.clone().unwrap_or_default();
    let of_user = |message: String| fault(path, format!("user `{name}`: {message}"));
    let part = |field: &str, text: &Option<String>, file: &Option<PathBuf>| match (text, file) {
        (Some(text), _) if !text.is_empty() => data(&format!("{field}-data"), text).map(Some),
        (_, Some(file)) if !file.as_os_str().is_empty() => read(&beside.join(file)).map(Some).map_err(|e| format!("`{field}`: {e}")),
        _ => Ok(None),
    };
    let cert = part("client-certificate", &user.cert, &user.cert_file).map_err(of_user)?;
    let key = part("client-key", &user.key, &user.key_file).map_err(of_user)?;
    let pem = match (cert, key) {
        (Some(cert), Some(key)) => Some([cert, b"\n".to_vec(), key].concat()),
        (None, None) => None,
        (Some(_), None) => return Err(of_user("has a client certificate without `client-key-data` or `client-key`".to_owned())),
        (None, Some(_)) => return Err(of_user("has a client key without `client-certificate-data` or `client-certificate`".to_owned())),
    };
    let secret = |text: String| SecretString::from(text.trim().to_owned());
    let token = user.token.filter(|t| !t.trim().is_empty());
    let login = match (token, user.token_file.filter(|f| !f.as_os_str().is_empty()), user.exec) {
        // As client-go does: the file is the newer way, and wins.
        (_, Some(file), _) => Login::TokenFile(beside.join(file)),
        (Some(token), None, _) => Login::Token(secret(token)),
        (None, None, Some(exec)) => Login::Exec(Exec { beside: beside.to_owned(), ..exec }),
        (None, None, None) => {
            match (user.username, user.password) {
                (Some(username), Some(password)) => Login::Basic(username, secret(password)),
                _ if pem.is_none() && user.provider.is_some() => {
                    return Err(of_user("`auth-provider` was removed from Kubernetes; help: use `exec`, for instance `kubelogin` or `gke-gcloud-auth-plugin`".to_owned()));
                }
                _ => Login::Nobody,
            }
        }
    };
    let identity = Identity { ca, pem: pem.map(Into::into), insecure };
    Ok(Cluster { name: Some(named.clone()), server, identity, ca_file: None, proxy: entry.proxy.filter(|p| !p.is_empty()), login })
}

/// What an exec plugin brought.
pub(super) struct Credential {
    pub(super) token: Option<SecretString>,
    /// Certificate and key, PEM.
    pub(super) pem: Option<Vec<u8>>,
    pub(super) good_for: Duration,
}

#[derive(Deserialize)]
struct ExecCredential {
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    #[serde(default)]
    status: Option<ExecStatus>,
}

#[derive(Deserialize)]
struct ExecStatus {
    #[serde(default)]
    token: Option<String>,
    #[serde(default, rename = "clientCertificateData")]
    cert: Option<String>,
    #[serde(default, rename = "clientKeyData")]
    key: Option<String>,
    #[serde(default, rename = "expirationTimestamp")]
    expires: Option<String>,
}

impl Exec {
    /// Runs the program.
    ///
    /// # Errors
    /// Why no credentials came.
    pub(super) async fn run(&self) -> Result<Credential, Problem> {
        let source = format!("exec plugin {}", self.command);
        let wrong = |message: String| problem(ProblemKind::Denied, &source, message);
        let version = &self.api_version;
        if !["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"].contains(&version.as_str()) {
            return Err(wrong(format!("apiVersion `{version}` is not known; expected client.authentication.k8s.io/v1 or v1beta1")));
        }
        if self.interactive.as_deref() == Some("Always") {
            return Err(wrong("wants to ask a person (`interactiveMode: Always`), and there is none".to_owned()));
        }
        // A name with a slash is relative to the kubeconfig; a bare one is looked for in PATH.
        let program = if self.command.contains('/') { self.beside.join(&self.command) } else { PathBuf::from(&self.command) };
        let info = serde_json::json!({"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": false}});
        let mut command = tokio::process::Command::new(program);
        command
            .args(self.args.iter().flatten())
            // Like kubectl: the plugins of clouds find their own credentials in the environment.
            .envs(self.env.iter().flatten().map(|v| (&v.name, &v.value)))
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // What it says there may have secrets in it, and nobody could tell which.
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let hint = self.hint.as_deref().map(|h| format!("; help: {}", h.lines().next().unwrap_or_default())).unwrap_or_default();
        let mut child = command.spawn().map_err(|e| wrong(format!("cannot be started: {e}{hint}")))?;
        let stdout = child.stdout.take().ok_or_else(|| wrong("has no output".to_owned()))?;
        let work = async {
            let mut text = Vec::new();
            stdout.take(PLUGIN_BYTES + 1).read_to_end(&mut text).await.map_err(|e| e.to_string())?;
            if text.len() as u64 > PLUGIN_BYTES {
                return Err(format!("printed more than {PLUGIN_BYTES} bytes"));
            }
            let status = child.wait().await.map_err(|e| e.to_string())?;
            if status.success() { Ok(text) } else { Err(format!("ended with {status}")) }
        };
        let text = match tokio::time::timeout(PLUGIN_TIME, work).await {
            Ok(Ok(text)) => text,
            Ok(Err(why)) => return Err(wrong(why)),
            Err(_) => return Err(wrong(format!("did not end within {} seconds", PLUGIN_TIME.as_secs()))),
        };
        self.understand(&text, clock::now()).map_err(wrong)
    }

    fn understand(&self, text: &[u8], now: Moment) -> Result<Credential, String> {
        // Nothing of the text is told: it is a secret.
        let said: ExecCredential = serde_json::from_slice(text)
            .map_err(|e| format!("printed what is no ExecCredential (line {}, column {})", e.line(), e.column()))?;
        if said.kind != "ExecCredential" || said.api_version != self.api_version {
            return Err(format!(
                "printed a `{}` of `{}`; expected an ExecCredential of `{}`",
                said.kind, said.api_version, self.api_version
            ));
        }
        let status = said.status.ok_or("printed an ExecCredential without `status`")?;
        let pem = match (status.cert, status.key) {
            (Some(cert), Some(key)) => Some([cert.into_bytes(), b"\n".to_vec(), key.into_bytes()].concat()),
            (None, None) => None,
            _ => return Err("printed only one of `clientCertificateData` and `clientKeyData`".to_owned()),
        };
        let token = status.token.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).map(SecretString::from);
        if token.is_none() && pem.is_none() {
            return Err("printed neither `token` nor a client certificate".to_owned());
        }
        let good_for = match status.expires.as_deref().map(str::parse::<jiff::Timestamp>) {
            Some(Ok(at)) => Moment::from(at).since(now).std(),
            Some(Err(_)) => return Err("`expirationTimestamp` is no instant of RFC 3339".to_owned()),
            // Until the API says that it has run out.
            None => Span::HOUR.std(),
        };
        if good_for.is_zero() {
            return Err("printed credentials that have run out already".to_owned());
        }
        Ok(Credential { token, pem, good_for })
    }
}

/// The token in a file, which others renew.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn token_in(path: &Path) -> Result<Token, Problem> {
    let secret = super::Secret::File(path.to_owned()).reveal().map_err(|e| problem(ProblemKind::Internal, "token", e))?;
    Ok(Token::new(secret, FILE_TOKEN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    const GOOD: &str = r#"
apiVersion: v1
kind: Config
current-context: prod-admin
preferences: {}
clusters:
- name: prod
  cluster: { server: "https://k8s.example:6443/k8s/clusters/c-1", certificate-authority-data: Q0E= }
- name: dev
  cluster: { server: "https://127.0.0.1:6443", insecure-skip-tls-verify: true }
- name: named
  cluster: { server: "https://127.0.0.1:6443", tls-server-name: kube }
contexts:
- { name: prod-admin, context: { cluster: prod, user: admin, namespace: x } }
- { name: prod-cert, context: { cluster: prod, user: cert } }
- { name: prod-exec, context: { cluster: prod, user: exec } }
- { name: prod-half, context: { cluster: prod, user: half } }
- { name: prod-old, context: { cluster: prod, user: old } }
- { name: prod-nobody, context: { cluster: prod, user: ghost } }
- { name: dev, context: { cluster: dev, user: admin } }
- { name: named, context: { cluster: named, user: admin } }
- { name: lost, context: { cluster: gone, user: admin } }
users:
- name: admin
  user: { token: t0ps3cret }
- name: cert
  user: { client-certificate-data: Q0VSVA==, client-key-data: S0VZ }
- name: half
  user: { client-certificate-data: Q0VSVA== }
- name: old
  user: { auth-provider: { name: gcp, config: { access-token: t0ps3cret } } }
- name: exec
  user: { exec: { apiVersion: client.authentication.k8s.io/v1, command: aws, args: [eks, get-token], env: [{ name: A, value: b }], interactiveMode: IfAvailable } }
"#;

    fn of(context: Option<&str>, insecure: bool) -> Result<Cluster, String> {
        parse(GOOD, Path::new("/etc/kube/config"), context, insecure).map_err(|p| p.to_string())
    }

    #[test]
    fn the_context_says_which_cluster_and_who() {
        let c = of(None, false).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((c.name.as_deref(), c.server.as_str()), (Some("prod"), "https://k8s.example:6443/k8s/clusters/c-1"));
        assert_eq!(c.identity.ca.as_deref(), Some(&b"CA"[..]));
        assert!(matches!(&c.login, Login::Token(t) if t.expose_secret() == "t0ps3cret"));
        let c = of(Some("prod-cert"), false).unwrap_or_else(|e| panic!("{e}"));
        assert!(matches!(c.login, Login::Nobody) && c.identity.pem.is_some());
        assert!(!format!("{:?}", c.identity).contains("KEY"));
        assert!(matches!(of(Some("prod-exec"), false).map(|c| c.login), Ok(Login::Exec(_))));
        assert!(of(Some("dev"), true).is_ok_and(|c| c.identity.insecure));
    }

    #[test]
    fn what_is_wrong_is_said_without_a_secret() {
        for (context, expected) in [
            (Some("dev"), "/etc/kube/config: internal: cluster `dev`: `insecure-skip-tls-verify` would have us trust whoever answers"),
            (Some("named"), "/etc/kube/config: internal: cluster `named`: `tls-server-name: kube` cannot be honoured"),
            (Some("lost"), "/etc/kube/config: internal: context `lost`: there is no cluster `gone`"),
            (Some("prod-nobody"), "/etc/kube/config: internal: context `prod-nobody`: there is no user `ghost`"),
            (Some("prod-half"), "/etc/kube/config: internal: user `half`: has a client certificate without `client-key-data`"),
            (Some("prod-old"), "/etc/kube/config: internal: user `old`: `auth-provider` was removed from Kubernetes"),
            (Some("x"), "/etc/kube/config: internal: has no context `x`; it has prod-admin, prod-cert"),
        ] {
            let said = of(context, false).err().unwrap_or_default();
            assert!(said.starts_with(expected), "{said}");
            assert!(!said.contains("t0ps3cret"));
        }
        for (text, expected) in [
            ("users: [{name: a, user: {token: [t0ps3cret]}}]", "is not a kubeconfig (line 1"),
            ("apiVersion: v1\n", "has no current-context"),
            (
                "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: k8s}}]",
                "cluster `c`: `server` is not a URL",
            ),
            (
                "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\nclusters: [{name: c, cluster: {server: 'https://k', certificate-authority-data: '!'}}]",
                "cluster `c`: `certificate-authority-data` is not base64",
            ),
        ] {
            let said = parse(text, Path::new("k"), None, false).err().map(|p| p.to_string()).unwrap_or_default();
            assert!(said.contains(expected) && !said.contains("t0ps3cret"), "{said}");
        }
    }

    #[test]
    fn a_pod_is_told_by_its_environment() {
        let said = in_cluster(|_| None).err().map(|p| p.to_string()).unwrap_or_default();
        assert!(said.contains("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set"), "{said}");
        let six = in_cluster(|name| Some(if name.ends_with("HOST") { "fd00::1" } else { "443" }.to_owned()));
        assert_eq!(six.map(|c| c.server.to_string()).unwrap_or_default(), "https://[fd00::1]/");
    }

    #[test]
    fn an_exec_plugin_is_understood_or_refused() {
        let Ok(Cluster { login: Login::Exec(exec), .. }) = of(Some("prod-exec"), false) else { panic!("an exec plugin") };
        let now = Moment::from_seconds(1_700_000_000);
        let said = |status: &str| {
            let text = format!(r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{status}}}"#);
            exec.understand(text.as_bytes(), now)
        };
        let good = said(r#"{"token":"t0ps3cret","expirationTimestamp":"2023-11-14T22:28:20Z"}"#).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((good.good_for.as_secs(), good.token.map(|t| t.expose_secret().to_owned())), (900, Some("t0ps3cret".to_owned())));
        assert!(said(r#"{"clientCertificateData":"C","clientKeyData":"K"}"#).is_ok_and(|c| c.pem.is_some() && c.token.is_none()));
        for (status, expected) in [
            ("{}", "printed neither `token` nor a client certificate"),
            (r#"{"token":"t","expirationTimestamp":"2020-01-01T00:00:00Z"}"#, "printed credentials that have run out already"),
            (r#"{"token":"t","expirationTimestamp":"soon"}"#, "`expirationTimestamp` is no instant of RFC 3339"),
            (r#"{"clientKeyData":"K"}"#, "printed only one of `clientCertificateData` and `clientKeyData`"),
        ] {
            assert_eq!(said(status).err().as_deref(), Some(expected));
        }
        assert_eq!(exec.understand(b"t0ps3cret", now).err().as_deref(), Some("printed what is no ExecCredential (line 1, column 2)"));
    }

    #[tokio::test]
    async fn an_exec_plugin_is_run_like_kubectl_does() {
        let plugin = |script: &str| Exec {
            api_version: "client.authentication.k8s.io/v1".to_owned(),
            command: "sh".to_owned(),
            args: Some(vec!["-c".to_owned(), script.to_owned()]),
            env: Some(vec![Variable { name: "GIVEN".to_owned(), value: "v4lue".to_owned() }]),
            hint: Some("install it\nlike this".to_owned()),
            interactive: None,
            beside: PathBuf::new(),
        };
        let print = r#"case "$KUBERNETES_EXEC_INFO" in *'"interactive":false'*) ;; *) exit 3;; esac; printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}' "$GIVEN""#;
        let got = plugin(print).run().await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(got.token.map(|t| t.expose_secret().to_owned()).as_deref(), Some("v4lue"));
        let said = |p: Result<Credential, Problem>| p.err().map(|p| p.to_string()).unwrap_or_default();
        assert_eq!(said(plugin("echo s3cret; exit 7").run().await), "exec plugin sh: denied: ended with exit status: 7");
        let missing = Exec { command: "bornright-no-such-plugin".to_owned(), ..plugin("") };
        let text = said(missing.run().await);
        assert!(text.contains("cannot be started") && text.ends_with("; help: install it"), "{text}");
        assert!(said(plugin("cat /dev/zero").run().await).contains("printed more than 1048576 bytes"));
        let old = Exec { api_version: "client.authentication.k8s.io/v1alpha1".to_owned(), ..plugin("") };
        assert!(said(old.run().await).contains("expected client.authentication.k8s.io/v1 or v1beta1"));
    }
}
