//! A client of an OpenAI-style batch API: `/files` and `/batches` under the base URL, one attempt at a time.
//!
//! A caller that does not know whether a request arrived can find batches and files again: a batch by its metadata or
//! its input file, a file by its name. The client parses everything leniently, and classifies failures by the one retry
//! table. Bodies are bounded: [`PAGE_BYTES_MAX`] for descriptions of batches and files, [`LINE_BYTES_MAX`] for one line
//! of a result file; only one line is in memory at a time.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::client::{ClearText, ClientError, REPLY_BYTES_MAX, check_clear_text, parse_base_url};
use super::redact::Redactor;
use super::retry::{Class, Evidence, classify, heed_should_retry, hint, retry_after};
use super::transport::{BodyEnd, bearer, build_client, describe, evidence_of, read_body, wait_headers};
use super::{CallFailure, DETAIL_CHARS_MAX, RefusedKey, one_line, wire};

/// The maximum length of a line of a result file, in bytes: a reply and its frame.
pub const LINE_BYTES_MAX: usize = REPLY_BYTES_MAX + (64 << 10);
/// The maximum size of a response that is not a result file, in bytes.
pub const PAGE_BYTES_MAX: usize = 8 << 20;
/// The path in the lines of an input file, whatever the base URL is.
pub const LINE_URL: &str = "/v1/chat/completions";
/// The metadata key of a batch's name.
pub const NAME_KEY: &str = "thinkloom_batch";
/// The time that the provider may take.
const COMPLETION_WINDOW: &str = "24h";
/// The number of list entries per page.
const PAGE_ENTRIES: usize = 100;
/// The maximum number of list pages that are searched.
const PAGES_MAX: usize = 1000;
/// The clock difference that is tolerated between an entry's creation time and the time in the ledger.
const CLOCKS_APART_S: i64 = 2 * 86_400;
/// The maximum length of the id of a batch or file, and of the name of a status, in bytes.
const ID_BYTES_MAX: usize = 256;
const STATUS_CHARS_MAX: usize = 40;

/// The progress of a batch at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStatus {
    /// The provider validates, processes or finalizes the batch.
    UnderWay,
    /// The batch ended; some requests may have failed.
    Completed,
    /// The batch exceeded its time; the results up to then exist.
    Expired,
    /// The batch was cancelled; the results up to then exist.
    Cancelled,
    /// The batch was refused as a whole, and has no results.
    Failed,
}

/// A provider's description of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchState {
    /// The provider's id.
    pub id: String,
    /// The progress of the batch.
    pub status: BatchStatus,
    /// The provider's own name of the status.
    pub status_name: String,
    /// The files with the results: answered requests, and failed requests.
    pub result_files: Vec<String>,
    /// The number of results in the files, if the provider reports it.
    pub results: Option<u64>,
    /// Why the batch failed, one line; empty if it did not fail.
    pub problem: String,
}

/// A client of one provider's batch API.
#[derive(Debug)]
pub struct BatchClient {
    client: Client,
    base_url: String,
    authorization: Option<HeaderValue>,
    redactor: Redactor,
    timeout: Duration,
}

impl BatchClient {
    /// Builds the client; opens no connection. `timeout` bounds each request; in the download of results it bounds the
    /// time between two portions.
    ///
    /// # Errors
    /// [`ClientError`] if the address or the key is not usable, or TLS cannot be set up.
    pub fn new(
        base_url: &str,
        api_key: Option<SecretString>,
        clear_text: ClearText,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let (base_url, url) = parse_base_url(base_url)?;
        let api_key = api_key.filter(|key| !key.expose_secret().trim().is_empty());
        check_clear_text(&url, api_key.as_ref(), clear_text)?;
        let authorization = api_key.as_ref().map(|key| bearer(key).ok_or(ClientError::ApiKey)).transpose()?;
        let client = build_client(&url).map_err(|error| ClientError::Client { problem: error.to_string() })?;
        let redactor = Redactor::new(api_key.as_ref());
        Ok(Self { client, base_url, authorization, redactor, timeout })
    }

    /// Returns the address, without a trailing slash.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Uploads an input file of JSON lines under a name; returns the provider's id of the file.
    ///
    /// # Errors
    /// [`CallFailure`]; the file may exist nevertheless, see [`Self::find_file`].
    pub async fn upload(&self, name: &str, lines: Bytes) -> Result<String, CallFailure> {
        let (content_type, body) = form(name, &lines);
        let request = self.request(Method::POST, "/files").header(CONTENT_TYPE, content_type).body(body);
        self.id_of(self.json(request).await?, "an uploaded file")
    }

