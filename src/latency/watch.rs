use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Buf;
use http::header::UPGRADE;
use http::{Request, Response};
use http_body::{Body, Frame};

use super::body::ResponseBody;
use super::errors;
use super::layer::Shared;
use super::methods::MethodId;
use super::policy::{self, BodyKind, GrpcStatus, Outcome, Progress, Route, StreamKind};
use super::series::{RouteLabel, Series};
use super::upgrade::{Cell, UpgradeGuard};
use crate::respond::HandOver;

/// The state of a request from the call to the head of its response; empty for a request that is
/// skipped.
#[derive(Debug)]
pub struct Watch(Option<InFlight>);

/// A request in flight. Dropping it records the request, wherever that happens.
#[derive(Debug)]
pub(super) struct InFlight {
    shared: Arc<Shared>,
    started: Instant,
    first_byte: Option<Duration>,
    route: RouteLabel,
    /// With the outcome to record if this is dropped now.
    series: Series,
    request_size: Option<u64>,
    sent: u64,
    kind: BodyKind,
    /// The response is gRPC, and its trailers have a status.
    grpc: bool,
    /// A body that has reached its declared length is polled once more.
    polled_to_end: bool,
    /// The service or its body is running. If this is dropped meanwhile, one of them has
    /// panicked: `thread::panicking` would miss a panic that an outer layer has caught.
    running: bool,
    guard: Option<Weak<Cell>>,
}

type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

impl Watch {
    pub(super) fn skipped() -> Self {
        Self(None)
    }

    pub(super) fn start(
        shared: Arc<Shared>,
        route: RouteLabel,
        series: Series,
        request_size: Option<u64>,
        polled_to_end: bool,
    ) -> Self {
        let started = clock();
        shared.registry.enter(&series, started);
        Self(Some(InFlight {
            shared,
            started,
            first_byte: None,
            route,
            series,
            request_size,
            sent: 0,
            kind: BodyKind::Empty,
            grpc: false,
            polled_to_end,
            running: false,
            guard: None,
        }))
    }

    /// Gives a request that asks for an upgrade the handle that keeps the upgrade open.
    #[inline]
    pub(super) fn offer_guard<B>(&mut self, request: &mut Request<B>) {
        let Some(in_flight) = &mut self.0 else { return };
        if in_flight.series.method == MethodId::CONNECT || request.headers().contains_key(UPGRADE) {
            let guard = UpgradeGuard::new();
            in_flight.guard = Some(Arc::downgrade(guard.cell()));
            request.extensions_mut().insert(guard);
        }
    }

    /// Notes that the service begins to run, or has run.
    pub(super) fn running(&mut self, begins: bool) {
        if let Some(in_flight) = &mut self.0 {
            in_flight.running = begins;
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
        let Some(in_flight) = self.0 else {
            return answer.map(|response| response.map(|body| ResponseBody::new(body, None)));
        };
        match answer {
            Ok(response) => {
                let (in_flight, response) = in_flight.after_head(response);
                Ok(response.map(|body| ResponseBody::new(body, in_flight)))
            }
            Err(error) => {
                let timeout = errors::is_timeout(&error);
                in_flight.end(if timeout { Outcome::Timeout } else { Outcome::ServiceError });
                Err(error)
            }
        }
    }
}

impl InFlight {
    /// Reads the head of the response. Returns `None` where the request ends with it.
    fn after_head<B: Body>(mut self, mut response: Response<B>) -> (Option<Self>, Response<B>) {
        if self.shared.settings.times_first_byte() {
            self.first_byte = Some(clock().saturating_duration_since(self.started));
        }
        if let Some(route) = response.extensions().get::<Route>() {
            self.route = self.shared.registry.route(route.as_str());
        }
        let (ended, length) = (response.body().is_end_stream(), response.body().size_hint());
        let status = response.status();
        let method = self.series.method;
        self.series.status = Some(status);
        self.kind = policy::body_kind(method, status, response.headers(), ended, &length);
        if policy::is_grpc(method, response.headers()) {
            self.grpc = true;
            self.series.grpc = GrpcStatus::of(response.headers()).unwrap_or_default();
        }
        if self.shared.settings.reads_responses() {
            let (head, body) = response.into_parts();
            // A panic in one of the user's functions is the request's.
            self.running = true;
            let custom = self.shared.response_labels(&head);
            self.series.custom = self.series.custom.or(custom);
            if let BodyKind::Body { .. } = self.kind {
                let kind = self.shared.stream_kind(self.route.as_str(), &head);
                self.kind = kind.map_or(self.kind, BodyKind::Stream);
            }
            self.running = false;
            response = Response::from_parts(head, body);
        }
        (self.after_kind(), response)
    }

