//! PromQL as a tree: what is put together here is quoted, grouped and laid out here, and nowhere by gluing texts.

use crate::domain::Span;
use crate::slo::window;
use std::fmt::{self, Write as _};

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A number, printed in the shortest way that reads back as it.
    Number(f64),
    /// A text, for functions that take one.
    Text(String),
    /// Series.
    Select(Select),
    /// `function(arguments)`.
    Call(&'static str, Vec<Expr>),
    /// `operator by (labels) (parameter, of)`.
    Aggregate(Aggregate),
    /// `left operator right`.
    Binary(Box<Binary>),
}

/// A selector of series, over a time or at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    name: String,
    matchers: Vec<(String, &'static str, String)>,
    range: Option<Span>,
    offset: Option<Span>,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    operator: &'static str,
    grouping: Option<(&'static str, Vec<String>)>,
    parameter: Option<Box<Expr>>,
    of: Box<Expr>,
}

/// Two expressions and what joins them.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    left: Expr,
    operator: Op,
    matching: Option<Matching>,
    right: Expr,
}

/// `on (labels)`, with `group_left` or `group_right`.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    on: Vec<String>,
    group: Option<(&'static str, Vec<String>)>,
}

/// The operators that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are PromQL's")]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Equal,
    Greater,
    AtLeast,
    Less,
    AtMost,
    And,
    Or,
    Unless,
}

impl Op {
    const fn sign(self) -> &'static str {
        match self {
            Op::Add => "+",
            Op::Sub => "-",
            Op::Mul => "*",
            Op::Div => "/",
            Op::Equal => "==",
            Op::Greater => ">",
            Op::AtLeast => ">=",
            Op::Less => "<",
            Op::AtMost => "<=",
            Op::And => "and",
            Op::Or => "or",
            Op::Unless => "unless",
        }
    }

    /// Binds tighter than one with a lower number, as PromQL has it.
    const fn strength(self) -> u8 {
        match self {
            Op::Or => 1,
            Op::And | Op::Unless => 2,
            Op::Equal | Op::Greater | Op::AtLeast | Op::Less | Op::AtMost => 3,
            Op::Add | Op::Sub => 4,
            Op::Mul | Op::Div => 5,
        }
    }

    /// Whether `(a op b) op c` may lose its parentheses. All of PromQL's operators here are left-associative; comparisons
    /// in a row are legal but read badly.
    const fn chains(self) -> bool {
        self.strength() != 3
    }
}

/// Series of this name.
pub fn series(name: &str) -> Select {
    Select { name: name.to_owned(), matchers: Vec::new(), range: None, offset: None }
}

/// A number.
pub const fn number(n: f64) -> Expr {
    Expr::Number(n)
}

impl Select {
    fn matching(mut self, label: &str, sign: &'static str, value: String) -> Select {
        self.matchers.push((label.to_owned(), sign, value));
        self
    }

    /// Only series whose label has this value.
    #[must_use]
    pub fn with(self, label: &str, value: &str) -> Select {
        self.matching(label, "=", value.to_owned())
    }

    /// Only series whose label has one of these values.
    #[must_use]
    pub fn with_any<S: AsRef<str>>(self, label: &str, values: &[S]) -> Select {
        match values {
            [only] => self.with(label, only.as_ref()),
            many => {
                let pattern = many.iter().map(|v| escape_regex(v.as_ref())).collect::<Vec<_>>().join("|");
                self.matching(label, "=~", pattern)
            }
        }
    }

    /// Only series whose label matches this regular expression, whole.
    #[must_use]
    pub fn with_pattern(self, label: &str, regex: &str) -> Select {
        self.matching(label, "=~", regex.to_owned())
    }

    /// Only series whose label has another value.
    #[must_use]
    pub fn without(self, label: &str, value: &str) -> Select {
        self.matching(label, "!=", value.to_owned())
    }

    /// Their samples over a time.
    #[must_use]
    pub fn over(self, range: Span) -> Select {
        Select { range: Some(range), ..self }
    }

    /// As they were so long ago.
    #[must_use]
    pub fn ago(self, offset: Span) -> Select {
        Select { offset: Some(offset), ..self }
    }
}