    /// Finds a file by its name, among files created at or after `since_unix_ms`; returns its id.
    pub async fn find_file(&self, name: &str, since_unix_ms: i64) -> Result<Option<String>, CallFailure> {
        let is_it = |entry: &Value| entry.get("filename").and_then(Value::as_str) == Some(name);
        let found = self.find_entry("/files", "&purpose=batch", since_unix_ms, is_it).await?;
        found.map(|entry| self.id_of(entry, "a listed file")).transpose()
    }

    /// Creates a batch of an uploaded file under a name.
    ///
    /// # Errors
    /// [`CallFailure`]; the batch may exist nevertheless, see [`Self::find`].
    pub async fn create(&self, file_id: &str, name: &str) -> Result<BatchState, CallFailure> {
        let body = json!({
            "input_file_id": file_id, "endpoint": LINE_URL, "completion_window": COMPLETION_WINDOW,
            "metadata": {NAME_KEY: name},
        });
        // A gateway that supports the header does not create the same batch twice.
        let request = self.request(Method::POST, "/batches").header("idempotency-key", name).json(&body);
        let state = self.json(request).await?;
        self.state_of(&state)
    }

    /// Finds a batch by its name or its input file, among batches created at or after `since_unix_ms`.
    pub async fn find(&self, name: &str, file_id: &str, since_unix_ms: i64) -> Result<Option<BatchState>, CallFailure> {
        let is_it = |entry: &Value| {
            entry.get("input_file_id").and_then(Value::as_str) == Some(file_id)
                || entry.get("metadata").and_then(|metadata| metadata.get(NAME_KEY)).and_then(Value::as_str)
                    == Some(name)
        };
        let found = self.find_entry("/batches", "", since_unix_ms, is_it).await?;
        found.map(|entry| self.state_of(&entry)).transpose()
    }

    /// Returns the state of a batch.
    ///
    /// # Errors
    /// [`CallFailure`]; its status is 404 if the provider does not know the batch (any more).
    pub async fn state(&self, id: &str) -> Result<BatchState, CallFailure> {
        let state = self.json(self.request(Method::GET, &format!("/batches/{}", plain_id(id)))).await?;
        self.state_of(&state)
    }

