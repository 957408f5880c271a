//! The helpers of the tests: a scripted body, a recorder that tests read, servers and clients.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use metrics::{
    Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::Service;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;
pub(crate) type BoxBody = UnsyncBoxBody<Bytes, BoxError>;

// Bodies.

/// A step of a [`Scripted`] body. After the last step the body ends.
#[derive(Debug)]
pub(crate) enum Step<E = BoxError> {
    Data(Bytes),
    Trailers(HeaderMap),
    Error(E),
    /// Pending once; wakes at once.
    Pending,
    /// Pending for ever; never wakes.
    PendingForever,
    Panic,
}

/// A body that follows a script and writes down what was done to it.
#[derive(Debug)]
pub(crate) struct Scripted<E = BoxError> {
    steps: VecDeque<Step<E>>,
    tells_end: bool,
    lower: u64,
    upper: Option<u64>,
    exact: bool,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    polls: AtomicU64,
    given: AtomicU64,
    ended: AtomicBool,
    polled_after_end: AtomicBool,
    dropped: AtomicBool,
}

impl<E> Scripted<E> {
    /// A body of unknown length that does not tell its end.
    pub(crate) fn new(steps: impl IntoIterator<Item = Step<E>>) -> Self {
        let steps = steps.into_iter().collect();
        Self { steps, tells_end: false, lower: 0, upper: None, exact: false, log: Arc::default() }
    }

    /// `is_end_stream` is true when no step is left.
    pub(crate) fn tells_end(mut self) -> Self {
        self.tells_end = true;
        self
    }

    /// The size hint is exactly the data that is left in the script.
    pub(crate) fn exact(mut self) -> Self {
        self.exact = true;
        self
    }

    /// The size hint is always this one.
    pub(crate) fn hint(mut self, hint: &SizeHint) -> Self {
        self.lower = hint.lower();
        self.upper = hint.upper();
        self
    }

    pub(crate) fn log(&self) -> Arc<Log> {
        Arc::clone(&self.log)
    }
}

impl Log {
    pub(crate) fn polls(&self) -> u64 {
        self.polls.load(Ordering::SeqCst)
    }

    /// Bytes of data that were handed out.
    pub(crate) fn given(&self) -> u64 {
        self.given.load(Ordering::SeqCst)
    }

    pub(crate) fn polled_after_end(&self) -> bool {
        self.polled_after_end.load(Ordering::SeqCst)
    }

    pub(crate) fn dropped(&self) -> bool {
        self.dropped.load(Ordering::SeqCst)
    }

    pub(crate) async fn until_dropped(&self) {
        let dropped = async {
            while !self.dropped() {
                tokio::task::yield_now().await;
            }
        };
        soon(dropped).await;
    }
}

