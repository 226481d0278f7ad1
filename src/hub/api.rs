//! Requests to the Hub: the address, the headers, and the parsing of replies.
//!
//! The token is sent only to the endpoint's own scheme, host and port: downloads redirect to other hosts, whose
//! addresses are signed. Therefore this client follows redirects itself, at most [`REDIRECTS_MAX`], and never from TLS
//! to plain text. The retry table is in `http::retry`.

#![warn(clippy::indexing_slicing)] // what is read here comes from anywhere

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderValue, LINK, LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::cache::{is_commit, is_hash};
use super::{HubError, HubReference, HubSettings};
use crate::http::redact::Redactor;
use crate::http::retry::{Class, Evidence, RETRY_AFTER_MAX, classify, retry_after};
use crate::http::transport::{
    BodyEnd, bearer, build_client, describe, evidence_of, is_clear_text, read_body, wait_headers,
};
use crate::http::{CallFailure, DETAIL_CHARS_MAX, one_line};

/// The maximum number of redirects of one request.
const REDIRECTS_MAX: usize = 8;
/// The maximum size of a listing, in bytes.
const LISTING_BYTES_MAX: usize = 16 << 20;
/// The maximum number of pages of a listing (a page has up to a thousand files).
const PAGES_MAX: usize = 200;
/// The maximum number of bytes that are read of an error's body.
const ERROR_BYTES_MAX: usize = 16 << 10;

/// The Hub's description of a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revision {
    /// The revision's commit.
    pub(super) commit: String,
    /// The paths of all files.
    pub(super) names: Vec<String>,
    /// Whether the user must accept a licence first.
    pub(super) is_gated: bool,
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// The file's path in the repository.
    pub(super) name: String,
    /// The file's length in bytes.
    pub(super) size: u64,
    /// The name of the file's blob: SHA-256 of a large file, git's hash of a small one.
    pub(super) hash: String,
}

impl RemoteFile {
    /// Returns the SHA-256 of the content, if the Hub knows it.
    pub(super) fn sha256(&self) -> Option<&str> {
        (self.hash.len() == 64).then_some(self.hash.as_str())
    }
}

/// A reply whose body has not been read.
pub(super) struct Reply {
    /// The response.
    pub(super) response: Response,
    /// The hash of the content, if the endpoint named one before it redirected.
    pub(super) linked_hash: Option<String>,
}

/// The Hub, or a mirror.
pub(super) struct Api {
    settings: HubSettings,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    /// One client per origin, because TLS and proxies depend on the origin.
    clients: Mutex<Vec<(String, Client)>>,
}