    /// Begins to read a result file.
    ///
    /// # Errors
    /// [`CallFailure`]; its status is 404 if the file does not exist (any more).
    pub async fn results(&self, file_id: &str) -> Result<ResultLines<'_>, CallFailure> {
        let path = format!("/files/{}/content", plain_id(file_id));
        let mut request = self.client.get(format!("{}{path}", self.base_url));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = self.within_timeout(request.send()).await?.map_err(|error| self.broken(error))?;
        let response = self.checked(response).await?;
        Ok(ResultLines { client: self, response, buffer: Vec::new(), is_over: false })
    }

    async fn within_timeout<T>(&self, future: impl Future<Output = T>) -> Result<T, CallFailure> {
        let timed_out = |_| self.failure(Evidence::TimedOut, None, "the server is silent");
        tokio::time::timeout(self.timeout, future).await.map_err(timed_out)
    }

    /// Searches a list, page by page. If the list is sorted from the newest entry, the search ends at entries that are
    /// older than the wanted one.
    async fn find_entry(
        &self,
        path: &str,
        filter: &str,
        since_unix_ms: i64,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Option<Value>, CallFailure> {
        let oldest = since_unix_ms.div_euclid(1000).saturating_sub(CLOCKS_APART_S);
        let mut after = String::new();
        for _ in 0..PAGES_MAX {
            let page =
                self.json(self.request(Method::GET, &format!("{path}?limit={PAGE_ENTRIES}{filter}{after}"))).await?;
            let entries = page.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            if let Some(found) = entries.iter().find(|entry| is_it(entry)) {
                return Ok(Some(found.clone()));
            }
            let has_more = page.get("has_more").and_then(Value::as_bool).unwrap_or(false);
            let last = entries.last().and_then(|entry| entry.get("id")).and_then(Value::as_str);
            let ends = entries.first().zip(entries.last());
            let made = ends.and_then(|(first, last)| created_at(first).zip(created_at(last)));
            if made.is_some_and(|(first, last)| last < first && last < oldest) {
                return Ok(None);
            }
            let next = match last {
                Some(last) if has_more => format!("&after={}", plain_id(last)),
                _ => return Ok(None),
            };
            if next == after {
                return Err(
                    self.endless(&format!("the list under {path} repeats itself, and what may be behind is not shown"))
                );
            }
            after = next;
        }
        let most = PAGES_MAX * PAGE_ENTRIES;
        Err(self.endless(&format!("more than {most} entries are listed under {path}")))
    }

    /// Returns the failure of a list without an end: the wanted entry may exist, so nothing may be uploaded or created
    /// a second time.
    fn endless(&self, detail: &str) -> CallFailure {
        let hint = "delete old files and batches at the provider, then run the same command again: what was uploaded may be \
                    under way, and is not paid for twice";
        let refused = Some(Box::new(RefusedKey { key: String::new(), hint: hint.to_owned() }));
        CallFailure { class: Class::FatalRun, refused, ..self.failure(Evidence::Unusable, None, detail) }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.client.request(method, format!("{}{path}", self.base_url)).timeout(self.timeout);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, CallFailure> {
        let response = request.send().await.map_err(|error| self.broken(error))?;
        let response = self.checked(response).await?;
        let bytes = match read_body(response, PAGE_BYTES_MAX).await {
            (bytes, BodyEnd::Complete) => bytes,
            (_, BodyEnd::TooLarge) => {
                return Err(self.failure(Evidence::Interrupted, None, "the answer is too large"));
            }
            (_, BodyEnd::Broken(error)) => return Err(self.broken(error)),
        };
        let text = self.redactor.text(&String::from_utf8_lossy(&bytes)).into_owned();
        let value: Value = serde_json::from_str(text.trim())
            .map_err(|error| self.failure(Evidence::NotJson, None, &format!("the answer is no JSON: {error}")))?;
        match value.get("id").is_none().then(|| wire::parse_error(&text)).flatten() {
            None => Ok(value),
            Some(error) => {
                let evidence = Evidence::ErrorObject { code: error.code.as_deref() };
                Err(self.failure(evidence, Some(200), &error.message))
            }
        }
    }

    /// Returns a response of any 2xx status, and a failure for any other status.
    async fn checked(&self, response: Response) -> Result<Response, CallFailure> {
        let status = response.status().as_u16();
        if response.status().is_success() {
            return Ok(response);
        }
        let wait = retry_after(wait_headers(response.headers()));
        let should_retry = response.headers().get("x-should-retry").and_then(|value| value.to_str().ok());
        let should_retry = should_retry.map(str::to_owned);
        let (bytes, end) = read_body(response, PAGE_BYTES_MAX).await;
        let body = self.redactor.error_body(&bytes, &end);
        let error = wire::parse_error(&body);
        let code = error.as_ref().and_then(|error| error.code.as_deref());
        let message = error.as_ref().map_or(body.as_str(), |error| error.message.as_str());
        let evidence = Evidence::Status { status, code, message };
        let detail = match status {
            404 | 405 => format!("HTTP {status} from the batch API, {}: {message}", hint(Some(status))),
            _ => format!("HTTP {status} from the batch API: {message}"),
        };
        let mut failure = self.failure(evidence, Some(status), &detail);
        failure.class = heed_should_retry(failure.class, should_retry.as_deref());
        failure.retry_after = wait;
        Err(failure)
    }

    fn id_of(&self, value: Value, what: &str) -> Result<String, CallFailure> {
        let id = value.get("id").and_then(Value::as_str).filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX);
        let id = id.map(str::to_owned);
        id.ok_or_else(|| self.failure(Evidence::Unusable, None, &format!("{what} has no id that can be one")))
    }

    fn state_of(&self, value: &Value) -> Result<BatchState, CallFailure> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let id = self.id_of(value.clone(), "a batch")?;
        let status_name = one_line(text("status").unwrap_or("unknown"), STATUS_CHARS_MAX).to_ascii_lowercase();
        let status = match status_name.as_str() {
            "completed" => BatchStatus::Completed,
            "expired" => BatchStatus::Expired,
            "cancelled" | "canceled" => BatchStatus::Cancelled,
            "failed" => BatchStatus::Failed,
            // The other statuses: `validating`, `in_progress`, `finalizing`, `cancelling`, and unknown names.
            _ => BatchStatus::UnderWay,
        };
        let problems = value.get("errors").and_then(|errors| errors.get("data")).and_then(Value::as_array);
        let problems: Vec<&str> = problems
            .into_iter()
            .flatten()
            .filter_map(|problem| problem.get("message").and_then(Value::as_str))
            .take(3)
            .collect();
        let result_files = ["output_file_id", "error_file_id"].iter().filter_map(|name| text(name));
        let result_files = result_files.filter(|id| id.len() <= ID_BYTES_MAX);
        Ok(BatchState {
            id,
            status,
            status_name,
            result_files: result_files.map(str::to_owned).collect(),
            results: value.get("request_counts").and_then(|counts| {
                // Failures without an error file are stored nowhere; the failures of a batch that ended early are not
                // results.
                let has_failures = status == BatchStatus::Completed && text("error_file_id").is_some();
                let count = |name: &str| counts.get(name).and_then(Value::as_u64);
                // A provider that counts nothing reports 0, and a finished provider that is still counting reports too
                // few.
                let total = count("total").filter(|total| *total > 0)?;
                let (completed, all_failed) = (count("completed")?, count("failed").unwrap_or(0));
                if status == BatchStatus::Completed && completed.saturating_add(all_failed) < total {
                    return None;
                }
                let failed = if has_failures { all_failed } else { 0 };
                Some(completed.saturating_add(failed))
            }),
            problem: one_line(&problems.join("; "), DETAIL_CHARS_MAX),
        })
    }

    fn broken(&self, error: reqwest::Error) -> CallFailure {
        self.failure(evidence_of(&error), None, &describe(error))
    }

    fn failure(&self, evidence: Evidence<'_>, status: Option<u16>, detail: &str) -> CallFailure {
        let detail = one_line(&self.redactor.text(detail), DETAIL_CHARS_MAX);
        CallFailure { class: classify(evidence), status, retry_after: None, detail, refused: None, body: None }
    }
}