impl<E: Unpin> Body for Scripted<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        let log = Arc::clone(&self.log);
        log.polls.fetch_add(1, Ordering::SeqCst);
        if log.ended.load(Ordering::SeqCst) {
            log.polled_after_end.store(true, Ordering::SeqCst);
        }
        match self.steps.pop_front() {
            Some(Step::Data(data)) => {
                log.given.fetch_add(data.len() as u64, Ordering::SeqCst);
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Step::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Some(Step::Error(error)) => {
                log.ended.store(true, Ordering::SeqCst);
                self.steps.clear();
                Poll::Ready(Some(Err(error)))
            }
            Some(Step::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::PendingForever) => {
                self.steps.push_front(Step::PendingForever);
                Poll::Pending
            }
            Some(Step::Panic) => panic!("a step of the script panics"),
            None => {
                log.ended.store(true, Ordering::SeqCst);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.tells_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.exact {
            let left = self.steps.iter().map(|step| match step {
                Step::Data(data) => data.len() as u64,
                _ => 0,
            });
            return SizeHint::with_exact(left.sum());
        }
        let mut hint = SizeHint::new();
        if let Some(upper) = self.upper {
            hint.set_upper(upper);
        }
        hint.set_lower(self.lower);
        hint
    }
}

impl<E> Drop for Scripted<E> {
    fn drop(&mut self) {
        self.log.dropped.store(true, Ordering::SeqCst);
    }
}

/// A step of so many bytes.
pub(crate) fn data<E>(len: usize) -> Step<E> {
    Step::Data(Bytes::from(vec![b'x'; len]))
}

pub(crate) fn trailers<E>() -> Step<E> {
    let mut map = HeaderMap::new();
    map.insert("x-sum", "1".parse().unwrap());
    Step::Trailers(map)
}

pub(crate) fn empty() -> Empty<Bytes> {
    Empty::new()
}

pub(crate) fn boxed<B>(body: B) -> BoxBody
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

pub(crate) async fn text<B>(response: Response<B>) -> String
where
    B: Body,
    B::Error: fmt::Debug,
{
    let bytes = response.into_body().collect().await.expect("a body that does not fail").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("a body of text")
}

/// Responds with the length of the request body, or with 400 and the error of the body.
pub(crate) async fn reads<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Error: fmt::Display>,
{
    let (status, text) = match request.into_body().collect().await {
        Ok(body) => (200, body.to_bytes().len().to_string()),
        Err(error) => (400, error.to_string()),
    };
    Ok(Response::builder().status(status).body(text.into()).unwrap())
}

/// Text of so many bytes that shrinks well, another one for each seed.
pub(crate) fn prose(len: usize, seed: u64) -> Bytes {
    let mut text = String::new();
    let mut number = seed;
    while text.len() < len {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1 + seed);
        text += &format!("{{\"id\":{},\"name\":\"Item {}\"}},\n", text.len(), number >> 50);
    }
    text.truncate(len);
    Bytes::from(text)
}

/// Bytes that do not shrink.
pub(crate) fn noise(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(next).collect::<Vec<_>>().into()
}

/// Decodes gzip that has to end well, with nothing behind its end.
pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = bytes;
    flate2::bufread::GzDecoder::new(&mut rest).read_to_end(&mut decoded).expect("complete gzip");
    assert!(rest.is_empty(), "{} bytes after the end", rest.len());
    decoded
}

pub(crate) fn status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap()
}

// Polling by hand.

pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The output of a future that has to be ready at once.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match poll_once(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future is pending"),
    }
}

pub(crate) type Polled<B> = Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>;

pub(crate) fn poll_frame<B: Body + Unpin>(body: &mut B) -> Poll<Polled<B>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// Waits for what has to come; a test that would hang fails instead.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it never comes")
}

/// The time of the runtime's clock, which a test can pause.
#[expect(clippy::disallowed_methods, reason = "a test is an edge")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

/// Panics with all faults that a check found, if there are any.
#[track_caller]
pub(crate) fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

// Metrics.

pub(crate) type Labels = BTreeMap<String, String>;

/// A recorder for one test, and what it has recorded.
#[derive(Debug)]
pub(crate) struct Metrics {
    recorder: Arc<Notifying>,
    seen: Mutex<Vec<(String, Labels, DebugValue)>>,
    described: Mutex<BTreeMap<String, (Option<Unit>, String)>>,
}

#[derive(Debug)]
struct Notifying {
    inner: DebuggingRecorder,
    samples: watch::Sender<BTreeMap<String, u64>>,
    /// Counters of the recorder's own: a snapshot of the other one sets them to 0.
    gauges: Mutex<BTreeMap<(String, Labels), Arc<Level>>>,
    registered: AtomicU64,
}

#[derive(Debug, Default)]
struct Level(Mutex<f64>);

