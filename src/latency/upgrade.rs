use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;

use http::Extensions;
use hyper::upgrade::OnUpgrade;

use super::in_flight::InFlight;
use super::methods::MethodId;
use super::policy::Outcome;

/// A guard that keeps an upgraded connection counted as open in the metrics.
///
/// No layer sees an upgraded connection, because the server hands the connection to the task that
/// awaits `hyper::upgrade::on`. [`LatencyLayer`](super::LatencyLayer) therefore inserts a guard
/// into the extensions of each request that asks for an upgrade: an HTTP/1 request with an
/// `upgrade` header, or a CONNECT request. The connection counts as open, and its stream duration
/// runs, until the last clone of the guard is dropped.
///
/// A task that owns the whole request owns the guard with it. Any other task takes a clone:
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
/// If no clone is left when the response headers are sent, the stream ends there.
#[doc(alias = "websocket")]
#[derive(Clone)]
pub struct UpgradeGuard(Arc<Connection>);

/// A reference to an [`UpgradeGuard`] that does not keep the connection open.
pub(super) struct WeakGuard(Weak<Connection>);

struct Connection {
    /// The request in flight, once its connection was upgraded.
    upgraded: OnceLock<InFlight>,
    failed: AtomicBool,
    /// The guard of an outer latency layer, which has to live as long.
    outer: Option<UpgradeGuard>,
}

impl UpgradeGuard {
    /// Inserts a guard into the extensions of a request that asks for an upgrade.
    #[inline]
    pub(super) fn insert(method: MethodId, extensions: &mut Extensions) -> Option<WeakGuard> {
        // hyper inserts `OnUpgrade` into each request whose connection it can upgrade.
        if method != MethodId::CONNECT && extensions.get::<OnUpgrade>().is_none() {
            return None;
        }
        let (upgraded, failed) = (OnceLock::new(), AtomicBool::new(false));
        let connection = Arc::new(Connection { upgraded, failed, outer: extensions.remove() });
        let weak = WeakGuard(Arc::downgrade(&connection));
        extensions.insert(Self(connection));
        Some(weak)
    }

    /// Marks the upgraded connection as failed.
    ///
    /// The stream is then recorded with the outcome `body_error` instead of `ok` when the last
    /// clone of the guard is dropped.
    pub fn fail(&self) {
        self.0.failed.store(true, Ordering::Relaxed);
        if let Some(outer) = &self.0.outer {
            outer.fail();
        }
    }
}

impl WeakGuard {
    /// Keeps an upgraded connection in flight until the last guard is dropped.
    pub(super) fn hold(&self, upgraded: InFlight) {
        let Some(connection) = self.0.upgrade() else { return upgraded.end(Outcome::Ok) };
        if let Err(upgraded) = connection.upgraded.set(upgraded) {
            // A clone of the request was sent too, with the same guard. Only one can be followed.
            upgraded.end(Outcome::Ok);
        }
    }
}

impl Drop for Connection {
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