/// The lines of a result file, read one by one.
#[derive(Debug)]
pub struct ResultLines<'a> {
    client: &'a BatchClient,
    response: Response,
    buffer: Vec<u8>,
    is_over: bool,
}

impl ResultLines<'_> {
    /// Returns the next line that is not blank; `None` at the end.
    ///
    /// # Errors
    /// [`CallFailure`] if the connection breaks or a line is longer than [`LINE_BYTES_MAX`].
    pub async fn next(&mut self) -> Result<Option<String>, CallFailure> {
        let mut searched = 0;
        loop {
            let end = self.buffer.get(searched..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n'));
            let line: Vec<u8> = match end {
                Some(end) => self.buffer.drain(..=searched + end).collect(),
                None if self.is_over => std::mem::take(&mut self.buffer),
                None if self.buffer.len() > LINE_BYTES_MAX => {
                    return Err(self.client.failure(Evidence::Interrupted, None, "a line of results is too long"));
                }
                None => {
                    searched = self.buffer.len();
                    match self.client.within_timeout(self.response.chunk()).await? {
                        Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                        Ok(None) => self.is_over = true,
                        Err(error) => return Err(self.client.broken(error)),
                    }
                    continue;
                }
            };
            searched = 0;
            let text = self.client.redactor.text(String::from_utf8_lossy(&line).trim()).into_owned();
            if !text.is_empty() {
                return Ok(Some(text));
            }
            if self.is_over && self.buffer.is_empty() {
                return Ok(None);
            }
        }
    }
}

/// Returns the multipart form of an upload, with its content type. Written here and not by the feature of reqwest, which
/// draws the boundary at random and would bring `mime_guess`.
fn form(name: &str, lines: &Bytes) -> (String, Bytes) {
    // The name is a hash of the lines' contents, so the lines cannot hold the boundary.
    let boundary = format!("thinkloom-{name}-boundary");
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{boundary}\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: application/jsonl\r\n\r\n"
    );
    let body = [head.as_bytes(), lines, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
    (format!("multipart/form-data; boundary={boundary}"), body.into())
}

/// Returns the creation time in an entry, in seconds since 1970.
fn created_at(entry: &Value) -> Option<i64> {
    let time = entry.get("created_at")?;
    // The time is rounded towards the past.
    time.as_i64().or_else(|| time.as_f64().map(|seconds| seconds as i64))
}

/// Returns an id in a form that is safe in a path: a server's ids are letters, digits, `-`, `_` and similar characters.
fn plain_id(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.:~".contains(*c)).collect()
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
