use std::fmt;
use std::sync::{Arc, Once};

use bytes::Bytes;
use http::{Response, request};

use super::limits::Limits;
use super::rejection::{LimitRejection, Reason};
use crate::drain::Drains;
use crate::error_response::{Format, count_rejected};
use crate::metrics::Metrics;

/// The state of a layer, shared by all its services.
#[derive(Clone)]
pub(super) struct LimitState {
    pub(super) limits: Limits,
    /// The first override that applies to a request replaces `limits`.
    pub(super) overrides: Vec<Override>,
    pub(super) drains: Arc<Drains>,
    pub(super) format: Format,
    pub(super) respond: Option<Arc<Respond>>,
    metrics: Metrics,
    registered: Arc<Once>,
}

/// Limits for the requests that match a predicate.
#[derive(Clone)]
pub(super) struct Override {
    pub(super) applies: Arc<Predicate>,
    pub(super) limits: Limits,
}

pub(super) type Predicate = dyn Fn(&request::Parts) -> bool + Send + Sync;
pub(super) type Respond = dyn Fn(&LimitRejection) -> Response<Bytes> + Send + Sync;

impl LimitState {
    pub(super) fn new() -> Self {
        let metrics = Metrics::default();
        Self {
            limits: Limits::default(),
            overrides: Vec::new(),
            drains: Drains::new(LAYER, metrics.clone()),
            format: Format::default(),
            respond: None,
            metrics,
            registered: Arc::new(Once::new()),
        }
    }

    pub(super) fn set_metrics(&mut self, metrics: Metrics) {
        self.drains = Drains::new(LAYER, metrics.clone());
        self.metrics = metrics;
        self.registered = Arc::new(Once::new());
    }

    /// Returns the limits that apply to a request.
    pub(super) fn limits_for(&self, head: &request::Parts) -> &Limits {
        let found = self.overrides.iter().find(|it| (it.applies)(head));
        found.map_or(&self.limits, |it| &it.limits)
    }

    /// Records a rejection in the metrics and returns its response.
    pub(super) fn reject(&self, mut rejection: LimitRejection) -> Response<Bytes> {
        rejection.set_default_format(self.format);
        self.record(&rejection);
        let response = match &self.respond {
            Some(respond) => respond(&rejection),
            None => rejection.to_response(),
        };
        rejection.finish(response)
    }

    /// Records a rejection in the metrics.
    pub(super) fn record(&self, rejection: &LimitRejection) {
        count_rejected(&self.metrics, LAYER, rejection.reason().as_str(), 1);
    }

    /// Registers the counters of all reasons at 0, once.
    // Called with the first request: the application may install its recorder after the layer is
    // built.
    pub(super) fn register_metrics(&self) {
        self.registered.call_once(|| {
            for reason in Reason::ALL {
                count_rejected(&self.metrics, LAYER, reason.as_str(), 0);
            }
        });
    }
}

impl fmt::Debug for LimitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitState").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The value of the metrics' label `layer`.
const LAYER: &str = "limit";
