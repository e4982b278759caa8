//! A cloud's manners: tokens that run out midway, a throttle, an answer that fails once, and a mood that the test sets.

use super::server::{Reply, Server, answer, ok};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// What the source does to us just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// All is well.
    Fine,
    /// Every so often: 429 with `Retry-After`, 503 once, a connection closed without a word, a token that has run out.
    Rough,
    /// One page of the middle is forbidden.
    Forbidden,
    /// One page of the middle always fails.
    Broken,
    /// One page of the middle says that the next is at another host.
    Elsewhere,
    /// One page of the middle is a login form.
    Html,
    /// One page of the middle is cut off.
    CutOff,
    /// One page of the middle is an error of the API's with status 200.
    ErrorIn200,
    /// Nothing at all is listed.
    Empty,
    /// No token is given.
    NoToken,
    /// One page of the middle never comes.
    Silent,
}

impl Mood {
    /// Those that must cost a run its completeness, and nothing else.
    pub(crate) const BAD: [Mood; 9] = [
        Mood::Forbidden,
        Mood::Broken,
        Mood::Elsewhere,
        Mood::Html,
        Mood::CutOff,
        Mood::ErrorIn200,
        Mood::Empty,
        Mood::NoToken,
        Mood::Silent,
    ];
}

/// A request, taken apart.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: String,
    pub(crate) host: String,
    text: String,
}

impl Asked {
    fn of(text: &str) -> Asked {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut first = head.lines().next().unwrap_or("").split(' ');
        let method = first.next().unwrap_or("").to_owned();
        let target = first.next().unwrap_or("");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut asked =
            Asked { method, path: path.to_owned(), query: form(query), body: body.to_owned(), host: String::new(), text: head.to_owned() };
        asked.host = asked.header("host").to_owned();
        asked
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let of = |l: &'_ str| l.split_once(": ").is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.text.lines().skip(1).find(|l| of(l)).and_then(|l| l.split_once(": ")).map_or("", |(_, v)| v)
    }

    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        form(&self.body)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("http://{}{rest}", self.host)
    }
}

/// `a=b&c=d` with its escapes undone.
pub(crate) fn form(text: &str) -> BTreeMap<String, String> {
    text.split('&').filter(|p| !p.is_empty()).map(|p| p.split_once('=').unwrap_or((p, ""))).map(|(k, v)| (plain(k), plain(v))).collect()
}

