//! Programs of others that the tests run for real. `./test --setup` installs them; one that is missing is a failure.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The account that the emulator plays. Its number is made up.
pub const ACCOUNT: &str = "417205518860";
/// The region of everything that the tests make in the emulator.
pub const REGION: &str = "eu-west-1";

/// Where a program is: in the Python environments below `BORNRIGHT_PEERS` or `target/peers`, on `PATH`, or among
/// PostgreSQL's own, of which the newest version wins.
pub fn peer(program: &str) -> PathBuf {
    let peers =
        std::env::var_os("BORNRIGHT_PEERS").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers"), PathBuf::from);
    let mut places = vec![peers.join("venv/bin"), peers.join("prowler/bin")];
    places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<_> = versions.flatten().map(|e| e.path()).collect();
        versions.sort_by_key(|p| std::cmp::Reverse(p.file_name().and_then(|n| n.to_str()?.parse::<u32>().ok())));
        places.extend(versions.into_iter().map(|v| v.join("bin")));
    }
    match places.iter().map(|place| place.join(program)).find(|path| path.is_file()) {
        Some(path) => path,
        None => panic!("`{program}` is needed and is not here; run ./test --setup, or set BORNRIGHT_PEERS to where it was run"),
    }
}

/// Python of the environment that has `boto3`, `moto`, `c7n` and `trestle`.
pub fn python() -> Command {
    let mut command = Command::new(peer("moto_server").with_file_name("python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command
}

/// Runs a command to its end and says everything when it ends otherwise than with one of these codes.
pub fn ends_with(codes: &[i32], command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let code = output.status.code();
    assert!(
        code.is_some_and(|c| codes.contains(&c)),
        "{command:?} ended with {code:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// An AWS emulator of its own on a loopback port of its own; ended with the value. Nothing is in it at first.
pub struct Moto {
    child: Child,
    pub addr: SocketAddr,
}

impl Moto {
    pub fn start() -> Moto {
        let mut child = Command::new(peer("moto_server"))
            .args(["-H", "127.0.0.1", "-p", "0"])
            // Nobody's images: they would be 1,294 snapshots that nobody made.
            .envs([("MOTO_ACCOUNT_ID", ACCOUNT), ("MOTO_EC2_LOAD_DEFAULT_AMIS", "false"), ("PYTHONUNBUFFERED", "1")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("moto starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = String::new();
        let addr = loop {
            let Some(Ok(line)) = lines.next() else {
                let _ = child.kill();
                panic!("moto never said where it listens:\n{said}");
            };
            if let Some((_, rest)) = line.split_once("Running on http://") {
                break rest.trim().trim_end_matches('/').parse().expect("an address");
            }
            said.push_str(&line);
        };
        // It logs each request; a full pipe would stop it.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Moto { child, addr }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What an AWS client needs in its environment to speak to this one and to nobody else.
    pub fn env(&self, command: &mut Command) {
        let nowhere = if cfg!(windows) { "NUL" } else { "/dev/null" };
        command.envs([
            ("AWS_ENDPOINT_URL", self.url().as_str()),
            ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", "testing"),
            ("AWS_DEFAULT_REGION", REGION),
            ("AWS_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", nowhere),
            ("AWS_SHARED_CREDENTIALS_FILE", nowhere),
        ]);
        for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "AWS_PROFILE", "AWS_SESSION_TOKEN"] {
            command.env_remove(proxy);
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