struct NotifyingHistogram {
    inner: Histogram,
    name: String,
    samples: watch::Sender<BTreeMap<String, u64>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let inner = DebuggingRecorder::new();
        let (samples, gauges) = (watch::Sender::default(), Mutex::default());
        let registered = AtomicU64::new(0);
        let recorder = Arc::new(Notifying { inner, samples, gauges, registered });
        Self { recorder, seen: Mutex::default(), described: Mutex::default() }
    }

    pub(crate) fn recorder(&self) -> Arc<dyn Recorder + Send + Sync> {
        Arc::clone(&self.recorder) as _
    }

    /// All samples of a histogram, with their labels.
    pub(crate) fn samples(&self, name: &str) -> Vec<(Labels, f64)> {
        self.look();
        let mut samples = Vec::new();
        for (found, labels, value) in self.seen.lock().unwrap().iter() {
            if let DebugValue::Histogram(values) = value {
                if found == name {
                    samples.extend(values.iter().map(|value| (labels.clone(), value.0)));
                }
            }
        }
        samples
    }

    /// The only sample of a histogram.
    pub(crate) fn sample(&self, name: &str) -> (Labels, f64) {
        let mut samples = self.samples(name);
        assert_eq!(samples.len(), 1, "samples of {name}: {samples:?}");
        samples.remove(0)
    }

    /// The sum of a counter over the label sets that have all of these labels.
    pub(crate) fn counted(&self, name: &str, with: &[(&str, &str)]) -> u64 {
        self.look();
        let seen = self.seen.lock().unwrap();
        let counts = seen.iter().map(|(found, labels, value)| match value {
            DebugValue::Counter(count) if found == name && has(labels, with) => *count,
            _ => 0,
        });
        counts.sum()
    }

    /// The label sets under which a counter has counted something.
    pub(crate) fn counter_labels(&self, name: &str) -> Vec<Labels> {
        self.look();
        let seen = self.seen.lock().unwrap();
        let counted = seen.iter().filter_map(|(found, labels, value)| match value {
            DebugValue::Counter(1..) if found == name => Some(labels.clone()),
            _ => None,
        });
        counted.collect()
    }

    /// The sum of a gauge over all of its label sets.
    pub(crate) fn gauge(&self, name: &str) -> f64 {
        self.gauges(name).iter().map(|(_, value)| value).sum()
    }

    pub(crate) fn gauges(&self, name: &str) -> Vec<(Labels, f64)> {
        let gauges = self.recorder.gauges.lock().unwrap();
        let named = gauges.iter().filter(|((found, _), _)| found == name);
        named.map(|((_, labels), level)| (labels.clone(), *level.0.lock().unwrap())).collect()
    }

    /// Unit and help of every metric that was registered.
    pub(crate) fn described(&self) -> BTreeMap<String, (Option<Unit>, String)> {
        self.look();
        self.described.lock().unwrap().clone()
    }

    /// The number of calls that registered a metric.
    pub(crate) fn registered(&self) -> u64 {
        self.recorder.registered.load(Ordering::SeqCst)
    }

    /// Waits until a histogram has this many samples.
    pub(crate) async fn wait_for(&self, name: &str, samples: u64) {
        let mut all = self.recorder.samples.subscribe();
        let enough = |all: &BTreeMap<String, u64>| all.get(name).is_some_and(|is| *is >= samples);
        soon(all.wait_for(enough)).await.expect("the recorder is there");
    }

    /// Adds up what was recorded since: a debugging snapshot starts again from zero.
    fn look(&self) {
        let snapshot = self.recorder.inner.snapshotter().snapshot();
        let mut seen = self.seen.lock().unwrap();
        for (key, unit, help, value) in snapshot.into_vec() {
            let name = key.key().name().to_owned();
            let labels =
                key.key().labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
            let help = help.map(|help| help.to_string()).unwrap_or_default();
            self.described.lock().unwrap().insert(name.clone(), (unit, help));
            seen.push((name, labels.collect(), value));
        }
    }
}

fn has(labels: &Labels, with: &[(&str, &str)]) -> bool {
    with.iter().all(|(name, value)| labels.get(*name).is_some_and(|found| found == value))
}

