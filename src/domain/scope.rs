//! Scope templates: which one label owns a resource's ratio.

use super::Fields;

/// A template over a finding's fields, e.g. `{account}` or `{cluster}/{namespace}`.
///
/// `{a|b}` takes the first field that is there. A finding that fills no placeholder has no scope of its own
/// and is shown under [`ScopeTemplate::UNPLACED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeTemplate {
    parts: Vec<Part>,
    source: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Vec<String>),
}

impl ScopeTemplate {
    /// The scope of resources that the template cannot place.
    pub const UNPLACED: &'static str = "unplaced";
    /// The longest scope label, in bytes; longer ones are cut and end in `…`.
    pub const MAX_LEN: usize = 128;

    /// Reads a template.
    ///
    /// # Errors
    /// A sentence that names the fault.
    pub fn parse(source: &str) -> Result<ScopeTemplate, String> {
        let mut parts = Vec::new();
        let mut rest = source;
        while !rest.is_empty() {
            match rest.find(['{', '}']) {
                None => {
                    parts.push(Part::Text(rest.to_owned()));
                    rest = "";
                }
                Some(i) if rest.as_bytes()[i] == b'}' => return Err(format!("scope template `{source}`: `}}` without `{{`")),
                Some(i) => {
                    if i > 0 {
                        parts.push(Part::Text(rest[..i].to_owned()));
                    }
                    let end = rest[i..].find('}').ok_or_else(|| format!("scope template `{source}`: `{{` is never closed"))?;
                    let names: Vec<String> = rest[i + 1..i + end].split('|').map(|n| n.trim().to_owned()).collect();
                    let good =
                        |n: &String| !n.is_empty() && n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.' || b == b'-');
                    if !names.iter().all(good) {
                        return Err(format!("scope template `{source}`: `{}` is not a field name", &rest[i + 1..i + end]));
                    }
                    parts.push(Part::Field(names));
                    rest = &rest[i + end + 1..];
                }
            }
        }
        if parts.is_empty() {
            return Err("a scope template must not be empty; write a field such as `{account}` or a fixed word".to_owned());
        }
        Ok(ScopeTemplate { parts, source: source.to_owned() })
    }

    /// The template as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names of the fields it reads.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().flat_map(|p| match p {
            Part::Field(names) => names.iter().map(String::as_str).collect::<Vec<_>>(),
            Part::Text(_) => Vec::new(),
        })
    }

    /// Writes the scope of a finding with `fields` into `out` (cleared first). False, and `out` empty, if a
    /// placeholder finds no field.
    pub fn fill(&self, fields: &Fields<'_>, out: &mut String) -> bool {
        self.fill_with(|name| fields.get(name), out)
    }

    /// Like [`ScopeTemplate::fill`], with the fields behind a function.
    pub fn fill_with<'f>(&self, field: impl Fn(&str) -> Option<&'f str>, out: &mut String) -> bool {
        out.clear();
        for part in &self.parts {
            match part {
                Part::Text(t) => out.push_str(t),
                Part::Field(names) => match names.iter().find_map(|n| field(n)) {
                    Some(v) => out.push_str(v),
                    None => {
                        out.clear();
                        return false;
                    }
                },
            }
        }
        if out.len() > Self::MAX_LEN {
            let mut end = Self::MAX_LEN - '…'.len_utf8();
            while !out.is_char_boundary(end) {
                end -= 1;
            }
            out.truncate(end);
            out.push('…');
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_from_fields_or_says_that_it_cannot() {
        let mut fields = Fields::default();
        fields.set("account", "123");
        fields.set("region", "eu-west-1");
        let mut out = String::new();
        let t = ScopeTemplate::parse("aws/{account}-{zone|region}").expect("valid");
        assert!(t.fill(&fields, &mut out));
        assert_eq!(out, "aws/123-eu-west-1");
        let t = ScopeTemplate::parse("{cluster}").expect("valid");
        assert!(!t.fill(&fields, &mut out));
        assert_eq!(out, "");
        for wrong in ["", "{", "a}", "{a b}", "{}"] {
            assert!(ScopeTemplate::parse(wrong).is_err(), "{wrong}");
        }
    }
}