    fn after_kind(mut self) -> Option<Self> {
        self.series.kind = self.kind.stream_kind();
        if self.series.kind != StreamKind::NONE {
            let series = Series { outcome: Outcome::Ok, ..self.series };
            let first_byte = self.first_byte.take();
            self.shared.registry.stream_begins(&self.route, &series, first_byte, clock());
        }
        match self.kind {
            BodyKind::Empty => self.end(Outcome::Ok),
            BodyKind::Missing => self.end(Outcome::BodyError),
            BodyKind::Upgrade => match self.guard.take().and_then(|guard| guard.upgrade()) {
                Some(cell) => cell.keep(self),
                None => self.end(Outcome::Ok),
            },
            BodyKind::Stream(_) | BodyKind::Body { .. } => {
                self.series.outcome = Outcome::Disconnect;
                return Some(self);
            }
        }
        None
    }

    /// Notes that the body begins to be polled.
    pub(super) fn before_poll(&mut self) {
        self.running = true;
    }

    /// Returns how the request ended, if it ended with what was polled. `body` is the body
    /// behind it.
    #[inline]
    pub(super) fn after_poll<B>(
        &mut self,
        polled: &Polled<B>,
        body: &B,
    ) -> Option<Outcome>
    where
        B: Body,
        B::Error: 'static,
    {
        self.running = false;
        match polled {
            Poll::Pending => None,
            Poll::Ready(None) => Some(self.at_end()),
            Poll::Ready(Some(Err(error))) => {
                let timeout = errors::is_timeout(error);
                Some(if timeout { Outcome::Timeout } else { Outcome::BodyError })
            }
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                self.sent = self.sent.saturating_add(data);
                if let Some(trailers) = frame.trailers_ref().filter(|_| self.grpc) {
                    self.series.grpc = GrpcStatus::of(trailers).unwrap_or(self.series.grpc);
                }
                self.after_frame(frame.is_trailers() || body.is_end_stream(), body)
            }
        }
    }

    #[inline]
    fn after_frame<B: Body>(&mut self, ended: bool, body: &B) -> Option<Outcome> {
        let progress = self.kind.progress(self.sent);
        match progress {
            Progress::Long => Some(Outcome::BodyError),
            _ if ended => Some(self.at_end()),
            // What a body of an exact length still has will not fit.
            Progress::Exact if body.size_hint().lower() > 0 => Some(Outcome::BodyError),
            Progress::Exact if self.polled_to_end => {
                self.series.outcome = Outcome::Ok;
                None
            }
            // An HTTP/1 server drops the body here, and never asks for its end.
            Progress::Exact => Some(self.at_end()),
            Progress::Open | Progress::Short => None,
        }
    }

    /// Returns the outcome of a body that is at its end.
    fn at_end(&mut self) -> Outcome {
        match self.kind.progress(self.sent) {
            Progress::Short | Progress::Long => Outcome::BodyError,
            Progress::Exact | Progress::Open => Outcome::Ok,
        }
    }

    pub(super) fn end(mut self, outcome: Outcome) {
        self.series.outcome = outcome;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let now = clock();
        if self.running {
            self.series.outcome = Outcome::Panic;
        }
        if self.grpc && self.series.outcome == Outcome::Ok {
            self.series.grpc = self.series.grpc.or_missing();
        }
        let registry = &self.shared.registry;
        let (handles, folded) = registry.handles(&self.route, &self.series, now);
        let handles = &handles.handle;
        if folded {
            registry.overflow(now);
        }
        if self.series.kind != StreamKind::UPGRADE {
            registry.leave(&self.series, handles);
        }
        if self.series.kind != StreamKind::NONE {
            registry.stream_ends(self.series.kind, now);
        }
        handles.requests.increment(1);
        if let Some(first_byte) = self.first_byte {
            handles.first_byte.record(first_byte);
        }
        let is_stream = self.series.kind != StreamKind::NONE;
        let until_first_byte = self.shared.settings.until_first_byte && !is_stream;
        let until_first_byte = self.first_byte.filter(|_| until_first_byte);
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

#[expect(clippy::disallowed_methods, reason = "the edge of this layer, where it reads the clock")]
fn clock() -> Instant {
    Instant::now()
}