impl From<Select> for Expr {
    fn from(select: Select) -> Expr {
        Expr::Select(select)
    }
}

/// `function(argument)`.
pub fn call(function: &'static str, argument: impl Into<Expr>) -> Expr {
    Expr::Call(function, vec![argument.into()])
}

/// `function(arguments)`.
pub fn call_with(function: &'static str, arguments: Vec<Expr>) -> Expr {
    Expr::Call(function, arguments)
}

/// `label_replace(of, label, value, "", "")`: the same series, with this label.
pub fn labelled(of: impl Into<Expr>, label: &str, value: &str) -> Expr {
    // `$1` in a replacement would be a group.
    let text = |t: &str| Expr::Text(t.to_owned());
    call_with("label_replace", vec![of.into(), text(label), text(&value.replace('$', "$$")), text(""), text("")])
}

/// The same series, with the value of label `from` under the name `to`, too.
pub fn renamed(of: impl Into<Expr>, from: &str, to: &str) -> Expr {
    let text = |t: &str| Expr::Text(t.to_owned());
    call_with("label_replace", vec![of.into(), text(to), text("$1"), text(from), text("(.*)")])
}

fn aggregate(operator: &'static str, grouping: Option<(&'static str, &[&str])>, parameter: Option<Expr>, of: Expr) -> Expr {
    Expr::Aggregate(Aggregate {
        operator,
        grouping: grouping.map(|(word, labels)| (word, labels.iter().map(|l| (*l).to_owned()).collect())),
        parameter: parameter.map(Box::new),
        of: Box::new(of),
    })
}

/// `operator(of)`.
pub fn all(operator: &'static str, of: impl Into<Expr>) -> Expr {
    aggregate(operator, None, None, of.into())
}

/// `operator by (labels) (of)`.
pub fn by(operator: &'static str, labels: &[&str], of: impl Into<Expr>) -> Expr {
    aggregate(operator, Some(("by", labels)), None, of.into())
}

/// `operator without (labels) (of)`.
pub fn without(operator: &'static str, labels: &[&str], of: impl Into<Expr>) -> Expr {
    aggregate(operator, Some(("without", labels)), None, of.into())
}

/// `topk(k, of)`, or for each value of some labels.
pub fn top(k: u32, labels: &[&str], of: impl Into<Expr>) -> Expr {
    aggregate("topk", (!labels.is_empty()).then_some(("by", labels)), Some(number(f64::from(k))), of.into())
}

/// Joined on these labels.
pub fn on(labels: &[&str]) -> Matching {
    Matching { on: labels.iter().map(|l| (*l).to_owned()).collect(), group: None }
}

impl Matching {
    /// Many on the left for one on the right, which lends these labels.
    #[must_use]
    pub fn group_left(self, labels: &[&str]) -> Matching {
        Matching { group: Some(("group_left", labels.iter().map(|l| (*l).to_owned()).collect())), ..self }
    }

    /// One on the left for many on the right.
    #[must_use]
    pub fn group_right(self) -> Matching {
        Matching { group: Some(("group_right", Vec::new())), ..self }
    }
}

impl Expr {
    /// `self operator right`.
    #[must_use]
    pub fn op(self, operator: Op, right: impl Into<Expr>) -> Expr {
        Expr::Binary(Box::new(Binary { left: self, operator, matching: None, right: right.into() }))
    }

    /// `self operator matching right`.
    #[must_use]
    pub fn op_on(self, operator: Op, matching: Matching, right: impl Into<Expr>) -> Expr {
        Expr::Binary(Box::new(Binary { left: self, operator, matching: Some(matching), right: right.into() }))
    }

    /// Whether it is made of numbers alone.
    fn constant(&self) -> bool {
        match self {
            Expr::Number(_) => true,
            Expr::Binary(b) => b.left.constant() && b.right.constant(),
            _ => false,
        }
    }