impl Recorder for Notifying {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.inner.describe_counter(key, unit, help);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.inner.describe_gauge(key, unit, help);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.inner.describe_histogram(key, unit, help);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.registered.fetch_add(1, Ordering::SeqCst);
        self.inner.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.registered.fetch_add(1, Ordering::SeqCst);
        drop(self.inner.register_gauge(key, metadata));
        let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
        let key = (key.name().to_owned(), labels.collect());
        Gauge::from_arc(Arc::clone(self.gauges.lock().unwrap().entry(key).or_default()))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        self.registered.fetch_add(1, Ordering::SeqCst);
        Histogram::from_arc(Arc::new(NotifyingHistogram {
            inner: self.inner.register_histogram(key, metadata),
            name: key.name().to_owned(),
            samples: self.samples.clone(),
        }))
    }
}

impl GaugeFn for Level {
    fn increment(&self, by: f64) {
        *self.0.lock().unwrap() += by;
    }

    fn decrement(&self, by: f64) {
        *self.0.lock().unwrap() -= by;
    }

    fn set(&self, value: f64) {
        *self.0.lock().unwrap() = value;
    }
}

impl HistogramFn for NotifyingHistogram {
    fn record(&self, value: f64) {
        self.inner.record(value);
        self.samples.send_modify(|all| *all.entry(self.name.clone()).or_default() += 1);
    }
}

// Servers and clients, on the loopback only.

/// A hyper server for HTTP/1 and h2c, which stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start<S, B>(service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // A response in two writes is not to wait for the client's acknowledgment.
                stream.set_nodelay(true).unwrap();
                let service = TowerToHyperService::new(service.clone());
                connections.spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    let io = TokioIo::new(stream);
                    // It fails where a client leaves, which is what some tests do.
                    drop(server.serve_connection_with_upgrades(io, service).await);
                });
                // Each that has ended would take memory until it is asked for.
                while connections.try_join_next().is_some() {}
            }
        });
        Self { addr, _tasks: tasks }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// A new connection, on which HTTP/1 is written by hand.
    pub(crate) async fn connect(&self) -> Raw {
        Raw::connect(self.addr).await
    }
}

/// A client that speaks h2 from the first byte.
pub(crate) fn h2_client() -> Client<HttpConnector, BoxBody> {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

pub(crate) fn h1_client() -> Client<HttpConnector, BoxBody> {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> BoxBody {
    boxed(Full::new(bytes.into()))
}

/// A connection whose HTTP/1 is written by hand.
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// The head of the next response, in lower case, with its last empty line.
    pub(crate) async fn head(&mut self) -> String {
        let head = self.until("\r\n\r\n").await;
        head.to_ascii_lowercase()
    }

    /// The next response: its head in lower case and, by its `content-length`, its body.
    pub(crate) async fn response(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| length.trim().parse().unwrap());
        while self.read.len() < length {
            assert!(self.more().await, "the body ends early");
        }
        let rest = self.read.split_off(length);
        let body = String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap();
        (head, body)
    }

    /// Reads up to this mark, and the mark.
    pub(crate) async fn until(&mut self, mark: &str) -> String {
        let mark = mark.as_bytes();
        loop {
            if let Some(at) = self.read.windows(mark.len()).position(|window| window == mark) {
                let rest = self.read.split_off(at + mark.len());
                let found = std::mem::replace(&mut self.read, rest);
                return String::from_utf8(found).unwrap();
            }
            assert!(self.more().await, "closed after {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// Reads until the server closes the connection.
    pub(crate) async fn rest(&mut self) -> String {
        while self.more().await {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// Waits until the server has closed the connection, whatever it says before that.
    pub(crate) async fn closed(&mut self) {
        while soon(self.stream.read_buf(&mut self.read)).await.is_ok_and(|read| read > 0) {}
    }

    async fn more(&mut self) -> bool {
        soon(self.stream.read_buf(&mut self.read)).await.unwrap() > 0
    }
}

/// Returns the value of a header in a head of lower-case text.
pub(crate) fn header_of<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

// Files.

/// A directory of the test's own, which is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let name = format!("tower-kit-test-{}-{count}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
