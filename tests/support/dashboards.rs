//! Asks a Prometheus everything that the dashboards ask, as Grafana would.

use super::{PATIENCE, request};
use bornright::generate::Options;
use bornright::generate::dashboards::{Question, filled, questions};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Every query of the dashboards with its place: (dashboard, panel, PromQL with the variables filled in).
///
/// `values` has what a person chose (`control`, `slo`, `scope`, …) and Grafana's own `__range`, `__interval` and
/// `__rate_interval`; what is not in it stands for all. Annotations are left out: an event that did not happen is none.
pub fn dashboard_queries(values: &BTreeMap<&str, &str>) -> Vec<(String, String, String)> {
    let asked = questions(&Options::default()).into_iter().filter(|q| !q.may_be_empty);
    asked.map(|Question { dashboard, panel, expr, .. }| (dashboard, panel, filled(&expr, values))).collect()
}

/// Those of [`dashboard_queries`] that bring nothing, or an error, from the Prometheus at `addr`: a line for each.
pub fn dashboard_queries_without_data(addr: SocketAddr, values: &BTreeMap<&str, &str>) -> Vec<String> {
    let empty = |(dashboard, panel, expr): (String, String, String)| match ask(addr, &expr) {
        Ok(series) if series.is_empty() => Some(format!("{dashboard}: {panel}: no data: {expr}")),
        Ok(_) => None,
        Err(error) => Some(format!("{dashboard}: {panel}: {error}: {expr}")),
    };
    dashboard_queries(values).into_iter().filter_map(empty).collect()
}

/// A series of an answer: labels and value.
pub type Series = (BTreeMap<String, String>, f64);

/// An instant query: the series with their labels and values.
pub fn ask(addr: SocketAddr, expr: &str) -> Result<Vec<Series>, String> {
    let query: String =
        expr.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect();
    let body = format!("query={query}");
    // By POST, since the longest queries do not fit into every server's idea of an address.
    let (status, text) = request(addr, "POST", "/api/v1/query", &["Content-Type: application/x-www-form-urlencoded"], body.as_bytes());
    let answer: Value = serde_json::from_str(&text).map_err(|e| format!("{status}: {e}"))?;
    if answer["status"] != "success" {
        return Err(answer["error"].to_string());
    }
    let labels = |series: &Value| serde_json::from_value(series["metric"].clone()).unwrap_or_default();
    let value = |series: &Value| series["value"][1].as_str().and_then(|v| v.parse().ok()).unwrap_or(f64::NAN);
    match answer["data"]["resultType"].as_str() {
        Some("vector") => Ok(answer["data"]["result"].as_array().into_iter().flatten().map(|s| (labels(s), value(s))).collect()),
        other => Err(format!("a {other:?}, expected a vector")),
    }
}

/// A Prometheus of our own; ended with the value.
pub struct Prometheus {
    child: Child,
    pub addr: SocketAddr,
}

impl Prometheus {
    /// Starts one in `dir` that scrapes `target` every second and evaluates `rules`.
    pub fn start(dir: &Path, target: SocketAddr, rules: &[&Path]) -> Prometheus {
        let rules: Vec<String> = rules.iter().map(|r| format!("'{}'", r.display())).collect();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n- job_name: compliance-exporter\n  static_configs: [{{targets: ['{target}']}}]\n",
            rules.join(", ")
        );
        std::fs::write(dir.join("prometheus.yml"), config).expect("it can be written");
        let addr = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port is free");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("db").display()))
            .arg(format!("--web.listen-address={addr}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed by ./test");
        let prometheus = Prometheus { child, addr };
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(addr).is_err() || ask(addr, "up == 1").is_ok_and(|up| up.is_empty()) {
            assert!(std::time::Instant::now() < deadline, "Prometheus never read the page");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        prometheus
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
