//! All limits of the server. The limits of schemas and of the engine are in the engine's room.

use std::time::Duration;

/// The maximum number of connections. At the maximum, the server closes connections that wait for their client, and new
/// connections wait for a place.
pub(super) const CONNECTIONS_MAX: usize = 512;
/// The time for which a connection may wait for its client before the server closes it to free its place.
pub(super) const IDLE_SPARED: Duration = Duration::from_secs(1);
/// The same time for a connection that is receiving a request's body.
pub(super) const READING_SPARED: Duration = Duration::from_secs(5);
/// The time for the head of a request, counted from the end of the request before, so it is also the maximum idle time.
/// It exceeds the time for which clients keep unused connections (15 s is common): with equal times, the server would
/// close a connection just as a request arrives. A slow head occupies only its place.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// The sum of the pauses in which a client reads no byte of its response. Bytes that the client reads reduce the sum.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes that reduce the sum of pauses by one second.
pub(super) const WRITE_BYTES_PER_S: usize = 64 << 10;
/// The size of the slices of a long response.
pub(super) const SLICE_BYTES: usize = 64 << 10;
/// The time for which the server reads the body of a rejected request.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_secs(3);
/// The maximum bytes of a request's head.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;

/// The maximum pause between two parts of a body.
pub(super) const BODY_PAUSE: Duration = Duration::from_secs(10);
/// The time by which a body may fall behind the minimum rate.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// The minimum rate of a body, on average.
pub(super) const BODY_BYTES_PER_S: usize = 64 << 10;
/// For a larger body, the minimum rate is the received bytes divided by this number of seconds: 1 MiB/s at 64 MiB.
pub(super) const BODY_TURNOVER_S: usize = 64;
/// The maximum bytes of a request's body.
pub(super) const BODY_BYTES_MAX: usize = 64 << 20;
/// Bodies up to this size need no reservation; all connections together hold at most 32 MiB of them.
pub(super) const SMALL_BODY_BYTES: usize = 64 << 10;
/// The memory for all larger requests together: bodies, their parsed form, rewards and responses. One request at a time
/// may exceed this limit, by at most as much again.
pub(super) const BODIES_BYTES_MAX: usize = 192 << 20;
/// The time for which a larger body waits for memory before the server rejects it.
pub(super) const BODY_WAIT: Duration = Duration::from_secs(20);
/// The maximum nesting of JSON: the limit of the parser.
pub(super) const DEPTH_MAX: usize = 127;
/// Bytes of memory per parsed value, and further bytes per object.
pub(super) const VALUE_BYTES: usize = 32;
pub(super) const OBJECT_BYTES: usize = 640;

/// The time for which slow work waits for its turn before the server rejects the request.
pub(super) const SLOW_WAIT: Duration = Duration::from_secs(60);
/// The interval at which the allocator returns freed memory to the system, after large requests.
pub(super) const TRIM_INTERVAL: Duration = Duration::from_secs(2);

/// The maximum responses of one request, per prompt.
pub(super) const CHOICES_MAX: usize = 128;
/// The maximum stop strings of a request, and the maximum bytes of one stop string.
pub(super) const STOPS_MAX: usize = 16;
pub(super) const STOP_BYTES_MAX: usize = 4 << 10;
/// The maximum bytes of `response_format`.
pub(super) const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// The maximum number of cached grammars.
pub(super) const GRAMMARS_MAX: usize = 32;

/// The maximum number of reward requests in progress.
pub(super) const REWARD_REQUESTS_MAX: usize = 64;
/// The maximum rollouts of one reward request.
pub(super) const ROLLOUTS_MAX: usize = 1 << 16;
/// Bytes that a rollout takes while it is rewarded, with its part of the response, without its repeated texts.
pub(super) const ROLLOUT_BYTES: usize = 1 << 10;
/// Bytes that a reward request may take for its rollouts without a reservation.
pub(super) const REWARDS_UNASKED_BYTES: usize = 256 << 10;
/// The maximum number of rollouts graded together.
pub(super) const ROLLOUTS_READ_TOGETHER: usize = 64;
/// The maximum bytes of the texts of rollouts graded together.
pub(super) const ROLLOUTS_READ_BYTES: usize = 16 << 20;
/// The maximum bytes of a group's name: the response repeats the name for each rollout.
pub(super) const NAME_BYTES_MAX: usize = 4 << 10;
/// The maximum of a group's completions times the bytes of its shared fields: grading reads the fields per completion.
pub(super) const GROUP_WORK_BYTES_MAX: usize = 256 << 20;
/// The maximum bytes of an error's message.
pub(super) const MESSAGE_BYTES_MAX: usize = 1000;
