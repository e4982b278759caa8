//! TLS, users and a rate limit, from a file in the format of Prometheus' exporter-toolkit (`--web.config.file`),
//! version 1 of 2026: <https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md>.
//!
//! The file and what it names are read again when they change, while connections are open. A change that cannot be
//! used changes nothing and is logged: the users of before stay in force, and nobody else gets in.
//!
//! Where we differ: TLS 1.0 and 1.1 are not spoken, CBC suites and P-521 are not offered (a file that leaves nothing
//! else is refused), and `client_allowed_sans` knows DNS names and IP addresses.

use hyper::header::{HeaderName, HeaderValue};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The file as written. It has no `Debug`: it may hold a private key.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    tls_server_config: TlsConfig,
    http_server_config: HttpConfig,
    basic_auth_users: BTreeMap<String, String>,
    rate_limit: RateLimit,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsConfig {
    cert_file: String,
    key_file: String,
    cert: String,
    key: String,
    client_ca_file: String,
    client_ca: String,
    client_auth_type: String,
    client_allowed_sans: Vec<String>,
    min_version: String,
    max_version: String,
    cipher_suites: Vec<String>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpConfig {
    http2: bool,
    headers: BTreeMap<String, Word>,
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig { http2: true, headers: BTreeMap::new() }
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RateLimit {
    interval: Word,
    burst: u32,
}

/// Text, or a number that stands where text is meant (`interval: 0`, `X-XSS-Protection: 1`).
#[derive(Clone, Default)]
struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Word;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a number")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.to_owned()))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Word, E> {
                Ok(Word(n.to_string()))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Word, E> {
                Ok(Word(n.to_string()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Reads the file's text; whoever owns the YAML reader brings it along.
pub type Reader = fn(&str) -> Result<WebConfig, String>;

/// The file, kept up to date.
pub struct Web {
    path: PathBuf,
    reader: Reader,
    state: Mutex<State>,
}

struct State {
    loaded: Arc<Loaded>,
    /// All bytes that it was made from.
    from: Vec<u8>,
    looked: Instant,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Web({})", self.path.display())
    }
}

/// What the file means.
pub(super) struct Loaded {
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    allowed_sans: Vec<ServerName<'static>>,
    pub(super) http2: bool,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    users: BTreeMap<String, String>,
    /// Digests of credentials that were right; bcrypt is slow on purpose, and a scraper comes every few seconds.
    known: Mutex<HashSet<[u8; 32]>>,
    /// One bcrypt at a time, so that guessing costs one core at most.
    bcrypt: Arc<Semaphore>,
    bucket: Option<Mutex<Bucket>>,
}

struct Bucket {
    interval: Duration,
    burst: u32,
    tokens: f64,
    at: Instant,
}

impl Web {
    /// Reads the file and what it names.
    ///
    /// # Errors
    /// What is wrong with it, with the path.
    pub fn open(path: &Path, reader: Reader) -> Result<Web, String> {
        let (from, loaded) = read(path, reader)?;
        Ok(Web { path: path.to_owned(), reader, state: Mutex::new(State { loaded: Arc::new(loaded), from, looked: Instant::now() }) })
    }

    /// What holds now. Looks for changes at most once a second.
    pub(super) fn current(&self) -> Arc<Loaded> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= Duration::from_secs(1) {
            state.looked = Instant::now();
            match changed(&self.path, self.reader, &state.from) {
                Ok(None) => {}
                Ok(Some((from, loaded))) if loaded.tls.is_some() == state.loaded.tls.is_some() => {
                    tracing::info!(path = %self.path.display(), "{} was read again", self.path.display());
                    (state.from, state.loaded) = (from, Arc::new(loaded));
                }
                Ok(Some(_)) => tracing::error!("{}: TLS can only be turned on or off by a restart", self.path.display()),
                Err(said) => tracing::error!("what was read before stays in force: {said}"),
            }
        }
        state.loaded.clone()
    }
}

type Read = (Vec<u8>, Loaded);

fn changed(path: &Path, reader: Reader, before: &[u8]) -> Result<Option<Read>, String> {
    // What the file names may have changed too, so everything is read; it is a few kilobytes.
    let (from, loaded) = read(path, reader)?;
    Ok((from != before).then_some((from, loaded)))
}

fn read(path: &Path, reader: Reader) -> Result<Read, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let config = if text.trim().is_empty() { WebConfig::default() } else { reader(&text)? };
    let mut from = text.into_bytes();
    let loaded = load(&config, path.parent().unwrap_or(Path::new(".")), &mut from).map_err(|said| format!("{}: {said}", path.display()))?;
    Ok((from, loaded))
}

fn load(config: &WebConfig, folder: &Path, from: &mut Vec<u8>) -> Result<Loaded, String> {
    let tls = tls(config, folder, from)?;
    let sans = config.tls_server_config.client_allowed_sans.iter();
    let allowed_sans = sans.map(|name| {
        ServerName::try_from(name.clone()).map_err(|_| format!("`client_allowed_sans`: `{name}` is neither a DNS name nor an IP address"))
    });
    for (user, hash) in &config.basic_auth_users {
        let parts: bcrypt::HashParts = hash
            .parse()
            .map_err(|_| format!("`basic_auth_users`: the password of `{user}` is not a bcrypt hash; make one with `htpasswd -nBC 10`"))?;
        match parts.get_cost() {
            0..=14 => {}
            cost @ 15..=20 => {
                tracing::warn!("`basic_auth_users`: the hash of `{user}` has a cost of {cost}; each check of it takes seconds")
            }
            cost => return Err(format!("`basic_auth_users`: the hash of `{user}` has a cost of {cost}; expected 20 at most")),
        }
    }
    Ok(Loaded {
        tls,
        allowed_sans: allowed_sans.collect::<Result<_, _>>()?,
        http2: config.http_server_config.http2,
        headers: config.http_server_config.headers.iter().map(header).collect::<Result<_, _>>()?,
        users: config.basic_auth_users.clone(),
        known: Mutex::default(),
        bcrypt: Arc::new(Semaphore::new(1)),
        bucket: bucket(&config.rate_limit)?,
    })
}

fn tls(config: &WebConfig, folder: &Path, from: &mut Vec<u8>) -> Result<Option<Arc<rustls::ServerConfig>>, String> {
    let c = &config.tls_server_config;
    if [&c.cert_file, &c.key_file, &c.cert, &c.key, &c.client_ca_file, &c.client_ca, &c.client_auth_type].iter().all(|s| s.is_empty()) {
        return Ok(None);
    }
    let mut pem = |what: &str, file: &str, text: &str| -> Result<Vec<u8>, String> {
        let bytes = match (file.is_empty(), text.is_empty()) {
            (true, true) => return Err(format!("`tls_server_config` needs `{what}` or `{what}_file`")),
            (false, false) => return Err(format!("`tls_server_config` has both `{what}` and `{what}_file`; expected one")),
            (true, false) => text.as_bytes().to_vec(),
            (false, true) => {
                let path = folder.join(file);
                std::fs::read(&path).map_err(|e| format!("`{what}_file`: {}: {e}", path.display()))?
            }
        };
        from.extend_from_slice(&bytes);
        Ok(bytes)
    };
    let chain = certificates("cert", &pem("cert", &c.cert_file, &c.cert)?)?;
    let key = PrivateKeyDer::from_pem_slice(&pem("key", &c.key_file, &c.key)?).map_err(|e| format!("`key`: no private key in PEM: {e}"))?;
    let has_ca = !c.client_ca_file.is_empty() || !c.client_ca.is_empty();
    let ca = if has_ca { Some(certificates("client_ca", &pem("client_ca", &c.client_ca_file, &c.client_ca)?)?) } else { None };

    let provider = Arc::new(provider(config)?);
    let versions = versions(c)?;
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|e| format!("`tls_server_config`: nothing can be spoken with these versions, suites and curves: {e}"))?;
    let builder = match client_auth(c, ca, &provider)? {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut out = builder.with_single_cert(chain, key).map_err(|e| format!("`cert` and `key`: {e}"))?;
    out.alpn_protocols =
        if config.http_server_config.http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    // `prefer_server_cipher_suites` says the opposite; Go ignores it since 1.17, and order matters little among these.
    out.ignore_client_order = c.prefer_server_cipher_suites.unwrap_or(false);
    Ok(Some(Arc::new(out)))
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|e| format!("`{what}`: {e}"))?;
    if all.is_empty() { Err(format!("`{what}`: no certificate in PEM")) } else { Ok(all) }
}

fn versions(c: &TlsConfig) -> Result<Vec<&'static rustls::SupportedProtocolVersion>, String> {
    let number = |name: &str, text: &str, default: u8| match text {
        "" => Ok(default),
        "TLS10" => Ok(10),
        "TLS11" => Ok(11),
        "TLS12" => Ok(12),
        "TLS13" => Ok(13),
        other => Err(format!("`{name}` is `{other}`; expected TLS10, TLS11, TLS12 or TLS13")),
    };
    let (min, max) = (number("min_version", &c.min_version, 12)?, number("max_version", &c.max_version, 13)?);
    let mut out = Vec::new();
    if min <= 13 && max >= 13 {
        out.push(&rustls::version::TLS13);
    }
    if min <= 12 && max >= 12 {
        out.push(&rustls::version::TLS12);
    }
    if out.is_empty() {
        Err("`min_version` and `max_version` leave neither TLS 1.2 nor 1.3; nothing older is spoken".to_owned())
    } else {
        Ok(out)
    }
}

