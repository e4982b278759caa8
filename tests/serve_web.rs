//! `--web.config.file`: what is accepted and what is refused, TLS, client certificates, users, and changes while running.
//! The cases follow those of exporter-toolkit's own tests.

#[path = "snapshot_fixture/backend.rs"]
mod backend;
mod snapshot_fixture;

use backend::Fixed;
use bornright::serve::{Limits, Web, WebConfig, run_with};
use snapshot_fixture::{AT, estate};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

fn reader(text: &str) -> Result<WebConfig, String> {
    serde_yaml::from_str(text).map_err(|e| e.to_string())
}

/// An authority, a server's certificate and a client's, in a folder as `ca.pem`, `server.{crt,key}`, `client.{crt,key}`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    renew(folder.path());
    folder
}

fn renew(folder: &Path) {
    let mut ca = rcgen::CertificateParams::new(vec![]).expect("no names");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let ca_certificate = ca.self_signed(&ca_key).expect("signed");
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("written");
    write("ca.pem", ca_certificate.pem());
    for (name, dns) in [("server", "localhost"), ("client", "prometheus.example")] {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![dns.to_owned()]).expect("a name");
        write(&format!("{name}.crt"), params.signed_by(&key, &issuer).expect("signed").pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

fn open(folder: &TempDir, text: &str) -> Result<Web, String> {
    let path = folder.path().join("web.yml");
    std::fs::write(&path, text).expect("written");
    Web::open(&path, reader)
}

struct Server {
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

async fn start(folder: &TempDir, text: &str) -> Server {
    let web = open(folder, text).expect("a good file");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let addr = listener.local_addr().expect("it is bound");
    let stop = CancellationToken::new();
    let task = tokio::spawn(run_with(listener, Fixed::new(estate(), AT), stop.clone(), Limits::default(), Some(web)));
    Server { addr, stop, task }
}

impl Server {
    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://localhost:{}{path}", self.addr.port())
    }
}

fn client(folder: &TempDir, with_certificate: bool) -> reqwest::Client {
    _ = rustls::crypto::ring::default_provider().install_default();
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("it was written");
    let ca = reqwest::Certificate::from_pem(&read("ca.pem")).expect("PEM");
    let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).pool_max_idle_per_host(0);
    if with_certificate {
        let identity = reqwest::Identity::from_pem(&[read("client.crt"), read("client.key")].concat()).expect("PEM");
        builder = builder.identity(identity);
    }
    builder.build().expect("a client")
}

const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

#[test]
fn files_are_accepted_or_refused_as_upstream_does() {
    let folder = folder();
    let tls = |rest: &str| format!("{TLS}{rest}");
    let only = |lines: &[&str]| format!("tls_server_config:\n{}", lines.iter().map(|l| format!("  {l}\n")).collect::<String>());
    for good in [
        String::new(),
        "# nothing\n{}".to_owned(),
        tls(""),
        tls("  client_auth_type: VerifyClientCertIfGiven\n"),
        tls("  client_auth_type: RequireAnyClientCert\n"),
        tls("  client_auth_type: RequestClientCert\n"),
        tls("  client_auth_type: NoClientCert\n"),
        tls("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n  client_allowed_sans: [one, test3, 10.0.0.1]\n"),
        tls("  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA]\n"),
        tls("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n  prefer_server_cipher_suites: false\n  min_version: TLS12\n  max_version: TLS12\n"),
        tls("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n  max_version: TLS12\nhttp_server_config:\n  http2: false\n"),
        tls("  curve_preferences: [CurveP256, CurveP384, CurveP521, X25519]\n"),
        tls("  min_version: TLS10\n"),
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1\n    Strict-Transport-Security: max-age=31536000; includeSubDomains\n".to_owned(),
        "basic_auth_users:\n  alice: $2y$12$1DpfPeqF9HzHJt.EWswy1exHluGfbhnn3yXhR7Xes6m3WJqFg0Wby\n  bob: $2y$18$4VeFDzXIoPHKnKTU3O3GH.N.vZu06CVqczYZ8WvfzrddFU6tGqjR.\n".to_owned(),
        "rate_limit:\n  interval: 0\n  burst: 0\n".to_owned(),
        "rate_limit:\n  interval: \"1s\"\n  burst: 20\n".to_owned(),
    ] {
        assert!(open(&folder, &good).is_ok(), "{good}: {:?}", open(&folder, &good).err());
    }
    for (bad, said) in [
        (only(&["cert_filse: server.crt"]), "cert_filse"),
        (only(&["cert_file: \"\"", "key_file: server.key"]), "`cert` or `cert_file`"),
        (only(&["cert_file: server.crt", "key_file: \"\""]), "`key` or `key_file`"),
        (only(&["cert_file: somefile", "key_file: server.key"]), "somefile"),
        (only(&["cert_file: server.crt", "key_file: somefile"]), "somefile"),
        (only(&["cert: \"\"", "key_file: server.key"]), "`cert` or `cert_file`"),
        (only(&["cert_file: \"\"", "key_file: \"\"", "client_auth_type: x"]), "`cert` or `cert_file`"),
        (only(&["cert_file: server.key", "key_file: server.key"]), "no certificate"),
        (only(&["cert_file: server.crt", "key_file: server.crt"]), "no private key"),
        (only(&["cert_file: client.crt", "key_file: server.key"]), "`cert` and `key`"),
        (only(&["cert_file: server.crt", "cert: x", "key_file: server.key"]), "both"),
        (tls("  client_auth_type: RequireAndVerifyClientCert\n"), "it needs `client_ca`"),
        (tls("  client_ca_file: ca.pem\n"), "without a `client_auth_type`"),
        (tls("  client_ca_file: /dev/null\n  client_auth_type: VerifyClientCertIfGiven\n"), "no certificate"),
        (tls("  client_auth_type: Whatever\n"), "expected NoClientCert"),
        (tls("  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA2048]\n"), "unknown suite"),
        (tls("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n  max_version: TLS12\n"), "HTTP/2 requires"),
        (tls("  curve_preferences: [CurveP257]\n"), "unknown curve"),
        (tls("  min_version: TLS13\n  curve_preferences: [CurveP521]\n"), "nothing listed is offered"),
        (tls("  min_version: TLS111\n"), "expected TLS10"),
        (tls("  max_version: TLS11\n"), "neither TLS 1.2 nor 1.3"),
        ("basic_auth_users:\n  john: doe\n".to_owned(), "not a bcrypt hash"),
        ("basic_auth_users:\n  john: $2y$31$4VeFDzXIoPHKnKTU3O3GH.N.vZu06CVqczYZ8WvfzrddFU6tGqjR.\n".to_owned(), "a cost of 31"),
        ("http_server_config:\n  headers:\n    Server: x\n".to_owned(), "cannot be set"),
        ("rate_limit:\n  interval: soon\n  burst: 1\n".to_owned(), "rate_limit.interval"),
    ] {
        let refused = open(&folder, &bad).err().unwrap_or_else(|| panic!("accepted: {bad}"));
        assert!(refused.contains(said), "{bad}: {refused}");
        assert!(!refused.contains("PRIVATE KEY"), "{refused}");
    }
    assert!(Web::open(Path::new("/nowhere/web.yml"), reader).is_err());
}

#[tokio::test]
async fn tls_is_spoken_and_nothing_else() {
    let folder = folder();
    let server = start(&folder, TLS).await;
    let got = client(&folder, false).get(server.url("https", "/metrics")).send().await.expect("an answer");
    assert_eq!((got.status().as_u16(), got.version()), (200, reqwest::Version::HTTP_2));
    assert!(got.text().await.expect("a body").contains("compliance_ratio{"));
    assert!(client(&folder, false).get(server.url("http", "/metrics")).send().await.is_err(), "no plain text");
    // An open socket without a handshake does not hold the end up.
    let mut silent = TcpStream::connect(server.addr).await.expect("it listens");
    silent.write_all(&[0x16]).await.expect("written");
    let begun = Instant::now();
    server.stop.cancel();
    server.task.await.expect("no panic").expect("no error");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn clients_show_the_right_certificate() {
    let folder = folder();
    let verify = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n");
    let other = self::folder();
    let asks = async |text: &str, with: bool, from: &TempDir| {
        let server = start(&folder, text).await;
        // The certificate of another authority, with the right one's root to trust the server.
        if !std::ptr::eq(from, &folder) {
            std::fs::copy(folder.path().join("ca.pem"), from.path().join("ca.pem")).expect("copied");
        }
        client(from, with).get(server.url("https", "/-/healthy")).send().await.is_ok_and(|r| r.status().as_u16() == 200)
    };
    assert!(asks(&verify, true, &folder).await);
    assert!(!asks(&verify, false, &folder).await);
    assert!(!asks(&verify, true, &other).await);
    assert!(asks(&format!("{verify}  client_allowed_sans: [a.example, prometheus.example]\n"), true, &folder).await);
    assert!(!asks(&format!("{verify}  client_allowed_sans: [a.example]\n"), true, &folder).await);
    let any = format!("{TLS}  client_auth_type: RequireAnyClientCert\n");
    assert!(asks(&any, true, &other).await);
    assert!(!asks(&any, false, &folder).await);
    assert!(asks(&format!("{TLS}  client_auth_type: RequestClientCert\n"), false, &folder).await);
}

#[tokio::test]
async fn users_need_their_password_everywhere_but_where_a_token_is_shown() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let folder = folder();
    let hash = bcrypt::hash("right", 4).expect("a hash");
    let server =
        start(&folder, &format!("basic_auth_users:\n  alice: {hash}\nhttp_server_config:\n  headers:\n    X-Frame-Options: SAMEORIGIN\n"))
            .await;
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let status = async |path: &str, user: Option<(&str, &str)>| {
        let request = client.get(server.url("http", path));
        let request = match user {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        };
        let got = request.send().await.expect("an answer");
        assert_eq!(got.headers().get("x-frame-options").map(|v| v.as_bytes()), Some(&b"SAMEORIGIN"[..]));
        assert_eq!(got.headers().contains_key("www-authenticate"), got.status().as_u16() == 401);
        got.status().as_u16()
    };
    for path in ["/", "/metrics", "/-/healthy", "/api/v1/controls", "/no/such"] {
        assert_eq!(status(path, None).await, 401, "{path}");
        assert_eq!(status(path, Some(("alice", "wrong"))).await, 401, "{path}");
    }
    // Nobody is let in with the password of somebody else.
    for user in [("alice", ""), ("bob", "right"), ("bob", "wrong"), ("", "")] {
        assert_eq!(status("/metrics", Some(user)).await, 401, "{user:?}");
    }
    for _ in 0..3 {
        assert_eq!(status("/metrics", Some(("alice", "right"))).await, 200);
    }
    assert_eq!(status("/no/such", Some(("alice", "right"))).await, 404);
    let push = async |token: &str| {
        client.post(server.url("http", "/api/v1/runs/ci")).bearer_auth(token).body("{}").send().await.expect("an answer").status()
    };
    assert_eq!(push("right").await.as_u16(), 200);
    assert_eq!(push("wrong").await.as_u16(), 401);
}

#[tokio::test]
async fn changes_take_effect_and_mistakes_do_not() {
    let folder = folder();
    let hash = |password: &str| bcrypt::hash(password, 4).expect("a hash");
    let server = start(&folder, &format!("{TLS}basic_auth_users:\n  alice: {}\n", hash("one"))).await;
    let status = async |password: &str| {
        let got = client(&folder, false).get(server.url("https", "/-/healthy")).basic_auth("alice", Some(password)).send().await;
        got.map_or(0, |r| r.status().as_u16())
    };
    let becomes = async |password: &str, expected: u16| {
        let begun = Instant::now();
        while status(password).await != expected {
            assert!(begun.elapsed() < Duration::from_secs(20), "{password} never became {expected}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let write = |text: String| std::fs::write(folder.path().join("web.yml"), text).expect("written");
    assert_eq!(status("one").await, 200);
    write(format!("{TLS}basic_auth_users:\n  alice: {}\n", hash("two")));
    becomes("two", 200).await;
    assert_eq!(status("one").await, 401, "the old password is forgotten, cached or not");
    // A file that cannot be used, and one that would turn TLS off, change nothing.
    for broken in ["basic_auth_users: [", "{}", "basic_auth_users:\n  alice: plain\n"] {
        write(broken.to_owned());
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!((status("two").await, status("one").await, status("").await), (200, 401, 401), "{broken}");
    }
    // New certificates under the same names.
    write(format!("{TLS}basic_auth_users:\n  alice: {}\n", hash("three")));
    renew(folder.path());
    becomes("three", 200).await;
}

#[tokio::test]
async fn too_many_requests_are_refused() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let folder = folder();
    let server = start(&folder, "rate_limit:\n  interval: 1h\n  burst: 3\n").await;
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut got = Vec::new();
    for _ in 0..5 {
        got.push(client.get(server.url("http", "/-/healthy")).send().await.expect("an answer").status().as_u16());
    }
    assert_eq!(got, [200, 200, 200, 429, 429]);
}
