//! http.

use super::client::Secret;
use crate::domain::Span;
use std::path::PathBuf;

/// A document behind a URL, in one or many pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Absolute, `https` or `http`, without user or password in it. No default.
    /// Example: `https://scanner.internal/v1/results?limit=500`.
    pub url: String,
    /// Default `get`.
    pub method: Method,
    /// Sent with every request. Default: `Accept: application/json, */*;q=0.5` and our `User-Agent`.
    /// Example: `{ X-Api-Version: "2" }`.
    pub headers: Vec<(String, String)>,
    /// Headers whose value is secret, from a file or the environment (`header_files`, `header_env` in YAML), read again
    /// for every request. Example: `{ X-Api-Key: /run/secrets/scanner }`.
    pub secret_headers: Vec<(String, Secret)>,
    /// How we say who we are. Default: not at all.
    pub auth: Option<Auth>,
    /// Client certificate chain, PEM (`client_cert_file`). With `client_key_file`. Default: none. Read again for every
    /// run, so a renewed certificate needs no restart.
    pub client_cert_file: Option<PathBuf>,
    /// Its private key, PEM (`client_key_file`).
    pub client_key_file: Option<PathBuf>,
    /// Trust the certificate authorities in this PEM file, and no others. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The request's body; only with `method: post`. Sent as `application/json` unless `headers` say otherwise.
    pub body: Option<String>,
    /// How the next page is found. Default: there is one page.
    pub paging: Option<Paging>,
    /// Further tries of a request after 429, 5xx, or no answer. Default 5.
    pub retries: u32,
    /// First wait before another try; doubles, with jitter. Default 1s.
    pub retry_delay: Span,
    /// Longest wait that a `Retry-After` may ask for. Default 5m; whoever asks for more is asked again next run.
    pub retry_after_limit: Span,
    /// Default 10s.
    pub connect_timeout: Span,
    /// Longest silence while an answer comes. Default 30s.
    pub read_timeout: Span,
    /// Bytes of all pages together, decompressed. Default 4 GiB.
    pub max_bytes: u64,
    /// Default 10000.
    pub max_pages: u32,
    /// Keep answers and ask with `If-None-Match` / `If-Modified-Since`: up to this many bytes of them, decompressed.
    /// Default 256 MiB; 0 keeps none.
    pub cache_bytes: u64,
}

/// HTTP methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `get`
    Get,
    /// `post`
    Post,
}

/// How we say who we are; exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `bearer_token_file: /run/secrets/scanner` or `bearer_token_env: SCANNER_TOKEN`.
    Bearer(Secret),
    /// `basic: { username: reader, password_file: … }` (or `password_env`).
    Basic {
        /// In the clear.
        username: String,
        /// From a file or the environment.
        password: Secret,
    },
}

/// How the next page is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paging {
    /// `link_header: {}`: `Link: <…>; rel="next"` (RFC 8288), as GitHub does.
    LinkHeader,
    /// `next_field: { path: paging.next }`: the answer has the next page's URL, absolute or relative.
    NextField {
        /// Where: `paging.next` or `/paging/next`.
        path: String,
    },
    /// `cursor: { path: meta.cursor, parameter: after }`: the answer has a token for the next page.
    Cursor {
        /// Where in the answer.
        path: String,
        /// Where in the request: a query parameter, or with `place: body` a path into the JSON body.
        parameter: String,
        /// Default `query`.
        place: Place,
    },
    /// `page: { parameter: page, records: items }`: pages are numbered; one without records is the last.
    Page {
        /// Query parameter.
        parameter: String,
        /// Number of the first page. Default 1.
        first: u64,
        /// Where in the answer its list of records is; empty: the answer is the list.
        records: String,
    },
}

/// Where a cursor is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `query`
    Query,
    /// `body`
    Body,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            url: String::new(),
            method: Method::Get,
            headers: Vec::new(),
            secret_headers: Vec::new(),
            auth: None,
            client_cert_file: None,
            client_key_file: None,
            ca_file: None,
            body: None,
            paging: None,
            retries: 5,
            retry_delay: Span::SECOND,
            retry_after_limit: Span(5 * 60_000),
            connect_timeout: Span(10_000),
            read_timeout: Span(30_000),
            max_bytes: 4 << 30,
            max_pages: 10_000,
            cache_bytes: 256 << 20,
        }
    }
}