fn provider(config: &WebConfig) -> Result<CryptoProvider, String> {
    let c = &config.tls_server_config;
    let mut provider = ring::default_provider();
    if !c.cipher_suites.is_empty() {
        // Known to Go, not offered here; what else is listed is used.
        const NOT_OFFERED: [&str; 8] = [
            "TLS_RSA_WITH_AES_128_CBC_SHA",
            "TLS_RSA_WITH_AES_256_CBC_SHA",
            "TLS_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
            "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
            "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        ];
        // rustls spells those of TLS 1.3 with their version. As in Go the list is about TLS 1.2.
        let spelled = |suite: &rustls::SupportedCipherSuite| {
            let name = suite.suite().as_str().unwrap_or_default();
            name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"))
        };
        for name in &c.cipher_suites {
            if !provider.cipher_suites.iter().any(|s| spelled(s) == *name) && !NOT_OFFERED.contains(&name.as_str()) {
                return Err(format!("`cipher_suites`: unknown suite `{name}`"));
            }
        }
        let required = |name: &String| name.starts_with("TLS_ECDHE_") && name.ends_with("_WITH_AES_128_GCM_SHA256");
        if config.http_server_config.http2 && c.min_version != "TLS13" && !c.cipher_suites.iter().any(required) {
            return Err("`cipher_suites`: HTTP/2 requires TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or its ECDSA sister; \
                        list one of them, or set `http2: false`"
                .to_owned());
        }
        provider.cipher_suites.retain(|s| s.tls13().is_some() || c.cipher_suites.contains(&spelled(s)));
    }
    if !c.curve_preferences.is_empty() {
        let mut groups = Vec::new();
        for name in &c.curve_preferences {
            match name.as_str() {
                "X25519" => groups.push(ring::kx_group::X25519),
                "CurveP256" => groups.push(ring::kx_group::SECP256R1),
                "CurveP384" => groups.push(ring::kx_group::SECP384R1),
                "CurveP521" | "X25519MLKEM768" => tracing::warn!("`curve_preferences`: {name} is not offered"),
                other => {
                    return Err(format!(
                        "`curve_preferences`: unknown curve `{other}`; expected CurveP256, CurveP384, CurveP521 or X25519"
                    ));
                }
            }
        }
        if groups.is_empty() {
            return Err("`curve_preferences`: nothing listed is offered; add X25519, CurveP256 or CurveP384".to_owned());
        }
        provider.kx_groups = groups;
    }
    Ok(provider)
}

fn client_auth(
    c: &TlsConfig,
    ca: Option<Vec<CertificateDer<'static>>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let any = |mandatory| -> Arc<dyn ClientCertVerifier> {
        Arc::new(AnyClient { mandatory, algorithms: provider.signature_verification_algorithms })
    };
    match (c.client_auth_type.as_str(), ca) {
        ("" | "NoClientCert", None) => Ok(None),
        ("" | "NoClientCert", Some(_)) => Err("`client_ca` without a `client_auth_type` that asks for certificates".to_owned()),
        ("RequestClientCert", _) => Ok(Some(any(false))),
        ("RequireAnyClientCert", _) => Ok(Some(any(true))),
        // Nobody to verify against: no certificate can be right, so none is asked for.
        ("VerifyClientCertIfGiven", None) => Ok(None),
        ("RequireAndVerifyClientCert", None) => {
            Err("`client_auth_type` is RequireAndVerifyClientCert; it needs `client_ca` or `client_ca_file`".to_owned())
        }
        (kind @ ("VerifyClientCertIfGiven" | "RequireAndVerifyClientCert"), Some(ca)) => {
            let mut roots = RootCertStore::empty();
            for certificate in ca {
                roots.add(certificate).map_err(|e| format!("`client_ca`: {e}"))?;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let builder = if kind == "VerifyClientCertIfGiven" { builder.allow_unauthenticated() } else { builder };
            Ok(Some(builder.build().map_err(|e| format!("`client_ca`: {e}"))?))
        }
        (other, _) => Err(format!(
            "`client_auth_type` is `{other}`; expected NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven \
             or RequireAndVerifyClientCert"
        )),
    }
}

/// Takes any client certificate whose key its sender has, as `RequireAnyClientCert` says.
#[derive(Debug)]
struct AnyClient {
    mandatory: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn header((name, value): (&String, &Word)) -> Result<(HeaderName, HeaderValue), String> {
    const ALLOWED: [&str; 5] =
        ["Content-Security-Policy", "Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options", "X-XSS-Protection"];
    let known = ALLOWED.iter().find(|a| a.eq_ignore_ascii_case(name));
    let known = known.ok_or_else(|| format!("`headers`: `{name}` cannot be set; expected one of {}", ALLOWED.join(", ")))?;
    let value = HeaderValue::from_str(&value.0).map_err(|_| format!("`headers`: the value of `{name}` is not a header's value"))?;
    Ok((HeaderName::from_bytes(known.as_bytes()).map_err(|e| e.to_string())?, value))
}

fn bucket(limit: &RateLimit) -> Result<Option<Mutex<Bucket>>, String> {
    let text = limit.interval.0.trim();
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let interval = crate::exposition::span(text).map_err(|e| format!("`rate_limit.interval`: {e}"))?;
    if interval.is_zero() {
        return Ok(None);
    }
    Ok(Some(Mutex::new(Bucket { interval, burst: limit.burst, tokens: f64::from(limit.burst), at: Instant::now() })))
}

impl Loaded {
    /// Whether one more request may be answered now.
    pub(super) fn within_rate(&self) -> bool {
        let Some(bucket) = &self.bucket else { return true };
        let mut b = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = b.at.elapsed().as_secs_f64() / b.interval.as_secs_f64();
        b.at = Instant::now();
        b.tokens = (b.tokens + grown).min(f64::from(b.burst));
        let yes = b.tokens >= 1.0;
        if yes {
            b.tokens -= 1.0;
        }
        yes
    }

    /// Whether a client with this certificate may stay.
    pub(super) fn allows(&self, certificate: Option<&CertificateDer<'_>>) -> bool {
        if self.allowed_sans.is_empty() {
            return true;
        }
        let Some(parsed) = certificate.and_then(|c| ParsedCertificate::try_from(c).ok()) else { return false };
        self.allowed_sans.iter().any(|name| rustls::client::verify_server_name(&parsed, name).is_ok())
    }

    /// Whether `authorization` is that of a user. Everybody is if there are no users.
    pub(super) async fn knows(self: &Arc<Loaded>, authorization: Option<&HeaderValue>) -> bool {
        if self.users.is_empty() {
            return true;
        }
        let Some((user, password)) = authorization.and_then(basic) else { return false };
        // Somebody who is not there is measured against the first who is, and refused whatever comes of it: the time that
        // an answer takes tells nobody who is a user.
        let is_user = self.users.contains_key(&user);
        let Some(hash) = self.users.get(&user).or_else(|| self.users.values().next()).cloned() else { return false };
        let mut digest = Sha256::new();
        for part in [user.as_bytes(), hash.as_bytes(), &password] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let digest: [u8; 32] = digest.finalize().into();
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest) {
            return true;
        }
        let Ok(turn) = self.bcrypt.clone().acquire_owned().await else { return false };
        let checked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            bcrypt::verify(&password, &hash).unwrap_or(false)
        });
        let right = checked.await.unwrap_or(false) && is_user;
        if right {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            // As many as there are users, unless one user's password is written in several ways.
            if known.len() >= 1000 {
                known.clear();
            }
            known.insert(digest);
        }
        right
    }
}

/// User and password of a `Basic` authorization.
fn basic(value: &HeaderValue) -> Option<(String, Vec<u8>)> {
    use base64::Engine as _;
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let colon = decoded.iter().position(|b| *b == b':')?;
    Some((String::from_utf8(decoded[..colon].to_vec()).ok()?, decoded[colon + 1..].to_vec()))
}
