//! A judge request while it waits for a batch, and while it is in one.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::domain::QueryId;
use crate::judge::cost::Reservation;
use crate::judge::{AskError, Attempt, JudgeRequest};

/// A request that waits for its batch.
pub(super) struct Wanted {
    pub(super) request: JudgeRequest,
    pub(super) attempt: Attempt,
    pub(super) query_id: QueryId,
    pub(super) reservation: Option<Reservation>,
    pub(super) done: oneshot::Sender<Result<(), AskError>>,
}

/// One attempt in a batch.
pub(super) struct Item {
    pub(super) request_key: String,
    pub(super) attempt: u32,
    pub(super) reservation: Option<Reservation>,
}

/// The attempts of a batch that have not ended, by custom id.
pub(super) type Items = BTreeMap<String, Item>;
