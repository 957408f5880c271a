//! The state that a layer, its clones and their services share.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, request};
use http_body::Body;

use super::exempt::ExemptPath;
use super::monitor::{Monitor, MonitorSettings};
use super::policy::{Level, Priority};
use super::rejection::PressureRejection;
use crate::drain::{DEFAULT_MAX, DrainLimit, Drains, Permit, expects_continue};
use crate::error_response::{Format, count_rejected};

pub(super) struct SharedState {
    pub(super) monitor: Monitor,
    pub(super) drains: Arc<Drains>,
    pub(super) requests: RequestSettings,
}

/// The settings that apply to single requests.
#[derive(Clone)]
pub(super) struct RequestSettings {
    pub(super) exempt: Vec<ExemptPath>,
    pub(super) skip_if: Option<Arc<SkipFn>>,
    pub(super) priority: Option<Arc<PriorityFn>>,
    pub(super) format: Format,
    pub(super) response: Option<Arc<ResponseFn>>,
}

type SkipFn = dyn Fn(&request::Parts) -> bool + Send + Sync;
type PriorityFn = dyn Fn(&request::Parts) -> Priority + Send + Sync;
type ResponseFn = dyn Fn(&PressureRejection) -> Response<Bytes> + Send + Sync;

impl SharedState {
    /// Returns `true` if the request is shed at `level`.
    #[cold]
    pub(super) fn sheds(&self, level: Level, request: &request::Parts) -> bool {
        let RequestSettings { exempt, skip_if, priority, .. } = &self.requests;
        if exempt.iter().any(|path| path.matches(request.uri.path()))
            || skip_if.as_ref().is_some_and(|skip_if| skip_if(request))
        {
            return false;
        }
        let priority =
            priority.as_ref().map_or_else(Priority::default, |priority| priority(request));
        level.sheds(priority.lower_if_speculative(&request.headers))
    }

    /// Returns a permit to drain the body of a request that is shed, if the client sends one
    /// without waiting for `100 Continue`.
    pub(super) fn drain_permit<B: Body>(&self, head: &request::Parts, body: &B) -> Option<Permit> {
        // Polling a body after `expect: 100-continue` would ask the client to send it (RFC 9110
        // §10.1.1).
        if body.is_end_stream() || expects_continue(head.version, &head.headers) {
            return None;
        }
        self.drains.try_acquire(DrainLimit::new(DEFAULT_MAX, body.size_hint().exact()))
    }

    /// Counts the rejection and builds its response.
    pub(super) fn reject(&self, mut rejection: PressureRejection) -> Response<Bytes> {
        let RequestSettings { format, response, .. } = &self.requests;
        rejection.format.or(*format);
        count_rejected(&self.monitor.settings.metrics, "pressure", rejection.reason(), 1);
        let response = match response {
            Some(response) => response(&rejection),
            None => rejection.to_response(),
        };
        rejection.format.finish(response)
    }

    /// Adds the fields that users may want in debug output.
    pub(super) fn fmt_fields(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        let MonitorSettings { rules, interval, memory_limit, .. } = &self.monitor.settings;
        f.field("rules", rules).field("interval", interval).field("memory_limit", memory_limit);
        self.monitor.fmt_last(&mut f);
        f.field("exempt", &self.requests.exempt).finish_non_exhaustive()
    }
}

impl fmt::Debug for SharedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_fields(f.debug_struct("SharedState"))
    }
}