    /// The expression on lines of at most [`WIDTH`] characters where that can be, for people who review it.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        self.lay_out(&mut out, 0);
        out
    }

    fn lay_out(&self, out: &mut String, indent: usize) {
        let line = self.to_string();
        if indent + line.len() <= WIDTH {
            out.push_str(&line);
            return;
        }
        match self {
            Expr::Number(_) | Expr::Text(_) | Expr::Select(_) => out.push_str(&line),
            Expr::Call(function, arguments) => {
                if let [Expr::Select(_)] = &arguments[..] {
                    out.push_str(&line);
                } else {
                    _ = write!(out, "{function}(");
                    lay_out_all(out, indent, arguments);
                }
            }
            Expr::Aggregate(a) => {
                out.push_str(&a.head());
                match &a.parameter {
                    Some(parameter) => lay_out_all(out, indent, &[(**parameter).clone(), (*a.of).clone()]),
                    // `sum(rate(series[5m]))` is one thing to a reader.
                    None if matches!(&*a.of, Expr::Select(_))
                        || matches!(&*a.of, Expr::Call(_, c) if matches!(c[..], [Expr::Select(_)])) =>
                    {
                        _ = write!(out, "{})", a.of);
                    }
                    None => lay_out_all(out, indent, std::slice::from_ref(&*a.of)),
                }
            }
            Expr::Binary(b) => {
                b.side(&b.left, true, out, indent);
                if b.matching.is_none() && b.right.constant() {
                    _ = write!(out, " {} ", b.operator.sign());
                } else {
                    _ = write!(out, "\n{:indent$}{}", "", b.operator.sign());
                    if let Some(matching) = &b.matching {
                        _ = write!(out, " {matching}");
                    }
                    _ = write!(out, "\n{:indent$}", "");
                }
                b.side(&b.right, false, out, indent);
            }
        }
    }
}

fn lay_out_all(out: &mut String, indent: usize, arguments: &[Expr]) {
    for (i, argument) in arguments.iter().enumerate() {
        _ = write!(out, "{}\n{:width$}", if i == 0 { "" } else { "," }, "", width = indent + 2);
        argument.lay_out(out, indent + 2);
    }
    _ = write!(out, "\n{:indent$})", "");
}

/// Longer expressions are laid out on several lines.
pub const WIDTH: usize = 110;

impl Aggregate {
    fn head(&self) -> String {
        match &self.grouping {
            Some((word, labels)) => format!("{} {word} ({}) (", self.operator, labels.join(", ")),
            None => format!("{}(", self.operator),
        }
    }
}

impl Binary {
    /// Whether a side needs parentheses.
    fn parenthesised(&self, side: &Expr, left: bool) -> bool {
        match side {
            Expr::Binary(inner) => {
                let (mine, its) = (self.operator.strength(), inner.operator.strength());
                let needed = its < mine || its == mine && !(left && self.operator.chains());
                // Whoever reads must not count: a comparison stands apart inside a set operation, as do two kinds of
                // those in one another, and what is worked out apart from what it is compared with.
                let sets = mine <= 2 && its <= 3 && self.operator != inner.operator;
                needed || sets || mine == 3 && !left
            }
            _ => false,
        }
    }

    fn side(&self, side: &Expr, left: bool, out: &mut String, indent: usize) {
        if !self.parenthesised(side, left) {
            side.lay_out(out, indent);
            return;
        }
        let mut inner = String::new();
        side.lay_out(&mut inner, indent + 2);
        if inner.contains('\n') {
            _ = write!(out, "(\n{:width$}{inner}\n{:indent$})", "", "", width = indent + 2);
        } else {
            _ = write!(out, "({inner})");
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Number(n) if n.is_infinite() => f.write_str(if *n > 0.0 { "+Inf" } else { "-Inf" }),
            Expr::Number(n) if *n != 0.0 && (n.abs() >= 1e9 || n.abs() < 1e-6) => write!(f, "{n:e}"),
            Expr::Number(n) => write!(f, "{n}"),
            Expr::Text(t) => f.write_str(&quoted(t)),
            Expr::Select(s) => write!(f, "{s}"),
            Expr::Call(function, arguments) => {
                write!(f, "{function}(")?;
                for (i, a) in arguments.iter().enumerate() {
                    write!(f, "{}{a}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            Expr::Aggregate(a) => {
                f.write_str(&a.head())?;
                if let Some(parameter) = &a.parameter {
                    write!(f, "{parameter}, ")?;
                }
                write!(f, "{})", a.of)
            }
            Expr::Binary(b) => {
                let side = |f: &mut fmt::Formatter<'_>, e: &Expr, left| match b.parenthesised(e, left) {
                    true => write!(f, "({e})"),
                    false => write!(f, "{e}"),
                };
                side(f, &b.left, true)?;
                write!(f, " {} ", b.operator.sign())?;
                if let Some(matching) = &b.matching {
                    write!(f, "{matching} ")?;
                }
                side(f, &b.right, false)
            }
        }
    }
}

impl fmt::Display for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on({})", self.on.join(", "))?;
        match &self.group {
            Some((word, labels)) if labels.is_empty() => write!(f, " {word}()"),
            Some((word, labels)) => write!(f, " {word}({})", labels.join(", ")),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.matchers.is_empty() {
            let all: Vec<String> = self.matchers.iter().map(|(label, sign, value)| format!("{label}{sign}{}", quoted(value))).collect();
            write!(f, "{{{}}}", all.join(","))?;
        }
        if let Some(range) = self.range {
            write!(f, "[{}]", window::name(range))?;
        }
        if let Some(offset) = self.offset {
            write!(f, " offset {}", window::name(offset))?;
        }
        Ok(())
    }
}

