use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Buf;
use http::{Extensions, Response, response};
use http_body::{Body, Frame};
use hyper::upgrade::OnUpgrade;

use super::body::ResponseBody;
use super::errors;
use super::methods::MethodId;
use super::policy::{self, BodyKind, GrpcStatus, Outcome, Progress, Route, StreamKind, UNDECLARED};
use super::series::{RouteLabel, Series};
use super::shared::Shared;
use super::upgrade::{Cell, UpgradeGuard};
use crate::clock;

/// A request in flight. Dropping it records the request, wherever that happens.
///
/// It moves a few times with its request. Up to 128 bytes are moved without a call of `memcpy`.
#[derive(Debug)]
pub(super) struct InFlight {
    shared: Arc<Shared>,
    started: Instant,
    first_byte: Option<Duration>,
    route: RouteLabel,
    /// With the outcome to record if this is dropped now.
    series: Series,
    /// [`UNDECLARED`] where the request has no size.
    request_size: u64,
    sent: u64,
    /// The declared length of the response, or [`UNDECLARED`].
    declared: u64,
    /// The response is gRPC, and its trailers have a status.
    grpc: bool,
    /// The body has more than the head declares. Its first size hint says so: later hints of
    /// bodies in the field are not always what is left.
    overlong: bool,
    /// A body that has reached its declared length is polled once more.
    polled_to_end: bool,
    /// The service or its body is running. If this is dropped meanwhile, one of them has
    /// panicked: `thread::panicking` would miss a panic that an outer layer has caught.
    running: bool,
    guard: Option<Weak<Cell>>,
}

type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// What follows the head of a response.
enum AfterHead {
    End(Outcome),
    Upgrade,
    Body,
}

impl InFlight {
    #[inline]
    pub(super) fn start(
        shared: Arc<Shared>,
        route: RouteLabel,
        series: Series,
        request_size: Option<u64>,
        polled_to_end: bool,
    ) -> Self {
        let started = clock::now();
        shared.registry.enter(&series, started);
        Self {
            shared,
            started,
            first_byte: None,
            route,
            series,
            request_size: request_size.unwrap_or(UNDECLARED),
            sent: 0,
            declared: UNDECLARED,
            grpc: false,
            overlong: false,
            polled_to_end,
            running: false,
            guard: None,
        }
    }

    /// Gives a request that asks for an upgrade the handle that keeps the upgrade open.
    #[inline]
    pub(super) fn offer_guard(&mut self, extensions: &mut Extensions) {
        // hyper's sign of a request that can be upgraded.
        if self.series.method == MethodId::CONNECT || extensions.get::<OnUpgrade>().is_some() {
            let guard = UpgradeGuard::new(extensions.remove());
            self.guard = Some(Arc::downgrade(guard.cell()));
            extensions.insert(guard);
        }
    }

    /// Notes that the service or its body begins to run, or has run.
    #[inline]
    pub(super) fn set_running(&mut self, is_running: bool) {
        self.running = is_running;
    }

    /// Follows the response from its head on.
    #[inline]
    pub(super) fn respond<B: Body>(
        mut self,
        mut response: Response<B>,
    ) -> Response<ResponseBody<B>> {
        if self.shared.settings.times_first_byte() {
            self.first_byte = Some(clock::now().saturating_duration_since(self.started));
        }
        if let Some(route) = response.extensions().get::<Route>() {
            self.route = self.shared.registry.route(route.as_str());
        }
        let mut declared = None;
        if self.shared.settings.reads_responses {
            let (head, body) = response.into_parts();
            declared = self.read_head(&head);
            response = Response::from_parts(head, body);
        }
        match self.after_head(&response, declared) {
            AfterHead::Body => {
                return response.map(|body| ResponseBody::new(body, Some(self)));
            }
            AfterHead::End(outcome) => self.end(outcome),
            AfterHead::Upgrade => match self.guard.take().and_then(|guard| guard.upgrade()) {
                Some(cell) => cell.keep(self),
                None => self.end(Outcome::Ok),
            },
        }
        response.map(|body| ResponseBody::new(body, None))
    }

    /// Records a request that got an error instead of a response.
    pub(super) fn fail<E: 'static>(self, error: &E) {
        let timeout = errors::is_timeout(error);
        self.end(if timeout { Outcome::Timeout } else { Outcome::ServiceError });
    }

    /// Asks the user's functions about the head of the response. Returns the kind of stream that
    /// they declare it to be.
    #[cold]
    fn read_head(&mut self, head: &response::Parts) -> Option<StreamKind> {
        // A panic in one of them is the request's.
        self.running = true;
        self.series.custom = self.series.custom.or(self.shared.response_labels(head));
        let declared = self.shared.stream_kind(self.route.as_str(), head);
        self.running = false;
        declared
    }

    #[inline]
    fn after_head<B: Body>(
        &mut self,
        response: &Response<B>,
        declared: Option<StreamKind>,
    ) -> AfterHead {
        let (ended, length) = (response.body().is_end_stream(), response.body().size_hint());
        let (status, method) = (response.status(), self.series.method);
        self.series.status = Some(status);
        let mut kind = policy::body_kind(method, status, response.headers(), ended, &length);
        if policy::is_grpc(method, response.headers()) {
            self.grpc = true;
            self.series.grpc = GrpcStatus::of(response.headers()).unwrap_or_default();
        }
        if let (BodyKind::Body { .. }, Some(declared)) = (kind, declared) {
            kind = BodyKind::Stream(declared);
        }
        let after = match kind {
            BodyKind::Empty => AfterHead::End(Outcome::Ok),
            BodyKind::Missing => AfterHead::End(Outcome::BodyError),
            BodyKind::Upgrade => self.begin_stream(StreamKind::UPGRADE, AfterHead::Upgrade),
            BodyKind::Stream(kind) => self.begin_stream(kind, AfterHead::Body),
            BodyKind::Body { declared } => {
                self.declared = declared;
                self.overlong = length.exact().is_some_and(|length| length > declared);
                AfterHead::Body
            }
        };
        self.series.outcome = Outcome::Disconnect;
        after
    }

    #[cold]
    fn begin_stream(&mut self, kind: StreamKind, after: AfterHead) -> AfterHead {
        self.series.kind = kind;
        let series = Series { outcome: Outcome::Ok, ..self.series };
        let first_byte = self.first_byte.take();
        self.shared.registry.stream_begins(&self.route, &series, first_byte, clock::now());
        after
    }

    /// Returns how the request ended, if it ended with what was polled. `body` is the body
    /// behind it.
    #[inline]
    pub(super) fn after_poll<B>(&mut self, polled: &Polled<B>, body: &B) -> Option<Outcome>
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
                self.after_frame(frame.is_trailers() || body.is_end_stream())
            }
        }
    }

    #[inline]
    fn after_frame(&mut self, ended: bool) -> Option<Outcome> {
        match Progress::of(self.sent, self.declared) {
            Progress::Long => Some(Outcome::BodyError),
            _ if ended => Some(self.at_end()),
            Progress::Exact if self.overlong => Some(Outcome::BodyError),
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
        match Progress::of(self.sent, self.declared) {
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
        let now = clock::now();
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
        if self.request_size != UNDECLARED {
            handles.request_size.record(bytes_f64(self.request_size));
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
