//! Every bound of the server, in one place. Those of schemas and of the engine stand in their own rooms.

use std::time::Duration;

/// Connections at once. While as many are open, one that waits for its client gives way, and further ones wait for a place.
pub(super) const CONNECTIONS_MAX: usize = 512;
/// How long a connection that waits for its client is left alone where others want its place.
pub(super) const IDLE_SPARED: Duration = Duration::from_secs(1);
/// The same while its request's body comes.
pub(super) const READING_SPARED: Duration = Duration::from_secs(5);
/// How long the head of a request may take, counted from the end of the one before; so a connection may be idle as long. Longer
/// than clients keep connections that they do not use (15 s is common): one of equal length is ended while a request is on its
/// way. A head that comes slowly holds nothing but its place.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may take no byte of what it is sent, all its pauses together; bytes that it takes earn it time again.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// How many of them earn a second.
pub(super) const WRITE_BYTES_PER_S: usize = 64 << 10;
/// Pieces in which long answers are handed to their connection.
pub(super) const SLICE_BYTES: usize = 64 << 10;
/// How long the body of a request that is refused is waited for.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_secs(3);
/// Bytes of a request's head.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;

/// How long a body may pause.
pub(super) const BODY_PAUSE: Duration = Duration::from_secs(10);
/// How far a body may fall behind its pace.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// The slowest that a body may come, in the long run.
pub(super) const BODY_BYTES_PER_S: usize = 64 << 10;
/// A larger one comes so fast that what has come would come again in so many seconds: at 1 MiB/s when 64 MiB are held.
pub(super) const BODY_TURNOVER_S: usize = 64;
/// Largest body of a request.
pub(super) const BODY_BYTES_MAX: usize = 64 << 20;
/// Bodies up to this size are kept without asking; all connections together hold 32 MiB of them.
pub(super) const SMALL_BODY_BYTES: usize = 64 << 10;
/// What larger requests may take in all: their bodies, what these become when they are parsed, rewards and their answers.
/// One more may go beyond, by as much at most.
pub(super) const BODIES_BYTES_MAX: usize = 192 << 20;
/// How long a larger body waits for its memory before it is refused.
pub(super) const BODY_WAIT: Duration = Duration::from_secs(20);
/// How deep JSON may be nested: what the parser takes.
pub(super) const DEPTH_MAX: usize = 127;
/// What a parsed value takes in memory, in bytes, as an item and as an object.
pub(super) const VALUE_BYTES: usize = 32;
pub(super) const OBJECT_BYTES: usize = 640;

/// How long work on a large request waits for its turn before it is refused.
pub(super) const SLOW_WAIT: Duration = Duration::from_secs(60);
/// How often memory that was freed goes back to the system, after large bodies.
pub(super) const TRIM_INTERVAL: Duration = Duration::from_secs(2);

/// Most responses that one request may ask for.
pub(super) const CHOICES_MAX: usize = 128;
/// Most stop strings of a request, and the bytes of one.
pub(super) const STOPS_MAX: usize = 16;
pub(super) const STOP_BYTES_MAX: usize = 4 << 10;
/// Bytes of `response_format`.
pub(super) const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// Compiled schemas that are kept.
pub(super) const GRAMMARS_MAX: usize = 32;

/// Requests for rewards that may be under way.
pub(super) const REWARD_REQUESTS_MAX: usize = 64;
/// Rollouts of one request for rewards.
pub(super) const ROLLOUTS_MAX: usize = 1 << 16;
/// What a rollout takes while it is rewarded, its answer included, besides the texts that it repeats.
pub(super) const ROLLOUT_BYTES: usize = 1 << 10;
/// Memory that a request for rewards may take for them without asking.
pub(super) const REWARDS_UNASKED_BYTES: usize = 256 << 10;
/// Rollouts that are read before the first of them is over.
pub(super) const ROLLOUTS_READ_TOGETHER: usize = 64;
/// What they are read from, in bytes.
pub(super) const ROLLOUTS_READ_BYTES: usize = 16 << 20;
/// Bytes of a group's name, which each of its rollouts is answered with.
pub(super) const NAME_BYTES_MAX: usize = 4 << 10;
/// What a group's completions may take in all, each with what the group says of itself: it is looked at for each of them.
pub(super) const GROUP_WORK_BYTES_MAX: usize = 256 << 20;
/// Bytes of what an error says.
pub(super) const MESSAGE_BYTES_MAX: usize = 1000;
