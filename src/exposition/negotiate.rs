//! What a scraper asked for in `Accept` and `Accept-Encoding`.

/// How a page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// The format.
    pub format: Format,
    /// Whether it is compressed.
    pub gzip: bool,
}

/// A format of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4: what whoever asks for nothing we know gets.
    #[default]
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics1,
    /// OpenMetrics 0.0.1: the same text under its older name.
    OpenMetrics0,
}

impl Format {
    /// The `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics1 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::OpenMetrics0 => "application/openmetrics-text; version=0.0.1; charset=utf-8",
        }
    }

    pub(super) const fn is_openmetrics(self) -> bool {
        match self {
            Format::Text => false,
            Format::OpenMetrics1 | Format::OpenMetrics0 => true,
        }
    }

    /// The best format for an `Accept` header: highest quality first, among equals the one named first.
    pub fn negotiate(accept: &str) -> Format {
        let mut best = (0, Format::Text);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let mut version = None;
            let mut quality = 1000;
            for (name, value) in parts.filter_map(|p| p.split_once('=')) {
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "version" => version = Some(value),
                    "q" => quality = permille(value),
                    _ => {}
                }
            }
            let format = match (media.to_ascii_lowercase().as_str(), version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics1,
                ("application/openmetrics-text", Some("0.0.1")) => Format::OpenMetrics0,
                ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Format::Text,
                _ => continue,
            };
            if quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }
}

/// Whether an `Accept-Encoding` header takes gzip.
pub fn accepts_gzip(header: &str) -> bool {
    header.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let refused =
            parts.filter_map(|p| p.split_once('=')).any(|(name, q)| name.trim().eq_ignore_ascii_case("q") && permille(q.trim()) == 0);
        (coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip")) && !refused
    })
}

/// A quality of 0 to 1 in thousandths. What is no quality counts as 0: its sender cannot mean to insist on it.
fn permille(text: &str) -> u32 {
    let q: f32 = text.parse().unwrap_or(0.0);
    // A cast of a float saturates, and makes 0 of NaN.
    (q.min(1.0) * 1000.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_the_scraper_prefers() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            // Prometheus 2.42
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics1,
            ),
            // Prometheus 3
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Format::OpenMetrics1,
            ),
            // with protobuf first, which we do not speak
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=0.0.1;q=0.6,text/plain;q=0.3",
                Format::OpenMetrics0,
            ),
            ("text/plain;version=0.0.4, application/openmetrics-text;q=0.9", Format::Text),
            ("application/openmetrics-text; q=0", Format::Text),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.1", Format::OpenMetrics1),
            ("application/openmetrics-text;version=9.9.9", Format::Text),
            ("image/png", Format::Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Text),
            (";;,=,q=,;q=NaN,application/openmetrics-text;q=inf", Format::OpenMetrics1),
            ("application/openmetrics-text;q=banana", Format::Text),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept}");
        }
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (header, yes) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip;q=0.0, identity", false),
            ("br", false),
            ("", false),
            ("*", false),
        ] {
            assert_eq!(accepts_gzip(header), yes, "{header}");
        }
    }
}
