//! OAuth's token endpoints, as clouds and vendors have them. What a token is good for is the API's business.
//!
//! Nothing of an answer is ever quoted that could be a token: a field that is missing is told by its name.

use super::client::problem;
use super::session::{Api, Call, Reply, Run, Token, Verdict, by_status, seconds};
use crate::clock;
use crate::domain::{Moment, Problem, ProblemKind};
use secrecy::SecretString;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// A token whose life nobody tells is used this long.
const UNTOLD: Duration = Duration::from_secs(300);

/// A token endpoint: it is asked without a token, and says in its own words that we may not have one.
struct Endpoint;

impl Api for Endpoint {
    async fn authorize(&self, _: &Run, call: Call, _: Option<Instant>) -> Result<Call, Problem> {
        Ok(call)
    }

    fn classify(&self, reply: &Reply) -> Verdict {
        match by_status(reply) {
            Verdict::TokenExpired => Verdict::Denied,
            Verdict::Refused => match reply.code() {
                Some((code, _)) if DENIED.contains(&code.as_str()) => Verdict::Denied,
                _ => Verdict::Refused,
            },
            verdict => verdict,
        }
    }
}

/// RFC 6749 section 5.2, and what Google's STS and Auth0 say.
const DENIED: &[&str] =
    &["invalid_client", "invalid_grant", "unauthorized_client", "access_denied", "invalid_target", "invalid_scope", "PERMISSION_DENIED"];

/// Asks for a token.
pub(super) async fn fetch(run: &Run, source: &str, call: &Call) -> Result<Token, Problem> {
    let reply = run.send(&Endpoint, source, call).await?;
    token(source, &reply)
}

/// Asks a token endpoint, or what stands before one, for something else than a token of the usual shape.
pub(super) async fn ask(run: &Run, source: &str, call: &Call) -> Result<Reply, Problem> {
    run.send(&Endpoint, source, call).await
}

fn token(source: &str, reply: &Reply) -> Result<Token, Problem> {
    let lacks = |what: &str| problem(ProblemKind::Source, source, format!("the answer has no `{what}`; is it a token endpoint?"));
    // An error of serde's would quote what it found, and that may be the token.
    let answer: Value = serde_json::from_slice(&reply.body).map_err(|_| lacks("access_token"))?;
    let (value, life) = read(&answer, clock::now()).ok_or_else(|| lacks("access_token"))?;
    Ok(Token::new(value, life))
}

/// The token and how long it lasts: `expires_in` is a number for most and a text for Azure's metadata service, `expires_on`
/// an instant in seconds, Google's impersonation has `accessToken` and `expireTime`.
fn read(answer: &Value, now: Moment) -> Option<(SecretString, Duration)> {
    let value = answer["access_token"].as_str().or_else(|| answer["accessToken"].as_str()).filter(|t| !t.is_empty())?;
    let whole = |name: &str| {
        answer[name].as_u64().or_else(|| answer[name].as_f64().map(|f| f as u64)).or_else(|| answer[name].as_str()?.parse().ok())
    };
    let until = |at: Moment| seconds(at.since(now).0 / 1000);
    let life = whole("expires_in")
        .map(seconds)
        .or_else(|| whole("expires_on").and_then(|s| i64::try_from(s).ok()).map(|s| until(Moment::from_seconds(s))))
        .or_else(|| answer["expireTime"].as_str()?.parse::<jiff::Timestamp>().ok().map(|at| until(Moment::from(at))));
    Some((SecretString::from(value), life.unwrap_or(UNTOLD)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn the_life_of_a_token_is_told_in_many_ways() {
        let now = Moment::from_seconds(1_700_000_000);
        let life =
            |text: &str| read(&serde_json::from_str(text).unwrap(), now).map(|(t, life)| (t.expose_secret().to_owned(), life.as_secs()));
        let t = |life| Some(("t".to_owned(), life));
        assert_eq!(life(r#"{"access_token":"t","expires_in":3599}"#), t(3599));
        assert_eq!(life(r#"{"access_token":"t","expires_in":"86399","expires_on":"1"}"#), t(86399));
        assert_eq!(life(r#"{"access_token":"t","expires_on":"1700000600"}"#), t(600));
        assert_eq!(life(r#"{"access_token":"t","expires_on":1}"#), t(0));
        assert_eq!(life(r#"{"accessToken":"t","expireTime":"2023-11-14T22:14:20Z"}"#), t(60));
        assert_eq!(life(r#"{"access_token":"t"}"#), t(300));
        for wrong in [r#"{"access_token":""}"#, r#"{"access_token":7}"#, "{}", "[]", "\"t\""] {
            assert_eq!(life(wrong), None, "{wrong}");
        }
    }
}