/// A text in PromQL's double quotes.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A text as a regular expression (RE2) that matches it alone.
pub fn escape_regex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A glob, as definitions have them, as a regular expression (RE2) for Prometheus, which matches whole values.
///
/// The dialect is `globset`'s: `*`, `?`, `[ab]`, `[!ab]`, `{a,b}`, `\` before what is meant literally; `*` takes `/`, too.
/// `**/`, `/**/` and `/**` are whole components.
pub fn glob_regex(glob: &str) -> String {
    let chars: Vec<char> = glob.chars().collect();
    let mut out = String::new();
    let mut depth = 0usize;
    let mut i = 0;
    while let Some(&c) = chars.get(i) {
        let rest = &chars[i..];
        match c {
            '*' if rest.starts_with(&['*', '*', '/']) && i == 0 => {
                out.push_str("(?:.*/)?");
                i += 2;
            }
            '/' if rest.starts_with(&['/', '*', '*', '/']) => {
                out.push_str("(?:/|/.*/)");
                i += 3;
            }
            '/' if rest == ['/', '*', '*'] => {
                out.push_str("/.*");
                i += 2;
            }
            '*' => {
                while chars.get(i + 1) == Some(&'*') {
                    i += 1;
                }
                out.push_str(".*");
            }
            '?' => out.push('.'),
            '[' => match class(rest) {
                Some((regex, length)) => {
                    out.push_str(&regex);
                    i += length - 1;
                }
                None => out.push_str("\\["),
            },
            '{' => {
                depth += 1;
                out.push_str("(?:");
            }
            '}' if depth > 0 => {
                depth -= 1;
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            '\\' if i + 1 < chars.len() => {
                i += 1;
                out.push_str(&escape_regex(&chars[i].to_string()));
            }
            c => out.push_str(&escape_regex(&c.to_string())),
        }
        i += 1;
    }
    out
}

/// The regular expression of a class at the beginning of `chars`, and how many characters it takes.
fn class(chars: &[char]) -> Option<(String, usize)> {
    let mut at = 1;
    let negated = matches!(chars.get(at), Some('!' | '^'));
    at += usize::from(negated);
    let start = at;
    let mut out = String::from(if negated { "[^" } else { "[" });
    // A bracket that comes first is meant literally.
    while let Some(&c) = chars.get(at) {
        if c == ']' && at > start {
            out.push(']');
            return Some((out, at + 1));
        }
        let between = at > start && chars.get(at + 1).is_some_and(|n| *n != ']');
        match c {
            '-' if between => out.push('-'),
            '\\' | ']' | '[' | '^' | '-' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_and_alternatives_escaped() {
        let s = series("up").with("a", "x\"y\\z\n").with_any("b", &["p.q", "r|s"]).without("c", "").over(Span(7 * 86_400_000));
        assert_eq!(s.to_string(), "up{a=\"x\\\"y\\\\z\\n\",b=~\"p\\\\.q|r\\\\|s\",c!=\"\"}[1w]");
        assert_eq!(series("up").with_any("a", &["one"]).ago(Span::DAY).to_string(), "up{a=\"one\"} offset 1d");
    }

    #[test]
    fn parentheses_stand_where_precedence_needs_them() {
        let x = |name: &str| Expr::from(series(name));
        let sum = x("a").op(Op::Add, x("b"));
        assert_eq!(sum.clone().op(Op::Mul, x("c")).to_string(), "(a + b) * c");
        assert_eq!(x("c").op(Op::Sub, sum.clone()).to_string(), "c - (a + b)");
        assert_eq!(sum.clone().op(Op::Sub, x("c")).to_string(), "a + b - c");
        assert_eq!(x("a").op(Op::Greater, number(0.0)).op(Op::Less, number(5.0)).to_string(), "(a > 0) < 5");
        let threshold = number(14.4).op(Op::Mul, number(0.01));
        assert_eq!(x("a").op(Op::Greater, threshold).op(Op::And, x("b")).to_string(), "(a > (14.4 * 0.01)) and b");
        assert_eq!(x("a").op(Op::Div, x("b").op(Op::Greater, number(0.0))).to_string(), "a / (b > 0)");
        assert_eq!(
            x("a").op(Op::And, x("b")).op(Op::Or, x("c").op_on(Op::Unless, on(&["i"]), x("d"))).to_string(),
            "(a and b) or (c unless on(i) d)"
        );
        assert_eq!(x("a").op_on(Op::Mul, on(&["i"]).group_left(&[]), x("b")).to_string(), "a * on(i) group_left() b");
    }

    #[test]
    fn numbers_read_back_as_they_are() {
        for n in [0.0, 1.0, 14.4, 0.001, 1e-9, 86400.0, 1e12, 0.933_333_333_333_333_3] {
            let text = number(n).to_string();
            assert_eq!(text.parse::<f64>().expect("a number").to_bits(), n.to_bits(), "{text}");
        }
    }

    #[test]
    fn long_expressions_get_lines() {
        let long = "a_name_that_is_rather_long_so_that_two_of_them_do_not_fit_into_one_line_of_it";
        let e = all("sum", call("rate", series(long).over(Span::HOUR)))
            .op(Op::Div, all("sum", call("rate", series(long).over(Span::HOUR))).op(Op::Greater, number(0.0)));
        assert_eq!(e.pretty(), format!("sum(rate({long}[1h]))\n/\n(sum(rate({long}[1h])) > 0)"));
        // Laid out or not, it is the same expression.
        let squeezed = |t: &str| t.split_whitespace().collect::<String>();
        assert_eq!(squeezed(&e.pretty()), squeezed(&e.to_string()));
    }

    #[test]
    fn globs_match_what_the_exporter_matches() {
        let scopes = [
            "prod",
            "prod-eu",
            "prod/eu/1",
            "a.b",
            "axb",
            "a/b",
            "[x]",
            "",
            "dev",
            "a",
            "b",
            "c",
            "-",
            "]",
            "^",
            "prod/",
            "x/y/z",
            "x/z",
            "a,b",
            "ö",
            "{",
            "a|b",
        ];
        for glob in [
            "*",
            "prod*",
            "prod-?u",
            "a.b",
            "a?b",
            "[ab]",
            "[!ab]",
            "[a-c]",
            "{prod,dev}",
            "{prod,dev}*",
            "prod/**",
            "**/z",
            "x/**/z",
            "\\[x\\]",
            "[]]",
            "[-a]",
            "p**",
            "[[]x]",
            "ö",
            "a|b",
            "",
        ] {
            let truth = globset::Glob::new(glob).expect("a glob").compile_matcher();
            let ours = regex::Regex::new(&format!("^(?:{})$", glob_regex(glob))).unwrap_or_else(|e| panic!("{glob}: {e}"));
            for scope in scopes {
                // A regular expression of Prometheus knows characters, globset bytes.
                if !glob.contains(['?', '!']) || scope.is_ascii() {
                    assert_eq!(ours.is_match(scope), truth.is_match(scope), "{glob} on {scope:?}: {}", glob_regex(glob));
                }
            }
        }
    }
}
