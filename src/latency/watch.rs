use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Buf;
use http::Response;
use http_body::{Body, Frame};
use metrics::Gauge;

use super::body::ResponseBody;
use super::layer::Shared;
use super::policy::{self, Outcome, Rest, Route};
use super::series::{RouteLabel, Series};
use crate::respond::HandOver;

/// Watches a request from the call to its end; does nothing for one that is skipped.
#[derive(Debug)]
pub struct Watch(Option<Watched>);

/// A request in flight. It is recorded when this is dropped, wherever that is.
#[derive(Debug)]
pub(super) struct Watched {
    shared: Arc<Shared>,
    /// The handle that was incremented, so that the same one is decremented.
    in_flight: Gauge,
    started: Instant,
    first_byte: Option<Duration>,
    route: RouteLabel,
    /// Its outcome is what it means to be dropped now.
    series: Series,
    request_size: Option<u64>,
    sent: u64,
    rest: Rest,
    /// The service or its body is running. If this is dropped so, it has panicked.
    running: bool,
}

impl Watch {
    pub(super) fn skipped() -> Self {
        Self(None)
    }

    pub(super) fn start(
        shared: Arc<Shared>,
        route: RouteLabel,
        series: Series,
        request_size: Option<u64>,
    ) -> Self {
        let started = clock();
        let in_flight = shared.registry.in_flight(series, started).handle.clone();
        in_flight.increment(1.0);
        Self(Some(Watched {
            shared,
            in_flight,
            started,
            first_byte: None,
            route,
            series,
            request_size,
            sent: 0,
            rest: Rest::Nothing,
            running: false,
        }))
    }

    /// The service begins to run, or has run.
    pub(super) fn running(&mut self, begins: bool) {
        if let Some(watched) = &mut self.0 {
            watched.running = begins;
        }
    }
}

impl<B, E> HandOver<B, E> for Watch
where
    B: Body,
    E: 'static,
{
    type Body = ResponseBody<B>;

    #[inline]
    fn polling(&mut self, begins: bool) {
        self.running(begins);
    }

    fn hand_over(
        self,
        answer: Result<Response<B>, E>,
        _: &mut Context<'_>,
    ) -> Result<Response<ResponseBody<B>>, E> {
        let watched = match (self.0, &answer) {
            (Some(watched), Ok(response)) => watched.after_head(response),
            (Some(watched), Err(error)) => {
                let timeout = policy::is_timeout(error);
                watched.end(if timeout { Outcome::Timeout } else { Outcome::ServiceError });
                None
            }
            (None, _) => None,
        };
        answer.map(|response| response.map(|body| ResponseBody::new(body, watched)))
    }
}

impl Watched {
    /// `None` if the request ends with the head.
    fn after_head<B: Body>(mut self, response: &Response<B>) -> Option<Self> {
        if self.shared.settings.times_first_byte() {
            self.first_byte = Some(clock().saturating_duration_since(self.started));
        }
        if let Some(route) = response.extensions().get::<Route>() {
            self.route = self.shared.registry.route(route.as_str());
        }
        let (ended, length) = (response.body().is_end_stream(), response.body().size_hint());
        let status = response.status();
        self.series.status = Some(status);
        self.rest = policy::rest(self.series.method, status, response.headers(), ended, &length);
        if let Some(kind) = self.rest.stream_kind() {
            self.shared.registry.count_stream(&self.route, self.series, kind);
        }
        match self.rest {
            Rest::Nothing | Rest::Upgrade => {
                self.end(Outcome::Ok);
                None
            }
            Rest::EventStream | Rest::Body { .. } => {
                self.series.outcome = Outcome::Disconnect;
                Some(self)
            }
        }
    }

    /// The body begins to be polled.
    pub(super) fn before_poll(&mut self) {
        self.running = true;
    }

    /// How the request ended, if it ended with what was polled; `ended` is what the body says of
    /// itself since.
    #[inline]
    pub(super) fn after_poll<D: Buf, E: 'static>(
        &mut self,
        polled: &Poll<Option<Result<Frame<D>, E>>>,
        ended: bool,
    ) -> Option<Outcome> {
        self.running = false;
        match polled {
            Poll::Pending => None,
            Poll::Ready(None) => Some(Outcome::Ok),
            Poll::Ready(Some(Err(error))) => {
                let timeout = policy::is_timeout(error);
                Some(if timeout { Outcome::Timeout } else { Outcome::BodyError })
            }
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                self.sent = self.sent.saturating_add(data);
                let complete = ended || frame.is_trailers() || self.rest.is_complete(self.sent);
                complete.then_some(Outcome::Ok)
            }
        }
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.series.outcome = outcome;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let now = clock();
        self.in_flight.decrement(1.0);
        if self.running {
            self.series.outcome = Outcome::Panic;
        }
        if self.rest.stream_kind().is_some() {
            return;
        }
        let handles = self.shared.registry.handles(&self.route, self.series, now);
        let handles = &handles.handle;
        handles.overflow.increment(1);
        if let Some(first_byte) = self.first_byte {
            handles.first_byte.record(first_byte);
        }
        let until_first_byte = self.first_byte.filter(|_| self.shared.settings.until_first_byte);
        let until_now = || now.saturating_duration_since(self.started);
        handles.duration.record(until_first_byte.unwrap_or_else(until_now));
        if let Some(size) = self.request_size {
            handles.request_size.record(bytes_f64(size));
        }
        if self.series.status.is_some() {
            handles.response_size.record(bytes_f64(self.sent));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a size of 8 PiB may be off by one byte")]
fn bytes_f64(size: u64) -> f64 {
    size as f64
}

#[expect(clippy::disallowed_methods, reason = "the edge of this room, where it reads the clock")]
fn clock() -> Instant {
    Instant::now()
}
