use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Buf;
use http::{Response, response};
use http_body::{Body, Frame};

use super::methods::MethodId;
use super::policy::{self, BodyKind, GrpcStatus, Outcome, Progress, StreamKind, UNDECLARED};
use super::route::Route;
use super::series::{RouteLabel, Series};
use super::shared::{RequestRecord, Shared};
use super::timeout;
use crate::clock;

/// A request in flight, which is recorded when this value is dropped.
// The value moves with its request from the service to the body. The compiler moves up to 128
// bytes without a call of `memcpy`: mind this when adding a field.
#[derive(Debug)]
pub(super) struct InFlight {
    shared: Arc<Shared>,
    started: Instant,
    first_byte: Option<Duration>,
    route: RouteLabel,
    /// The labels, with the outcome to record if this value is dropped now.
    series: Series,
    /// The declared size of the request body, or [`UNDECLARED`].
    request_size: u64,
    /// The bytes of the response body that were handed to the server.
    sent: u64,
    /// The declared length of the response body, or [`UNDECLARED`].
    declared: u64,
    /// The response is gRPC, with its status in the trailers.
    grpc: bool,
    /// The body is longer than the headers declare, as its first size hint says.
    // Later size hints are not read: some bodies do not subtract what was read from theirs.
    overlong: bool,
    /// The server polls a body that has reached its declared length once more.
    polled_to_end: bool,
    /// The inner service or its body is running.
    // If the value is dropped in this state, the inner service or body has panicked.
    // `std::thread::panicking` would miss a panic that an outer layer has caught, and would count
    // a panic elsewhere in the task.
    running: bool,
}

type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// The event that an [`InFlight`] waits for after the headers of the response.
pub(super) enum AfterHeaders {
    End(Outcome),
    Upgrade,
    Body,
}

impl InFlight {
    #[inline]
    pub(super) fn start(shared: Arc<Shared>, request: RequestRecord) -> Self {
        let started = clock::now();
        let RequestRecord { route, series, size, polled_to_end } = request;
        shared.registry.request_started(&series, started);
        Self {
            shared,
            started,
            first_byte: None,
            route,
            series,
            request_size: size.unwrap_or(UNDECLARED),
            sent: 0,
            declared: UNDECLARED,
            grpc: false,
            overlong: false,
            polled_to_end,
            running: false,
        }
    }

    #[inline]
    pub(super) fn method(&self) -> MethodId {
        self.series.method
    }

    /// Notes that the inner service or its body starts or stops running.
    #[inline]
    pub(super) fn set_running(&mut self, running: bool) {
        self.running = running;
    }

    /// Notes the time and the route of the response headers.
    #[inline]
    pub(super) fn note_headers<B>(&mut self, response: &Response<B>) {
        if self.shared.settings.times_headers() {
            self.first_byte = Some(clock::now().saturating_duration_since(self.started));
        }
        if let Some(route) = response.extensions().get::<Route>() {
            self.route = self.shared.registry.route(route.as_str());
        }
    }

    /// Returns `true` if a callback of the user reads responses.
    #[inline]
    pub(super) fn has_callbacks(&self) -> bool {
        self.shared.settings.reads_responses
    }