/// A text with its escapes undone.
pub(crate) fn plain(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        let escaped = (bytes[i] == b'%').then(|| text.get(i + 1..i + 3).and_then(|h| u8::from_str_radix(h, 16).ok())).flatten();
        match (bytes[i], escaped) {
            (_, Some(byte)) => {
                out.push(byte);
                i += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8(out).unwrap()
}

/// The cloud's memory.
pub(crate) struct State {
    pub(crate) mood: Mood,
    /// API requests answered or refused so far, those for tokens apart.
    pub(crate) api: usize,
    /// Tokens given out.
    pub(crate) tokens: usize,
    /// How many requests the newest token has been good for.
    used: usize,
    once: Vec<String>,
    /// Nobody is to ask before this.
    rest_until: Option<std::time::Instant>,
    /// How often somebody did.
    pub(crate) too_early: usize,
}

#[derive(Clone)]
pub(crate) struct Cloud(Arc<Mutex<State>>);

/// A token is good for so many requests when the mood is rough.
const TOKEN_LIFE: usize = 7;
/// What tokens look like: no log may have it.
pub(crate) const TOKEN: &str = "t0ken-s3cr3t-";

impl Cloud {
    pub(crate) fn new() -> Cloud {
        Cloud(Arc::new(Mutex::new(State {
            mood: Mood::Fine,
            api: 0,
            tokens: 0,
            used: 0,
            once: Vec::new(),
            rest_until: None,
            too_early: 0,
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn set(&self, mood: Mood) {
        let mut state = self.state();
        // A new mood begins with no token known, so that each is asked for one.
        state.mood = mood;
        state.used = usize::MAX;
        state.once.clear();
    }

    pub(crate) fn mood(&self) -> Mood {
        self.state().mood
    }

    /// A server that gives `reply` to requests that are not turned away before.
    pub(crate) fn serve(
        &self,
        token: impl Fn(&Cloud, &Asked) -> Option<Reply> + Send + Sync + 'static,
        api: impl Fn(&Cloud, &Asked) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let cloud = self.clone();
        Server::new(move |_, text| {
            let asked = Asked::of(text);
            if let Some(reply) = token(&cloud, &asked) {
                return reply;
            }
            cloud.turned_away(&asked).unwrap_or_else(|| api(&cloud, &asked))
        })
    }

    /// True the first time in a rough mood: for what goes wrong once.
    pub(crate) fn once(&self, what: &str) -> bool {
        let mut state = self.state();
        let first = state.mood == Mood::Rough && !state.once.iter().any(|o| o == what);
        if first {
            state.once.push(what.to_owned());
        }
        first
    }

    /// From now on nobody is to ask for so long.
    pub(crate) fn rest(&self, time: std::time::Duration) {
        self.state().rest_until = Some(std::time::Instant::now() + time);
    }

    /// The next token.
    pub(crate) fn token(&self) -> String {
        let mut state = self.state();
        state.tokens += 1;
        state.used = 0;
        format!("{TOKEN}{}", state.tokens)
    }

    /// A token that is not good, and in a rough mood all that makes a client try again.
    fn turned_away(&self, asked: &Asked) -> Option<Reply> {
        let mut state = self.state();
        state.api += 1;
        if state.rest_until.is_some_and(|until| std::time::Instant::now() < until) {
            state.too_early += 1;
        }
        let json = "Content-Type: application/json\r\n";
        let newest = format!("Bearer {TOKEN}{}", state.tokens);
        let worn = state.used == usize::MAX || state.mood == Mood::Rough && state.used >= TOKEN_LIFE;
        if asked.header("authorization") != newest || worn {
            return Some(answer(
                "401 Unauthorized",
                json,
                r#"{"error":{"code":"ExpiredAuthenticationToken","message":"The access token expiry UTC time is earlier than now","status":"UNAUTHENTICATED"}}"#,
            ));
        }
        state.used += 1;
        if state.mood != Mood::Rough {
            return None;
        }
        let n = state.api;
        if n % 5 == 3 {
            return Some(answer(
                "429 Too Many Requests",
                "Retry-After: 0\r\nContent-Type: application/json\r\n",
                r#"{"error":{"code":"TooManyRequests","message":"slow down"}}"#,
            ));
        }
        let target = format!("{} {:?} {}", asked.path, asked.query, asked.body);
        if n % 4 == 1 && !state.once.contains(&target) {
            state.once.push(target);
            return Some(if n % 8 == 1 { answer("503 Service Unavailable", "", "busy") } else { Reply::Bytes(Vec::new()) });
        }
        None
    }

    /// What a bad mood makes of a page of the middle; none: the page itself.
    pub(crate) fn spoiled(&self, elsewhere: impl FnOnce() -> Reply, whole: impl FnOnce() -> String) -> Option<Reply> {
        Some(match self.mood() {
            Mood::Fine | Mood::Rough | Mood::Empty | Mood::NoToken => return None,
            Mood::Forbidden => answer(
                "403 Forbidden",
                "Content-Type: application/json\r\n",
                r#"{"error":{"code":"AuthorizationFailed","message":"the client has no permission","status":"PERMISSION_DENIED"}}"#,
            ),
            Mood::Silent => Reply::Silence(Vec::new()),
            Mood::Broken => answer("500 Internal Server Error", "", "oops"),
            Mood::Elsewhere => elsewhere(),
            Mood::Html => answer("200 OK", "Content-Type: text/html\r\n", "<!doctype html><html><body>Sign in</body></html>"),
            Mood::CutOff => {
                let whole = whole();
                ok(&whole[..whole.len() / 2])
            }
            Mood::ErrorIn200 => ok(
                r#"{"error":{"code":"InternalServerError","message":"try later"},"errors":[{"message":"try later","extensions":{"code":"INTERNAL_SERVER_ERROR"}}],"data":null}"#,
            ),
        })
    }
}

/// What is asked of a row by its number: every seventh fails, one in fifty does not apply.
pub(crate) fn fails(n: usize) -> bool {
    n.is_multiple_of(7)
}

/// Rows of page `page` of `pages`, `size` each: the last row of the page before comes again, and page 2 is empty.
pub(crate) fn rows(page: usize, size: usize) -> std::ops::Range<usize> {
    match page {
        2 => 0..0,
        0 => 0..size,
        1 => size - 1..2 * size,
        n => (n - 1) * size - 1..n * size,
    }
}

/// How many rows there are, each counted once.
pub(crate) fn total(pages: usize, size: usize) -> usize {
    (pages - 1) * size
}

/// Some minutes ago, as RFC 3339 with the seven digits that Azure writes.
pub(crate) fn lately() -> String {
    let at = jiff::Timestamp::from_second(super::support::now() as i64 - 300).unwrap();
    at.to_string().replace('Z', ".1234567Z")
}
