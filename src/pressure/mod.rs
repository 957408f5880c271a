//! Watches memory: tells handlers when it is short, and sheds requests before the kernel kills.
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_kit::PressureLayer;
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # async fn handler(_: Request<Full<Bytes>>)
//! #     -> Result<Response<Full<Bytes>>, std::convert::Infallible> { Ok(Response::default()) }
//!
//! let service = ServiceBuilder::new().layer(PressureLayer::new()).service_fn(handler);
//! # let _ = tower::ServiceExt::oneshot(service, Request::new(Full::default()));
//! ```
//!
//! With a handler that gives memory back, and requests that can wait:
//!
//! ```
//! # #[cfg(not(feature = "cache"))]
//! # fn main() {}
//! # #[cfg(feature = "cache")]
//! # fn main() -> Result<(), tower_kit::pressure::InvalidThresholds> {
//! use tower_kit::MIB;
//! use tower_kit::cache::{CacheLayer, MemoryStore};
//! use tower_kit::pressure::{Level, PressureLayer, Priority};
//!
//! let store = MemoryStore::new(256 * MIB);
//! let cache = CacheLayer::new(store.clone());
//! let pressure = PressureLayer::new()
//!     .thresholds(0.70, 0.85)?
//!     .on_pressure(move |event| match event.level() {
//!         Level::Normal => {}
//!         Level::High => store.shrink_to(64 * MIB),
//!         _ => store.shrink_to(0),
//!     })
//!     .skip_paths(["/checkout"])
//!     .priority(|request| match request.uri.path() {
//!         "/reports" => Priority::Low,
//!         _ => Priority::Normal,
//!     });
//! # drop((cache, pressure));
//! # Ok(())
//! # }
//! ```
//!
//! # What counts
//!
//! The reading that is nearest to its limit counts, of
//!
//! - each control group that the process is in, from its own up, and that has a limit:
//!   `memory.current` of `memory.max` or `memory.high`, whichever is lower (version 2), or
//!   `memory.usage_in_bytes` of `hierarchical_memory_limit` (version 1). A limit above the machine's
//!   memory counts as the machine's memory. Other processes in the group count too. What the kernel
//!   takes back before it kills does not: pages of files (`inactive_file` and `active_file`) and
//!   reclaimable slab (`slab_reclaimable`), where the kernel remembers names of files, absent ones
//!   included. `shmem` and tmpfs count. This reads lower than `docker stats` and Kubernetes, which
//!   leave `active_file` and slab in;
//! - the process on its machine: `RssAnon` and `RssShmem` of `MemTotal` without the pages reserved for
//!   `hugetlbfs`, or of [`PressureLayer::limit`] where that is lower. Pages of files are left out here
//!   too. Memory of other processes is not seen.
//!
//! Version 1 does not tell which part of a group's kernel memory is reclaimable slab. The smaller of
//! `memory.kmem.usage_in_bytes` and the machine's `SReclaimable` is subtracted. So a group of version 1
//! whose kernel memory is of another kind (buffers of pipes, page tables) reads lower than it is.
//!
//! Where the usage of a group may not be read, the process itself is compared with the group's limit.
//! Limits above the root of a cgroup namespace are not visible. Each reading sees a limit that has
//! changed, a group that the process was moved to, and a memory controller that was turned on.
//! [`PressureLayer::reading`] returns what was found.
//!
//! Neither swap nor limits of addresses (`ulimit -v`) are looked at. Free swap does not count as free
//! memory, since a service that swaps is slow already.
//!
//! On other systems than Linux there are no control groups: it is the resident set of the process, as
//! the crate `sysinfo` tells it, of the machine's memory or of [`PressureLayer::limit`]. A container's
//! limit is not seen there, unless it is the virtual machine that the container is in.
//!
//! [`PressureLayer::source`] replaces all of that.
//!
//! # When it is read
//!
//! By the request that finds the last reading to be older than the interval: one of them, while the
//! others go on. It needs no task, so none can be forgotten. While no requests come, nobody reads:
//! handlers are not told, and the gauge says what was last. [`PressureLayer::watch`] is a future that
//! reads then, for those who want that; the two share the interval.
//!
//! A reading takes 10 to 30 µs, of files that are open already, and can take more where a machine with
//! many cores first has to add up the statistics of its groups. A reading that fails counts
//! on `process_memory_errors_total{operation="read"}` and changes nothing, except that shedding which
//! ends meanwhile does not begin again before there is a reading.
//!
//! # What happens
//!
//! | from | level | handlers | requests that are shed |
//! |---|---|---|---|
//! | 80% | [`Level::High`] | told once | of [`Priority::Low`]: by default those with `sec-purpose: prefetch` |
//! | 90% | [`Level::Critical`] | told, and told again after each period of shedding | all but those of [exempt paths](#exempt-paths) and of [`skip_if`](PressureLayer::skip_if) |
//!
//! A level is left 5 points below its threshold, so that it does not come and go with memory that is
//! near it. Handlers are told of that too: [`Level::Normal`] says that there is room again.
//!
//! Browsers mark what they fetch ahead of a navigation with [`sec-purpose`], such as `prefetch` or
//! `prefetch;prerender`. They make the request again when the user follows the link, so that refusing it
//! costs nobody anything.
//!
//! [`sec-purpose`]: https://fetch.spec.whatwg.org/#sec-purpose-header
//!
//! [`PressureLayer::level`] tells a handler the level, such as that of a readiness endpoint.
//!
//! **Shedding ends.** What a process has freed may stay with its allocator, and so with the process, for
//! ever: shedding that waits for it would never end. So requests are shed for ten seconds, and then let
//! in for ten seconds, and so on in turn for as long as the level lasts. A period of shedding begins at
//! once where the level rises, or where memory grows by 2 points above what it was when requests were
//! let in. It ends at once where the level falls below what sheds a request.
//!
//! What is freed reaches the system sooner with
//!
//! - glibc: `MALLOC_ARENA_MAX=2`, so that fewer arenas keep some, and `MALLOC_TRIM_THRESHOLD_=131072`,
//!   which keeps that threshold from growing with what is freed. Holes below the top of an arena are
//!   given back by `malloc_trim` alone: a handler of yours may call it, this crate has no unsafe code;
//! - jemalloc: `background_thread:true,dirty_decay_ms:1000` in its configuration
//!   (`_RJEM_MALLOC_CONF` for `tikv-jemallocator`). Without its thread, memory decays only as other
//!   memory is allocated and freed;
//! - mimalloc: `MIMALLOC_PURGE_DELAY=0`.
//!
//! # Answers
//!
//! 503 Service Unavailable with `retry-after: 10`, a whole period of shedding: so clients return as
//! spread out as they came, and when they are let in. `cache-control: no-store` keeps it from those who
//! cache errors. The body is a line of `text/plain`, or `application/problem+json` (RFC 9457) where
//! `accept` names JSON or [`PressureLayer::problem_json`] says so; [`PressureLayer::response`] replaces
//! it. A call of gRPC gets 200 with `grpc-status: 14` (`UNAVAILABLE`) and `grpc-message` instead, and
//! `grpc-retry-pushback-ms`: of a 503 that has a body tonic's clients make `INTERNAL`, which is no reason
//! to return. None of them says that it is for want of memory.
//!
//! The rest of the request's body is read and discarded after the response, so that clients which send
//! all of it first see the 503, and the connection is kept: a new one takes more memory. That is up to
//! 8 MiB, for at most 5 seconds, and of at most 256 requests at a time. Where the layer knows from the
//! start that more is left, the response on HTTP/1 carries `connection: close`.
//!
//! # What is measured
//!
//! | name | kind | |
//! |---|---|---|
//! | `process_memory_usage_ratio` | gauge | the last reading, as a part of its limit |
//! | `http_requests_rejected_total{layer="pressure", reason}` | counter | `reason` is `memory_high` or `memory_critical` |
//! | `http_request_drains_total{layer="pressure", outcome}` | counter | how discarding a body ended: `complete`, `too_large`, `timed_out`, `failed`, or `skipped` (256 others) |
//! | `process_memory_errors_total{operation}` | counter | `read`, or `handler` for one that panicked |
//!
//! # Defaults
//!
//! | what | default | why |
//! |---|---|---|
//! | high | 80% | leaves time to give something back before requests are lost |
//! | critical | 90% | what is left is for what is under way |
//! | interval | 1 s | memory can fill up in seconds, and a reading is cheap; once a minute, as guides for other languages have it, comes too late |
//! | shedding | 10 s, then 10 s without | long enough for open requests to end, short enough for clients to wait |
//! | exempt | the [usual probes](#exempt-paths), `/metrics` | a process that is restarted for want of an answer loses all that is under way; one that is taken out leaves more to the others |
//! | priority | [`Priority::Normal`]; [`Priority::Low`] for prefetches | the layer cannot know which other requests are worth less |
//! | limit | the system's | |
//!
//! # Exempt paths
//!
//! Requests for these paths are never shed, with or without a `/` at the end.
//! [`skip_paths`](PressureLayer::skip_paths) adds to them, and
//! [`skip_only_paths`](PressureLayer::skip_only_paths) replaces them.
//! [`skip_if`](PressureLayer::skip_if) decides by the whole head of a request.
//!
//! | who asks | paths |
//! |---|---|
//! | Kubernetes and load balancers | `/health`, `/healthz`, `/livez`, `/readyz`, `/startupz`, `/live`, `/ready`, `/liveness`, `/readiness`, `/startup`, `/healthcheck`, `/health_check`, `/health-check`, `/_health`, `/_healthz`, `/api/health`, `/api/healthz`, `/ping` |
//! | Spring Boot | `/actuator/health` and all below it |
//! | Quarkus | `/q/health` and all below it |
//! | .NET, Micronaut, MicroProfile | `/health/live`, `/health/liveness`, `/health/ready`, `/health/readiness`, `/health/started`, `/health/startup`, `/alive` |
//! | Rails | `/up` |
//! | Prometheus and what follows it | `/-/healthy`, `/-/ready`, `/-/live` |
//! | gRPC | all calls of `grpc.health.v1.Health` |
//! | scrapes of metrics | `/metrics`, `/-/metrics`, `/q/metrics`, `/actuator/prometheus` |
//!
//! # Where it goes
//!
//! Inside of `latency`, outside of all else: what is shed should cost next to nothing. It judges a
//! request when it is called, so one that waits for the inner service to be ready
//! (`concurrency_limit`) is judged after that. Requests that were let in are never interrupted.
//!
//! # What it never does
//!
//! It starts no task and no thread, and frees nothing by itself. It takes no lock and allocates nothing
//! for a request that is let in, unless that one is to read memory; what it costs is some 50 ns, half
//! of them for a look at the clock.

#[cfg(target_os = "linux")]
mod cgroup;
mod exempt;
mod layer;
#[cfg(target_os = "linux")]
mod linux;
mod monitor;
mod policy;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;
mod reading;
mod refusal;
mod service;

pub use crate::body::ResponseBody;
pub use layer::PressureLayer;
pub use policy::{InvalidThresholds, Level, Priority};
pub use reading::{Event, Reading};
pub use refusal::Refusal;
pub use service::{Admitted, Pressure};
