use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::policy::Outcome;
use super::watch::InFlight;

/// A handle that keeps an upgraded connection open in the metrics.
///
/// No layer sees an upgraded connection: the server hands it to whoever has asked for it, such as
/// the task behind `hyper::upgrade::on`. So [`LatencyLayer`](super::LatencyLayer) puts this handle
/// into the extensions of each request that asks for an upgrade (an `upgrade` header, or the
/// method CONNECT). The upgraded connection counts as open, and its lifetime goes on, while a
/// clone of the handle lives. A task that keeps the whole request keeps the handle with it; any
/// other takes a clone:
///
/// ```
/// use axum::Extension;
/// use axum::extract::Request;
/// use axum::response::Response;
/// use tower_kit::latency::UpgradeGuard;
///
/// async fn handler(guard: Option<Extension<UpgradeGuard>>, request: Request) -> Response {
///     tokio::spawn(async move {
///         let _guard = guard;
///         // let upgraded = hyper::upgrade::on(request).await; ..
///     });
///     # drop(request);
///     // A response with the status 101 ..
///     # Response::default()
/// }
/// # drop(handler);
/// ```
///
/// Where no clone is left when the response is given to the server, the lifetime ends there.
#[derive(Clone)]
pub struct UpgradeGuard(Arc<Cell>);

pub(super) struct Cell {
    upgraded: OnceLock<InFlight>,
    failed: AtomicBool,
    /// The handle of a layer outside, which has to live as long.
    outer: Option<UpgradeGuard>,
}

impl UpgradeGuard {
    pub(super) fn new(outer: Option<Self>) -> Self {
        let (upgraded, failed) = (OnceLock::new(), AtomicBool::new(false));
        Self(Arc::new(Cell { upgraded, failed, outer }))
    }

    /// Records the outcome `body_error`, instead of `ok`, when the last clone is dropped.
    pub fn fail(&self) {
        self.0.failed.store(true, Ordering::Relaxed);
        if let Some(outer) = &self.0.outer {
            outer.fail();
        }
    }

    pub(super) fn cell(&self) -> &Arc<Cell> {
        &self.0
    }
}

impl Cell {
    /// Keeps the upgraded connection open until the last handle is dropped.
    pub(super) fn keep(&self, upgraded: InFlight) {
        if let Err(upgraded) = self.upgraded.set(upgraded) {
            // Two requests with the same extensions: this one is not followed.
            upgraded.end(Outcome::Ok);
        }
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let Some(upgraded) = self.upgraded.take() else { return };
        upgraded.end(if *self.failed.get_mut() {
            Outcome::BodyError
        } else if thread::panicking() {
            Outcome::Panic
        } else {
            Outcome::Ok
        });
    }
}

impl fmt::Debug for UpgradeGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.0.upgraded.get().is_some();
        f.debug_struct("UpgradeGuard").field("open", &open).finish_non_exhaustive()
    }
}