impl Api {
    /// Builds the client; opens no connection.
    pub(super) fn new(settings: &HubSettings) -> Result<Self, HubError> {
        let bad = |problem: &str| HubError::Setup { variable: "HF_ENDPOINT", problem: problem.to_owned() };
        let endpoint = Url::parse(settings.endpoint.trim().trim_end_matches('/'));
        let endpoint = endpoint.map_err(|error| bad(&error.to_string()))?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host_str().is_none() {
            return Err(bad("it begins with neither http:// nor https://"));
        }
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(bad("it holds a user name or password; tokens belong in HF_TOKEN"));
        }
        if settings.token.is_some() && is_clear_text(&endpoint) {
            return Err(bad(
                "it is an http:// address of another machine, to which HF_TOKEN would be sent in clear; use \
                 https://, or go without a token (HF_TOKEN unset, no token file)",
            ));
        }
        let no_header = || HubError::Setup {
            variable: "HF_TOKEN",
            problem: "the token holds characters that no header can carry".to_owned(),
        };
        let authorization = settings.token.as_ref().map(|token| bearer(token).ok_or_else(no_header)).transpose()?;
        Ok(Self { settings: settings.clone(), endpoint, authorization, clients: Mutex::default() })
    }

    /// Requests a revision, in at most `attempts_max` attempts.
    pub(super) async fn revision(&self, model: &HubReference, attempts_max: u32) -> Result<Revision, CallFailure> {
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        #[derive(Deserialize)]
        struct Info {
            sha: String,
            siblings: Vec<Sibling>,
            #[serde(default)]
            gated: serde_json::Value,
        }
        let url = self.url(&["api", "models"], &model.id, &["revision"], &[&model.revision]);
        let (info, _) = self.get_json::<Info>(&url, attempts_max).await?;
        if !is_commit(&info.sha) {
            return Err(self.failure(Class::FatalRequest, "the Hub names a commit that is no hash".to_owned()));
        }
        Ok(Revision {
            commit: info.sha,
            names: info.siblings.into_iter().map(|sibling| sibling.rfilename).collect(),
            is_gated: !matches!(info.gated, serde_json::Value::Null | serde_json::Value::Bool(false)),
        })
    }

    /// Lists the files of a commit, over all pages.
    pub(super) async fn files(&self, id: &str, commit: &str) -> Result<Vec<RemoteFile>, CallFailure> {
        #[derive(Deserialize)]
        struct Lfs {
            oid: String,
            size: u64,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(rename = "type")]
            kind: String,
            path: String,
            #[serde(default)]
            size: u64,
            oid: String,
            lfs: Option<Lfs>,
        }
        let mut url = self.url(&["api", "models"], id, &["tree"], &[commit]);
        url.set_query(Some("recursive=true"));
        let mut files = Vec::new();
        for _ in 0..PAGES_MAX {
            let (entries, headers) = self.get_json::<Vec<Entry>>(&url, self.settings.attempts_max).await?;
            for entry in entries.into_iter().filter(|entry| entry.kind == "file") {
                let (hash, digits, size) = match entry.lfs {
                    Some(lfs) => (lfs.oid, 64, lfs.size),
                    None => (entry.oid, 40, entry.size),
                };
                if !is_hash(&hash, digits) {
                    let detail = format!("the Hub's hash of {} is no hash", entry.path);
                    return Err(self.failure(Class::FatalRequest, detail));
                }
                files.push(RemoteFile { name: entry.path, size, hash });
            }
            match next_page(&headers).and_then(|next| url.join(next).ok()) {
                Some(next) => url = next,
                None => return Ok(files),
            }
        }
        Err(self.failure(Class::FatalRequest, format!("the listing has more than {PAGES_MAX} pages")))
    }

    /// Requests a file's content from byte `from` on, in one attempt. A status other than 200, 206 and 416 is a
    /// failure.
    pub(super) async fn content(&self, id: &str, commit: &str, name: &str, from: u64) -> Result<Reply, CallFailure> {
        let path: Vec<&str> = std::iter::once(commit).chain(name.split('/')).collect();
        let url = self.url(&[], id, &["resolve"], &path);
        let reply = self.get(url, from).await?;
        match reply.response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(reply),
            _ => Err(self.status_failure(reply.response).await),
        }
    }

    /// Waits before the next attempt.
    pub(super) async fn back_off(&self, failure: &CallFailure, failures: u32, salt: &str) {
        let wait = failure.retry_after.unwrap_or_else(|| self.settings.backoff.delay(failures, salt));
        tracing::info!("{}; next attempt in {:.1} s", failure.detail, wait.as_secs_f64());
        tokio::time::sleep(wait).await;
    }

    /// Joins segments to the endpoint, each percent-encoded.
    fn url(&self, before: &[&str], id: &str, after: &[&str], last: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        // This never fails: the scheme was checked to have paths.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(before).extend(id.split('/')).extend(after).extend(last);
        }
        url
    }

    async fn get_json<T: DeserializeOwned>(&self, url: &Url, attempts_max: u32) -> Result<(T, HeaderMap), CallFailure> {
        let mut failures = 0;
        loop {
            let failure = match self.try_json(url).await {
                Ok(found) => return Ok(found),
                Err(failure) => failure,
            };
            failures += 1;
            if failures >= attempts_max || !is_passing(failure.class) {
                return Err(failure);
            }
            self.back_off(&failure, failures, url.path()).await;
        }
    }

    async fn try_json<T: DeserializeOwned>(&self, url: &Url) -> Result<(T, HeaderMap), CallFailure> {
        let response = self.get(url.clone(), 0).await?.response;
        if response.status() != StatusCode::OK {
            return Err(self.status_failure(response).await);
        }
        let headers = response.headers().clone();
        // A listing is small: one timeout covers the whole listing.
        let body = tokio::time::timeout(self.settings.silence_max, read_body(response, LISTING_BYTES_MAX));
        let bytes = match body.await {
            Ok((bytes, BodyEnd::Complete)) => bytes,
            Ok((_, BodyEnd::TooLarge)) => {
                let detail = format!("the listing is larger than {LISTING_BYTES_MAX} bytes");
                return Err(self.failure(Class::FatalRequest, detail));
            }
            Ok((_, BodyEnd::Broken(error))) => return Err(self.broken(error)),
            Err(_) => return Err(self.silent()),
        };
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            self.failure(classify(Evidence::NotJson), format!("the reply is not what a Hub sends: {error}"))
        })?;
        Ok((value, headers))
    }

    /// Sends a request and follows redirects.
    async fn get(&self, mut url: Url, from: u64) -> Result<Reply, CallFailure> {
        let mut linked_hash = None;
        for _ in 0..=REDIRECTS_MAX {
            let mut request = self.client(&url)?.get(url.clone()).header(ACCEPT_ENCODING, "identity");
            let is_own = url.origin() == self.endpoint.origin();
            if let Some(authorization) = self.authorization.as_ref().filter(|_| is_own) {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let sent = tokio::time::timeout(self.settings.silence_max, request.send()).await;
            let response = sent.map_err(|_| self.silent())?.map_err(|error| self.broken(error))?;
            if is_own {
                linked_hash = linked_hash.or_else(|| hash_header(response.headers()));
            }
            let target = match response.headers().get(LOCATION) {
                Some(location) if response.status().is_redirection() => location,
                _ => return Ok(Reply { response, linked_hash }),
            };
            let target = target.to_str().ok().and_then(|text| url.join(text).ok());
            let is_good =
                |target: &Url| target.scheme() == "https" || (target.scheme() == "http" && url.scheme() == "http");
            let bad = || self.failure(Class::FatalRequest, "the server redirects to an unusable address".to_owned());
            url = target.filter(is_good).ok_or_else(bad)?;
        }
        Err(self.failure(Class::FatalRequest, format!("more than {REDIRECTS_MAX} redirects")))
    }

    fn client(&self, url: &Url) -> Result<Client, CallFailure> {
        let origin = url.origin().ascii_serialization();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = clients.iter().find(|(known, _)| *known == origin) {
            return Ok(client.clone());
        }
        let client = build_client(url);
        let client = client.map_err(|error| self.failure(Class::FatalRequest, describe(error)))?;
        clients.push((origin, client.clone()));
        Ok(client)
    }

    /// Reads an error status: the Hub's headers hold more details than its body.
    async fn status_failure(&self, response: Response) -> CallFailure {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let wait = retry_after(wait_headers(&headers));
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let code = header("x-error-code");
        let body = tokio::time::timeout(self.settings.silence_max, read_body(response, ERROR_BYTES_MAX));
        let body = body.await.map(|(bytes, _)| bytes).unwrap_or_default();
        let message = header("x-error-message").unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
        let class = classify(Evidence::Status { status, code: None, message: "" });
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        let mut failure = self.failure(class, format!("HTTP {status}{code}: {message}"));
        failure.status = Some(status);
        failure.retry_after = wait.filter(|_| class == Class::Transient).map(|wait| wait.min(RETRY_AFTER_MAX));
        failure
    }

    /// Returns the failure of a broken connection.
    pub(super) fn broken(&self, error: reqwest::Error) -> CallFailure {
        self.failure(classify(evidence_of(&error)), describe(error))
    }

    /// Returns the failure of a server that stopped sending.
    pub(super) fn silent(&self) -> CallFailure {
        let silence: Duration = self.settings.silence_max;
        self.failure(classify(Evidence::TimedOut), format!("the server was silent for {} s", silence.as_secs_f32()))
    }

    /// Builds a failure whose text does not hold the token.
    pub(super) fn failure(&self, class: Class, detail: String) -> CallFailure {
        let detail = one_line(&Redactor::new(self.settings.token.as_ref()).text(&detail), DETAIL_CHARS_MAX);
        CallFailure { class, status: None, retry_after: None, detail, refused: None, body: None }
    }
}

