//! Query strings: decoded, checked, refused with a sentence. An unknown name is an error, since a filter that is
//! silently ignored answers a question that nobody asked.

use crate::exposition::json::Paging;
use std::collections::BTreeMap;

/// A question to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What is listed.
    pub kind: QueryKind,
    /// Filters by name; the names are those of [`QueryKind::filters`], the values as written.
    pub filters: BTreeMap<String, String>,
    /// At most so many items; 1 to 1000.
    pub limit: usize,
    /// Where an earlier answer's `next` said to go on.
    pub cursor: Option<String>,
}

/// What can be listed from the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryKind {
    /// The state of controls on resources.
    Findings,
    /// Runs of collectors.
    Runs,
}

impl QueryKind {
    /// The names of its filters.
    pub const fn filters(self) -> &'static [&'static str] {
        match self {
            QueryKind::Findings => &["control", "scope", "resource", "state"],
            QueryKind::Runs => &["collector"],
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The question is at fault; the text is shown to whoever asked.
    #[error("{0}")]
    Bad(String),
    /// We are; the text is logged.
    #[error("{0}")]
    Internal(String),
}

/// The most items of one answer.
const MOST: usize = 1000;

/// Reads `query` (without its `?`), in which only `allowed` names may stand, each once.
pub(super) fn parse(query: Option<&str>, allowed: &[&str]) -> Result<BTreeMap<String, String>, String> {
    let mut out = BTreeMap::new();
    for pair in query.unwrap_or_default().split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name, true).ok_or("a parameter's name is not UTF-8")?;
        let value = decode(value, true).ok_or_else(|| format!("the value of `{name}` is not UTF-8"))?;
        if !allowed.contains(&name.as_str()) {
            let known = if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") };
            return Err(format!("unknown parameter `{}`; known here: {known}", shortened(&name)));
        }
        if out.insert(name.clone(), value).is_some() {
            return Err(format!("`{name}` is given twice"));
        }
    }
    Ok(out)
}

/// Takes `limit` out of `parameters`.
pub(super) fn limit(parameters: &mut BTreeMap<String, String>) -> Result<usize, String> {
    match parameters.remove("limit") {
        None => Ok(100),
        Some(text) => match text.parse() {
            Ok(n @ 1..=MOST) => Ok(n),
            _ => Err(format!("`limit` is `{}`; expected 1 to {MOST}", shortened(&text))),
        },
    }
}

/// Takes `limit` and `cursor` out of `parameters`, for lists that a snapshot holds: there a cursor is an offset.
pub(super) fn paging(parameters: &mut BTreeMap<String, String>) -> Result<Paging, String> {
    let limit = limit(parameters)?;
    let offset = match parameters.remove("cursor") {
        None => 0,
        Some(text) => text.parse().map_err(|_| format!("`cursor` is `{}`; expected the `next` of an earlier answer", shortened(&text)))?,
    };
    Ok(Paging { offset, limit })
}

/// Undoes percent encoding (and `+` for a space, if `plus`). `None` if the outcome is not UTF-8; a `%` that begins no
/// encoding stays.
pub(super) fn decode(text: &str, plus: bool) -> Option<String> {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match (bytes[i], hex(bytes.get(i + 1)), hex(bytes.get(i + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
            }
            (b'+', ..) if plus => {
                out.push(b' ');
                i += 1;
            }
            (b, ..) => {
                out.push(b);
                i += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

/// An excerpt of what somebody sent, for an answer to them.
pub(super) fn shortened(text: &str) -> String {
    let mut out: String = text.chars().take(40).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_strings_are_read_or_refused() {
        let read = |q: &str| parse(Some(q), &["scope", "limit", "cursor"]);
        let one = |k: &str, v: &str| Ok(BTreeMap::from([(k.to_owned(), v.to_owned())]));
        assert_eq!(parse(None, &[]), Ok(BTreeMap::new()));
        assert_eq!(read("scope=a%2Fb+c%20d&"), one("scope", "a/b c d"));
        assert_eq!(read("scope"), one("scope", ""));
        assert_eq!(read("scope=100%"), one("scope", "100%"));
        assert_eq!(read("scope=%zz%4"), one("scope", "%zz%4"));
        for (query, said) in [
            ("scope=%ff", "not UTF-8"),
            ("x=1", "unknown parameter `x`; known here: scope, limit, cursor"),
            ("scope=a&scope=b", "given twice"),
        ] {
            assert!(read(query).is_err_and(|e| e.contains(said)), "{query}");
        }
        for (query, good) in [("limit=1", true), ("limit=1000", true), ("limit=0", false), ("limit=1001", false), ("limit=-1", false)] {
            assert_eq!(paging(&mut read(query).expect("well formed")).is_ok(), good, "{query}");
        }
        assert!(paging(&mut read("cursor=99999999999999999999999").expect("well formed")).is_err());
    }
}