    /// Records the request as failed with an error of the inner service.
    pub(super) fn fail<E: 'static>(self, error: &E) {
        let timeout = timeout::is_timeout(error);
        self.end(if timeout { Outcome::Timeout } else { Outcome::ServiceError });
    }

    /// Runs the user's callbacks on the response. Returns the kind of stream that they declare.
    #[cold]
    pub(super) fn run_callbacks(&mut self, parts: &response::Parts) -> Option<StreamKind> {
        // A panic in a callback is recorded as a panic of the request.
        self.running = true;
        self.series.custom = self.series.custom.union(self.shared.response_labels(parts));
        let declared = self.shared.stream_kind(self.route.as_str(), parts);
        self.running = false;
        declared
    }

    /// Reads the headers of the response, which the user declares to be a stream of the kind
    /// `declared`. Returns the event to wait for.
    #[inline]
    pub(super) fn read_headers<B: Body>(
        &mut self,
        response: &Response<B>,
        declared: Option<StreamKind>,
    ) -> AfterHeaders {
        let (ended, length) = (response.body().is_end_stream(), response.body().size_hint());
        let (status, method) = (response.status(), self.series.method);
        self.series.status = Some(status);
        let mut kind = policy::body_kind(method, status, response.headers(), ended, &length);
        if policy::is_grpc(method, response.headers()) {
            self.grpc = true;
            self.series.grpc = GrpcStatus::parse(response.headers()).unwrap_or_default();
        }
        if let (BodyKind::Body { .. }, Some(declared)) = (kind, declared) {
            kind = BodyKind::Stream(declared);
        }
        let after = match kind {
            BodyKind::Empty => AfterHeaders::End(Outcome::Ok),
            BodyKind::Missing => AfterHeaders::End(Outcome::BodyError),
            BodyKind::Upgrade => self.start_stream(StreamKind::UPGRADE, AfterHeaders::Upgrade),
            BodyKind::Stream(kind) => self.start_stream(kind, AfterHeaders::Body),
            BodyKind::Body { declared } => {
                self.declared = declared;
                self.overlong = length.exact().is_some_and(|length| length > declared);
                AfterHeaders::Body
            }
        };
        self.series.outcome = Outcome::Disconnect;
        after
    }

    #[cold]
    fn start_stream(&mut self, kind: StreamKind, after: AfterHeaders) -> AfterHeaders {
        self.series.kind = kind;
        let series = Series { outcome: Outcome::Ok, ..self.series };
        let first_byte = self.first_byte.take();
        self.shared.registry.stream_started(&self.route, &series, first_byte, clock::now());
        after
    }

    /// Returns the outcome of the request if it ended with this poll of `body`.
    #[inline]
    pub(super) fn after_poll<B>(&mut self, polled: &Polled<B>, body: &B) -> Option<Outcome>
    where
        B: Body,
        B::Error: 'static,
    {
        self.running = false;
        match polled {
            Poll::Pending => None,
            Poll::Ready(None) => Some(self.end_outcome()),
            Poll::Ready(Some(Err(error))) => {
                let timeout = timeout::is_timeout(error);
                Some(if timeout { Outcome::Timeout } else { Outcome::BodyError })
            }
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                self.sent = self.sent.saturating_add(data);
                if let Some(trailers) = frame.trailers_ref().filter(|_| self.grpc) {
                    self.series.grpc = GrpcStatus::parse(trailers).unwrap_or(self.series.grpc);
                }
                self.after_frame(frame.is_trailers() || body.is_end_stream())
            }
        }
    }

    #[inline]
    fn after_frame(&mut self, ended: bool) -> Option<Outcome> {
        match Progress::of(self.sent, self.declared) {
            Progress::Long => Some(Outcome::BodyError),
            _ if ended => Some(self.end_outcome()),
            Progress::Exact if self.overlong => Some(Outcome::BodyError),
            // An HTTP/2 server polls on: trailers or an error may follow, so the request stays in
            // flight. If the client leaves now, it has the whole body.
            Progress::Exact if self.polled_to_end => {
                self.series.outcome = Outcome::Ok;
                None
            }
            // An HTTP/1 server drops the body here without polling its end.
            Progress::Exact => Some(self.end_outcome()),
            Progress::Undeclared | Progress::Short => None,
        }
    }

    /// Returns the outcome of a body that has ended without an error.
    fn end_outcome(&self) -> Outcome {
        match Progress::of(self.sent, self.declared) {
            Progress::Short | Progress::Long => Outcome::BodyError,
            Progress::Exact | Progress::Undeclared => Outcome::Ok,
        }
    }

    /// Records the request with this outcome.
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
        let (handles, overflowed) = registry.handles(&self.route, &self.series, now);
        let handles = &handles.handle;
        if overflowed {
            registry.count_overflow(now);
        }
        // An upgraded connection has left the requests in flight when it became a stream.
        if self.series.kind != StreamKind::UPGRADE {
            registry.request_ended(&self.series, handles);
        }
        let is_stream = self.series.kind != StreamKind::NONE;
        if is_stream {
            registry.stream_ended(self.series.kind, now);
        }
        handles.requests.increment(1);
        if let Some(first_byte) = self.first_byte {
            handles.first_byte.record(first_byte);
        }
        let stops_at_headers = self.shared.settings.stop_at_headers && !is_stream;
        let to_headers = self.first_byte.filter(|_| stops_at_headers);
        let to_end = || now.saturating_duration_since(self.started);
        handles.duration.record(to_headers.unwrap_or_else(to_end));
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
