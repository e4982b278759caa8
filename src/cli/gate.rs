//! Collects once, judges, and answers yes, no or could not tell.

use super::Output;
use crate::app::{self, load, verdict};
use crate::snapshot::CollectorView;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 all objectives hold, 1 some do not, 2 could not tell (an objective without evidence, a collector that brought nothing or not everything)."
)]
pub(crate) struct Args {
    /// The configuration; default: bornright.yaml in the working directory
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (config, definitions) = load::load(args.config.as_deref())?;
    let (snapshot, now) = app::collect_once(&config, &definitions).await?;
    let controls = verdict::controls(&snapshot, now);
    let slos = verdict::slos(&snapshot, now);
    let incomplete: Vec<&CollectorView> = snapshot.collectors.iter().filter(|c| c.reach != "push" && !c.complete).collect();
    let fails = slos.iter().any(|s| s.holds == Some(false));
    let unsure = !slos.iter().any(|s| s.judged) || slos.iter().any(|s| s.judged && s.holds.is_none()) || !incomplete.is_empty();
    let code = if fails {
        1
    } else if unsure {
        2
    } else {
        0
    };
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Json => {
            let body = serde_json::json!({
                "at": now.to_string(),
                "exit": code,
                "slos": slos,
                "controls": controls,
                "collectors": snapshot.collectors.iter().map(|c| serde_json::json!({
                    "collector": c.name, "complete": c.complete, "problems": c.recent_problems,
                })).collect::<Vec<_>>(),
            });
            writeln!(out, "{}", serde_json::to_string_pretty(&body)?)?;
        }
        Output::Text => {
            text(&mut out, &controls, &slos)?;
            for c in &incomplete {
                writeln!(out, "could not tell: collector {} did not bring everything", c.name)?;
                for p in &c.recent_problems {
                    writeln!(out, "    {p}")?;
                }
            }
            if slos.is_empty() {
                writeln!(out, "could not tell: no objective is defined; add a `kind: SLO` document to the definitions")?;
            }
        }
    }
    Ok(ExitCode::from(code))
}

fn percent(ratio: Option<f64>) -> String {
    // Cut, not rounded: 99.999 % is not shown as 100 %.
    ratio.map_or_else(|| "no ratio".to_owned(), |r| format!("{:.2} %", (r * 10_000.0).floor() / 100.0))
}

fn text(out: &mut impl Write, controls: &[verdict::ControlLine], slos: &[verdict::SloVerdict]) -> std::io::Result<()> {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["CONTROL", "SCOPE", "SEVERITY", "COMPLIANT", "FAILING", "UNKNOWN", "WAIVED", "RATIO", "BOUNDS", "COVERAGE"]);
    for c in controls {
        let bounds = match (c.lower, c.upper) {
            (Some(l), Some(u)) => format!("{} to {}", percent(Some(l)), percent(Some(u))),
            _ => "-".to_owned(),
        };
        table.add_row([
            c.control.clone(),
            c.scope.clone(),
            c.severity.clone(),
            c.compliant.to_string(),
            c.non_compliant.to_string(),
            c.unknown.to_string(),
            c.waived.to_string(),
            percent(c.ratio),
            bounds,
            c.coverage.map_or_else(|| "-".to_owned(), |x| percent(Some(x))),
        ]);
    }
    writeln!(out, "{}\n", table.trim_fmt())?;
    for s in slos {
        let word = match s.holds {
            Some(true) => "holds",
            Some(false) => "FAILS",
            None if !s.judged => {
                writeln!(out, "not judged: {} ({})", s.slo, s.reason)?;
                continue;
            }
            None => "could not tell",
        };
        writeln!(out, "{word}: {} wants {}, is {} ({})", s.slo, percent(Some(s.objective)), percent(s.ratio), s.reason)?;
    }
    Ok(())
}
