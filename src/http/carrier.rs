//! What carries a chat request to a server and its reply back: the network, or a simulation's own channels.
//!
//! A carrier moves one request and knows nothing of what it says. How long the whole may take is not its business: the
//! endpoint's deadline runs over the head of a reply and every portion of its body alike ([`Incoming::chunk`]).

use std::fmt::{Debug, Formatter};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::time::Instant;

use super::retry::Evidence;
use super::transport::{Chunks, describe, evidence_of};

/// A request: a JSON body for one address.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Where to.
    pub url: Url,
    /// The key, as its header says it.
    pub authorization: Option<HeaderValue>,
    /// JSON.
    pub body: Bytes,
}

/// A request, or the rest of a reply, was lost on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// What that is evidence of.
    pub evidence: Evidence<'static>,
    /// One line, without the address, which may hold signatures.
    pub detail: String,
}

impl From<reqwest::Error> for Lost {
    fn from(error: reqwest::Error) -> Self {
        Self { evidence: evidence_of(&error), detail: describe(error) }
    }
}

/// A reply whose head came.
pub struct Incoming {
    /// The status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, in whatever portions it comes.
    pub body: BoxStream<'static, Result<Bytes, Lost>>,
    /// When it must be there; `None`: whenever.
    pub deadline: Option<Instant>,
}

impl Debug for Incoming {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Incoming").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Chunks for Incoming {
    type Error = Lost;

    async fn chunk(&mut self) -> Result<Option<Bytes>, Lost> {
        in_time(self.deadline, async { self.body.next().await.transpose() }).await
    }
}

/// Waits for something until a moment.
///
/// # Errors
/// What the future ends with, or [`Evidence::TimedOut`].
pub async fn in_time<T>(deadline: Option<Instant>, future: impl Future<Output = Result<T, Lost>>) -> Result<T, Lost> {
    let Some(deadline) = deadline else { return future.await };
    let late = || Lost { evidence: Evidence::TimedOut, detail: "the time for one attempt is over".to_owned() };
    tokio::time::timeout_at(deadline, future).await.map_err(|_| late())?
}

/// Carries requests.
pub trait Carrier: Debug + Send + Sync {
    /// Sends a request and returns its reply once the head of it is there, of whatever status.
    ///
    /// Not cancel-safe: a request that is dropped may have been sent.
    fn send(&self, request: Outgoing) -> BoxFuture<'static, Result<Incoming, Lost>>;
}

/// The network, over a pool of connections.
#[derive(Debug, Clone)]
pub struct Network(pub Client);

impl Carrier for Network {
    fn send(&self, request: Outgoing) -> BoxFuture<'static, Result<Incoming, Lost>> {
        let Outgoing { url, authorization, body } = request;
        let mut request =
            self.0.post(url).header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body);
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        async move { Ok(incoming(request.send().await?)) }.boxed()
    }
}

fn incoming(mut response: Response) -> Incoming {
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let body = futures::stream::try_unfold(response, |mut response| async move {
        Ok(response.chunk().await?.map(|bytes| (bytes, response)))
    });
    Incoming { status, headers, body: body.boxed(), deadline: None }
}
