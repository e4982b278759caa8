//! Reads a file and counts its findings, as `bornright findings --summary` does, without anything around it:
//! `cargo bench --bench read -- FILE FORMAT [full]`. The numbers go to standard output as one JSON object, so that a script can
//! compare them with those of other readers; `full` takes no short cuts. Without arguments it does nothing.

use bornright::formats::summary::Summary;
use bornright::formats::{Context, Format, FormatSpec, Limits, read, read_in_full};
use std::fs::File;
use std::io::{BufReader, Write};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [file, format, rest @ ..] = args.as_slice() else {
        writeln!(std::io::stderr(), "read FILE FORMAT [full]: nothing to do")?;
        return Ok(());
    };
    let format = Format::from_word(format).ok_or_else(|| format!("`{format}` is no format"))?;
    let mut input = BufReader::new(File::open(file)?);
    let ctx = Context { source: file, limits: Limits::default(), want_raw: false };
    let mut summary = Summary::new();
    let begin = std::time::Instant::now();
    let outcome = if rest.iter().any(|a| a == "full") {
        read_in_full(format, &mut input, &ctx, &mut summary)?
    } else {
        read(&FormatSpec::Builtin(format), &mut input, &ctx, &mut summary)?
    };
    writeln!(std::io::stdout(), "{}", summary.to_json())?;
    let pass = summary.result(bornright::domain::CheckResult::Pass);
    let fail = summary.result(bornright::domain::CheckResult::Fail);
    writeln!(std::io::stderr(), "pass {pass} fail {fail} complete {} wall {:.3}s", outcome.complete, begin.elapsed().as_secs_f64())?;
    Ok(())
}
