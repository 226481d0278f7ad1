//! The transport of a chat request and its reply: the network, or the in-memory channels of a simulation.
//!
//! A carrier transports one request and does not parse it. The carrier has no timeout: the endpoint's deadline bounds
//! both the head of a reply and every portion of its body ([`Incoming::chunk`]).

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
    /// The address.
    pub url: Url,
    /// The value of the `Authorization` header, which holds the key.
    pub authorization: Option<HeaderValue>,
    /// The JSON body.
    pub body: Bytes,
}

/// A request, or the rest of a reply, was lost in transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The evidence for the retry table.
    pub evidence: Evidence<'static>,
    /// One line, without the address, which may hold signatures.
    pub detail: String,
}

impl From<reqwest::Error> for Lost {
    fn from(error: reqwest::Error) -> Self {
        Self { evidence: evidence_of(&error), detail: describe(error) }
    }
}

/// A reply whose head has arrived.
pub struct Incoming {
    /// The status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body, in portions of any size.
    pub body: BoxStream<'static, Result<Bytes, Lost>>,
    /// The deadline of the whole reply; `None`: no deadline.
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

/// Waits for a future until a moment.
pub async fn in_time<T>(deadline: Option<Instant>, future: impl Future<Output = Result<T, Lost>>) -> Result<T, Lost> {
    let Some(deadline) = deadline else { return future.await };
    let late = || Lost { evidence: Evidence::TimedOut, detail: "the time for one attempt is over".to_owned() };
    tokio::time::timeout_at(deadline, future).await.map_err(|_| late())?
}

/// Transports requests.
pub trait Carrier: Debug + Send + Sync {
    /// Sends a request and returns its reply, of any status, once the reply's head has arrived.
    ///
    /// Not cancel-safe: a dropped request may have been sent.
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