/// Returns whether a failure may pass: an interrupted reply, or an unreachable server.
pub(super) fn is_passing(class: Class) -> bool {
    matches!(class, Class::Transient | Class::Unreachable)
}

/// Returns the hash of a large file's content, from the headers of the redirect to its location.
fn hash_header(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("x-linked-etag")?.to_str().ok()?;
    Some(text.trim_start_matches("W/").trim_matches('"').to_owned())
}

/// Returns the address of the next page: `<address>; rel="next"` (RFC 8288).
fn next_page(headers: &HeaderMap) -> Option<&str> {
    let links = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    links.flat_map(|line| line.split(',')).find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next"));
        is_next.then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        let page = |line: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::from_static(line));
            next_page(&headers).map(str::to_owned)
        };
        assert_eq!(page("<http://h/x?cursor=a>; rel=\"next\"").as_deref(), Some("http://h/x?cursor=a"));
        assert_eq!(page("<http://h/1>; rel=\"prev\", </2>; rel=\"next\"").as_deref(), Some("/2"));
        assert_eq!(page("<http://h/1>; rel=\"last\""), None);
        assert_eq!(page("http://h/1; rel=\"next\""), None);
        assert_eq!(next_page(&HeaderMap::new()), None);
    }

    #[test]
    fn addresses_are_encoded_and_keep_the_endpoints_own_path() {
        let mut settings = HubSettings::from_variables(|_| None);
        settings.endpoint = "http://mirror.example/hub/".to_owned();
        let api = Api::new(&settings).unwrap();
        let url = api.url(&["api", "models"], "o/n", &["revision"], &["refs/pr/1"]);
        assert_eq!(url.as_str(), "http://mirror.example/hub/api/models/o/n/revision/refs%2Fpr%2F1");
        let url = api.url(&[], "o/n", &["resolve"], &["main", "a b?.gguf"]);
        assert_eq!(url.as_str(), "http://mirror.example/hub/o/n/resolve/main/a%20b%3F.gguf");
        for endpoint in ["", "mirror.example", "ftp://h", "https://user:pw@h", "data:x"] {
            settings.endpoint = endpoint.to_owned();
            let error = Api::new(&settings).err().expect(endpoint).to_string();
            assert!(error.contains("HF_ENDPOINT") && !error.contains("pw"), "{error}");
        }
    }
}
