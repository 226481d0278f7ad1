//! Serves the reader of a report: for runs too big for one file, and for runs in progress.
//!
//! Serves the loopback address only. Lists come from an index (id, question and outcome of every query, settled or not,
//! about half a kilobyte each), which is updated when files or facts were added. When a query is opened, its responses
//! are read from its shard or from the ledger. Nothing is written, and requests are parsed and bounded.
//!
//! Requests that name another host, or come from another host's page, are rejected (`sys::hosts`), so that no other
//! page can read a run through a name that points here.

mod index;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use crate::pipeline::RunError;
use crate::report::{PageOptions, page};
use crate::sys::hosts::Hosts;
pub use index::{Filter, Index, Order};

/// Time between two requests of a page for changes.
const EVERY_MS: u64 = 5000;
/// Largest number of rows of one list.
const LIMIT_MAX: usize = 200;

/// The state of the handlers.
struct Shared {
    dir: PathBuf,
    index: Mutex<Index>,
}

/// Serves a directory until the future is dropped; `listener` is bound already.
pub async fn serve(dir: &Path, listener: tokio::net::TcpListener) -> std::io::Result<()> {
    let shared = Arc::new(Shared { dir: dir.to_owned(), index: Mutex::new(Index::default()) });
    let hosts = Arc::new(Hosts::new(listener.local_addr()?, &[]));
    let app = Router::new()
        .route("/", get(shell))
        .route("/api/summary", get(summary))
        .route("/api/queries", get(queries))
        .route("/api/query", get(query))
        .route("/style.css", get(|| asset(page::STYLE, "text/css; charset=utf-8")))
        .route("/reader.js", get(|| asset(page::SCRIPT, "text/javascript; charset=utf-8")))
        .with_state(shared)
        .layer(from_fn(move |request, next| guard(Arc::clone(&hosts), request, next)));
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await
}

/// Rejects requests for other hosts, and forbids browsers to guess types or to frame the page.
async fn guard(hosts: Arc<Hosts>, request: Request, next: Next) -> Response {
    if !is_ours(&hosts, request.headers()) {
        return (StatusCode::FORBIDDEN, "this server answers to 127.0.0.1 and localhost only\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_ours(hosts: &Hosts, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    hosts.answer_to(text(header::HOST).unwrap_or_default(), None)
        && text(header::ORIGIN).is_none_or(|origin| hosts.are_origin(origin, None))
}

async fn asset(text: &'static str, kind: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Runs blocking work on the index and responds with its result.
async fn with_index<T: Send + 'static>(
    shared: Arc<Shared>,
    work: impl FnOnce(&Path, &mut Index) -> Result<T, RunError> + Send + 'static,
) -> Result<T, Response> {
    let failed = |error: String| (StatusCode::INTERNAL_SERVER_ERROR, error).into_response();
    let done = tokio::task::spawn_blocking(move || {
        let mut index = shared.index.lock().unwrap_or_else(PoisonError::into_inner);
        index.refresh(&shared.dir)?;
        work(&shared.dir, &mut index)
    });
    done.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
}

async fn shell(State(shared): State<Arc<Shared>>) -> Result<Response, Response> {
    with_index(shared, |dir, index| {
        let (title, subtitle) = index.names(dir);
        let html = index.figures(dir)?;
        let options = PageOptions { title: &title, subtitle: &subtitle, summary: &html };
        let page = page::shell(&options, index.choices(), EVERY_MS);
        Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response())
    })
    .await
}

fn json(value: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

async fn summary(State(shared): State<Arc<Shared>>) -> Result<Response, Response> {
    with_index(shared, |dir, index| {
        let html = index.figures(dir)?;
        Ok(json(&serde_json::json!({"html": html, "choices": index.choices().to_json()})))
    })
    .await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListQuery {
    search: String,
    outcome: String,
    difficulty: String,
    source: String,
    order: String,
    offset: usize,
    limit: usize,
}

async fn queries(State(shared): State<Arc<Shared>>, Query(asked): Query<ListQuery>) -> Result<Response, Response> {
    with_index(shared, move |_, index| {
        let ListQuery { search, outcome, difficulty, source, order, offset, limit } = asked;
        let order = if order == "failures" { Order::FailuresFirst } else { Order::Input };
        let filter = Filter { search: search.to_lowercase(), outcome, difficulty, source, order };
        let (total, rows) = index.list(&filter, offset, limit.clamp(1, LIMIT_MAX));
        Ok(json(&serde_json::json!({"total": total, "rows": rows})))
    })
    .await
}

#[derive(Debug, Deserialize)]
struct OneQuery {
    ordinal: i64,
}

async fn query(State(shared): State<Arc<Shared>>, Query(asked): Query<OneQuery>) -> Result<Response, Response> {
    let found = with_index(shared, move |dir, index| index.entry(dir, asked.ordinal)).await?;
    match found {
        Some(entry) => Ok(json(&serde_json::json!(entry))),
        None => Err((StatusCode::NOT_FOUND, "the run has no query at this position\n").into_response()),
    }
}
