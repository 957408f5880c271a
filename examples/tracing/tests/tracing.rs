//! The example `tracing`, as a process, with a collector of spans in this one.

use std::fmt::Debug;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use http::{HeaderMap, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

mod support;
use support::{Program, soon};

const EXAMPLE: &str = env!("CARGO_BIN_EXE_example-tracing");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CLIENT}-{flags}")
}

/// An OTLP receiver, which keeps what it gets.
#[derive(Debug)]
struct Collector {
    addr: SocketAddr,
    got: watch::Receiver<Vec<ResourceSpans>>,
    _tasks: JoinSet<()>,
}

struct Keep(watch::Sender<Vec<ResourceSpans>>);

#[tonic::async_trait]
impl TraceService for Keep {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.send_modify(|got| got.extend(request.into_inner().resource_spans));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (keep, got) = watch::channel(Vec::new());
        let mut tasks = JoinSet::new();
        let server = Server::builder().add_service(TraceServiceServer::new(Keep(keep)));
        tasks.spawn(async move {
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { addr, got, _tasks: tasks }
    }

    fn spans(&self) -> Spans {
        let resources = self.got.borrow().clone();
        let scopes = resources.into_iter().flat_map(|of| of.scope_spans);
        Spans(scopes.flat_map(|of| of.spans).collect())
    }
}

/// All spans of a process.
#[derive(Debug)]
struct Spans(Vec<Span>);

impl Spans {
    /// The only one of this name and kind.
    #[track_caller]
    fn one(&self, name: &str, kind: SpanKind) -> &Span {
        let is = |span: &&Span| span.name == name && span.kind() == kind;
        let mut found = self.0.iter().filter(is);
        let first = found.next().unwrap_or_else(|| panic!("no {name} in {self:#?}"));
        assert!(found.next().is_none(), "{name} is there twice in {self:#?}");
        first
    }

    /// The server's span of a request to this path.
    #[track_caller]
    fn at(&self, path: &str) -> &Span {
        let is = |span: &&Span| said(span, "url.path").as_deref() == Some(path);
        self.0.iter().find(is).unwrap_or_else(|| panic!("no {path} in {self:#?}"))
    }

    fn under(&self, parent: &Span) -> Vec<&Span> {
        self.0.iter().filter(|span| span.parent_span_id == parent.span_id).collect()
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ids(span: &Span) -> (String, String) {
    (hex(&span.trace_id), hex(&span.parent_span_id))
}

fn value(attributes: &[KeyValue], name: &str) -> Option<Value> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    found.value.clone()?.value
}

/// An attribute that is text.
fn said(span: &Span, name: &str) -> Option<String> {
    match value(&span.attributes, name)? {
        Value::StringValue(text) => Some(text),
        other => panic!("{name} is {other:?}"),
    }
}

/// An attribute that is a number.
fn number(span: &Span, name: &str) -> Option<i64> {
    match value(&span.attributes, name)? {
        Value::IntValue(number) => Some(number),
        other => panic!("{name} is {other:?}"),
    }
}

fn status(span: &Span) -> SpanStatus {
    span.status.as_ref().map_or(SpanStatus::Unset, |status| status.code())
}

/// The end of a span: the status of the response, the status of the span, and the error.
fn end(span: &Span) -> (Option<i64>, SpanStatus, Option<String>) {
    (number(span, "http.response.status_code"), status(span), said(span, "error.type"))
}

fn ended(code: i64) -> (Option<i64>, SpanStatus, Option<String>) {
    (Some(code), SpanStatus::Unset, None)
}

fn wrong(code: impl Into<Option<i64>>, kind: &str) -> (Option<i64>, SpanStatus, Option<String>) {
    (code.into(), SpanStatus::Error, Some(kind.to_owned()))
}

/// The service that the example asks. Its status is the item's number; for 299 it waits for a permit.
struct Downstream {
    addr: SocketAddr,
    heads: Arc<Mutex<Vec<HeaderMap>>>,
    asked: watch::Receiver<usize>,
    permits: Arc<Semaphore>,
    _tasks: JoinSet<()>,
}

impl Downstream {
    async fn start() -> Self {
        let (heads, permits) =
            (Arc::new(Mutex::new(Vec::<HeaderMap>::new())), Arc::new(Semaphore::new(0)));
        let (ask, asked) = watch::channel(0);
        let (seen, wait) = (Arc::clone(&heads), Arc::clone(&permits));
        let price = async move |Path(number): Path<u16>, head: HeaderMap| {
            seen.lock().unwrap().push(head);
            ask.send_modify(|asked| *asked += 1);
            if number == 299 {
                wait.acquire().await.unwrap().forget();
            }
            (StatusCode::from_u16(number).unwrap(), "7.50")
        };
        let app = Router::new().route("/prices/{number}", axum::routing::get(price));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { addr, heads, asked, permits, _tasks: tasks }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// The only value of a field in the last request.
    fn last(&self, name: &str) -> Option<String> {
        let heads = self.heads.lock().unwrap();
        let mut values = heads.last().unwrap().get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(values.next(), None, "{name} is there twice");
        value
    }
}

/// The example, with a collector and its own log.
struct Example {
    program: Program,
    log: UnixStream,
}

impl Example {
    fn start(collector: SocketAddr, env: &[(&str, &str)]) -> Self {
        let (log, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(EXAMPLE);
        command.envs(env.iter().copied());
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
        command.stderr(OwnedFd::from(theirs));
        Self { program: Program::start(&mut command), log }
    }

    fn asking(collector: &Collector, downstream: &Downstream, env: &[(&str, &str)]) -> Self {
        let url = downstream.url("");
        Self::start(collector.addr, &[env, &[("DOWNSTREAM", &url)]].concat())
    }

    async fn ask(&self, path: &str, fields: &[(&str, &str)]) -> StatusCode {
        let mut request = Request::get(self.program.url(path));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        send(request.body(Body::empty()).unwrap(), false).await
    }

    /// Stops it, as an orchestrator does, and gives what it has logged.
    async fn stop(self) -> String {
        let Self { program, mut log } = self;
        let stopped = tokio::task::spawn_blocking(move || {
            let status = program.stop();
            let mut text = String::new();
            log.read_to_string(&mut text).unwrap();
            (status.success(), text)
        });
        let (success, text) = soon(stopped).await.unwrap();
        assert!(success, "{text}");
        text
    }
}

/// Sends a request by HTTP/1.1 or HTTP/2, reads the response, and returns its status.
async fn send(request: Request<Body>, over_h2: bool) -> StatusCode {
    let client = Client::builder(TokioExecutor::new()).http2_only(over_h2).build_http();
    let (head, body) = soon(client.request(request)).await.unwrap().into_parts();
    soon(axum::body::to_bytes(Body::new(body), usize::MAX)).await.unwrap();
    head.status
}

#[track_caller]
fn assert_all<T: Debug + PartialEq>(found: &[T], expected: &[T]) {
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_goes_on_to_the_next_service() {
    let (collector, downstream) = (Collector::start().await, Downstream::start().await);
    let example = Example::asking(&collector, &downstream, &[("OTEL_SERVICE_NAME", "shop")]);
    let fields = [
        ("traceparent", &*traceparent("01")),
        ("tracestate", "vendor=1"),
        ("user-agent", "a test"),
    ];
    assert_eq!(example.ask("/items/200?secret=1", &fields).await, StatusCode::OK);
    let port = example.program.addr.port();
    example.stop().await;

    let spans = collector.spans();
    assert_eq!(spans.0.len(), 2, "{spans:#?}");
    let server = spans.one("GET /items/{id}", SpanKind::Server);
    assert_eq!(ids(server), (TRACE.into(), CLIENT.into()));
    assert_eq!(server.trace_state, "vendor=1");
    assert_eq!(end(server), ended(200));
    for (name, expected) in [
        ("http.request.method", Some("GET")),
        ("http.request.method_original", None),
        ("http.route", Some("/items/{id}")),
        ("network.protocol.version", Some("1.1")),
        ("url.path", Some("/items/200")),
        ("url.query", None),
        ("url.scheme", Some("http")),
        ("server.address", Some("127.0.0.1")),
        ("user_agent.original", Some("a test")),
    ] {
        assert_eq!(said(server, name).as_deref(), expected, "{name}");
    }
    assert_eq!(number(server, "server.port"), Some(port.into()));
    let events: Vec<_> = server.events.iter().map(|event| &*event.name).collect();
    assert_all(&events, &["answered"]);

    let client = spans.one("GET", SpanKind::Client);
    assert_eq!(ids(client), (TRACE.into(), hex(&server.span_id)));
    assert_eq!(end(client), ended(200));
    assert_eq!(said(client, "url.full"), Some(downstream.url("/prices/200")));
    assert_eq!(said(client, "server.address").as_deref(), Some("127.0.0.1"));
    assert_eq!(number(client, "server.port"), Some(downstream.addr.port().into()));
    let sent = format!("00-{TRACE}-{}-01", hex(&client.span_id));
    assert_eq!(downstream.last("traceparent"), Some(sent));
    assert_eq!(downstream.last("tracestate").as_deref(), Some("vendor=1"));

    let resource = collector.got.borrow()[0].resource.clone().unwrap();
    let name = value(&resource.attributes, "service.name");
    assert_eq!(name, Some(Value::StringValue("shop".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_begins_here_and_a_hit_has_no_children() {
    let collector = Collector::start().await;
    // It asks itself.
    let example = Example::start(collector.addr, &[]);
    assert_eq!(example.ask("/items/7", &[]).await, StatusCode::OK);
    assert_eq!(example.ask("/items/7", &[]).await, StatusCode::OK);
    example.stop().await;

    let spans = collector.spans();
    assert_eq!(spans.0.len(), 4, "{spans:#?}");
    let roots: Vec<_> = spans.0.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_all(&roots.iter().map(|span| &*span.name).collect::<Vec<_>>(), &["GET /items/{id}"; 2]);
    assert_ne!(roots[0].trace_id, roots[1].trace_id);
    let price = spans.one("GET /prices/{id}", SpanKind::Server);
    let client = spans.one("GET", SpanKind::Client);
    assert_eq!(price.parent_span_id, client.span_id);
    assert_eq!((&price.trace_id, &client.trace_id), (&roots[0].trace_id, &roots[0].trace_id));
    assert_eq!(spans.under(roots[0]), [client]);
    assert_eq!(spans.under(roots[1]), Vec::<&Span>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_server_failures_are_errors() {
    let (collector, downstream) = (Collector::start().await, Downstream::start().await);
    let example = Example::asking(&collector, &downstream, &[]);
    for (path, code) in [
        ("/items/500", 502),
        ("/items/404", 404),
        ("/items/299", 502),
        ("/items/seven", 400),
        ("/nowhere", 404),
    ] {
        assert_eq!(example.ask(path, &[]).await, code, "{path}");
    }
    let brew = Request::builder().method("BREW").uri(example.program.url("/items/9"));
    assert_eq!(send(brew.body(Body::empty()).unwrap(), true).await, 405);
    example.stop().await;

    let spans = collector.spans();
    let under = |path| match spans.under(spans.at(path))[..] {
        [client] => end(client),
        ref others => panic!("{others:?}"),
    };
    assert_eq!(end(spans.at("/items/500")), wrong(502, "502"));
    assert_eq!(under("/items/500"), wrong(500, "500"));
    assert_eq!(end(spans.at("/items/404")), ended(404));
    assert_eq!(under("/items/404"), wrong(404, "404"));
    // It never answered.
    assert_eq!(end(spans.at("/items/299")), wrong(502, "502"));
    assert_eq!(under("/items/299"), wrong(None, "timeout"));
    assert_eq!(end(spans.at("/items/seven")), ended(400));
    let nowhere = spans.at("/nowhere");
    assert_eq!((&*nowhere.name, said(nowhere, "http.route")), ("GET", None));
    assert_eq!(end(nowhere), ended(404));
    let brew = spans.at("/items/9");
    assert_eq!((&*brew.name, end(brew)), ("HTTP /items/{id}", ended(405)));
    assert_eq!(said(brew, "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(said(brew, "http.request.method_original").as_deref(), Some("BREW"));
    assert_eq!(said(brew, "network.protocol.version").as_deref(), Some("2"));
    assert_eq!(said(brew, "server.address").as_deref(), Some("127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_service_is_an_error_of_the_caller() {
    let collector = Collector::start().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{gone}");
    let example = Example::start(collector.addr, &[("DOWNSTREAM", &url)]);
    assert_eq!(example.ask("/items/7", &[]).await, StatusCode::BAD_GATEWAY);
    example.stop().await;
    let spans = collector.spans();
    assert_eq!(end(spans.one("GET", SpanKind::Client)), wrong(None, "connection"));
    assert_eq!(end(spans.one("GET /items/{id}", SpanKind::Server)), wrong(502, "502"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_traceparent_begins_another_trace() {
    let (collector, downstream) = (Collector::start().await, Downstream::start().await);
    let example = Example::asking(&collector, &downstream, &[]);
    let malformed = [
        String::new(),
        "x".to_owned(),
        // Too short, too long, and with a sign.
        "00-7-7-01".to_owned(),
        format!("00-{TRACE}-{CLIENT}-1"),
        format!("00-{TRACE}0-{CLIENT}-01"),
        format!("00-+{}-{CLIENT}-01", &TRACE[1..]),
        // No ids at all, and such as nobody may send.
        format!("00-{}-{CLIENT}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{}-{CLIENT}-01", TRACE.to_ascii_uppercase()),
        format!("ff-{TRACE}-{CLIENT}-01"),
        format!("00-{TRACE}-{CLIENT}-01-"),
        format!("00-{TRACE}-{CLIENT}-01-more"),
    ];
    let one = traceparent("01");
    let several: &[(&str, &str)] = &[("traceparent", &one), ("traceparent", &one)];
    let malformed = malformed.iter().map(|value| vec![("traceparent", &**value)]);
    let mut asked = 0;
    for mut fields in malformed.chain([several.to_vec()]) {
        fields.push(("tracestate", "vendor=1"));
        assert_eq!(example.ask("/items/202", &fields).await, 502);
        let sent = downstream.last("traceparent").unwrap();
        assert!(sent.ends_with("-01") && !sent.contains(&TRACE[1..8]), "{fields:?}: {sent}");
        assert_eq!(downstream.last("tracestate"), None);
        asked += 1;
    }
    // A version that is to come may say more.
    let later = format!("01-{TRACE}-{CLIENT}-01-more");
    example.ask("/items/202", &[("traceparent", &later)]).await;
    assert!(downstream.last("traceparent").unwrap().starts_with(&format!("00-{TRACE}-")));
    example.stop().await;
    let spans = collector.spans();
    let roots = spans.0.iter().filter(|span| span.parent_span_id.is_empty());
    assert_eq!(roots.count(), asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sampling_follows_the_client_or_the_ratio() {
    for (ratio, kept) in [("1", 2), ("0", 1)] {
        let (collector, downstream) = (Collector::start().await, Downstream::start().await);
        let env = [("OTEL_TRACES_SAMPLER_ARG", ratio)];
        let example = Example::asking(&collector, &downstream, &env);
        let not_kept = traceparent("00");
        example.ask("/items/200", &[("traceparent", &not_kept)]).await;
        let sent = downstream.last("traceparent").unwrap();
        assert!(sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"), "{sent}");
        assert!(!sent.contains(CLIENT), "{sent}");
        example.ask("/items/404", &[("traceparent", &traceparent("01"))]).await;
        assert!(downstream.last("traceparent").unwrap().ends_with("-01"));
        example.ask("/items/404", &[]).await;
        let flags = if kept == 2 { "-01" } else { "-00" };
        assert!(downstream.last("traceparent").unwrap().ends_with(flags), "{ratio}");
        example.stop().await;
        let spans = collector.spans();
        let servers = spans.0.iter().filter(|span| span.kind() == SpanKind::Server);
        assert_eq!(servers.count(), kept, "{ratio}");
        assert!(spans.0.iter().all(|span| said(span, "url.path").as_deref() != Some("/items/200")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn public_service_links_to_foreign_traces() {
    let (collector, downstream) = (Collector::start().await, Downstream::start().await);
    let example = Example::asking(&collector, &downstream, &[("PUBLIC", "1")]);
    example.ask("/items/200", &[("traceparent", &traceparent("00"))]).await;
    assert!(!downstream.last("traceparent").unwrap().contains(TRACE));
    example.ask("/items/404", &[]).await;
    example.stop().await;
    let spans = collector.spans();
    let linked = spans.at("/items/200");
    assert!(linked.parent_span_id.is_empty() && hex(&linked.trace_id) != TRACE);
    let links: Vec<_> =
        linked.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect();
    assert_all(&links, &[(TRACE.to_owned(), CLIENT.to_owned())]);
    assert_eq!(spans.at("/items/404").links, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn span_open_at_the_stop_is_not_lost() {
    let (collector, mut downstream) = (Collector::start().await, Downstream::start().await);
    let example = Example::asking(&collector, &downstream, &[]);
    let mut open = TcpStream::connect(example.program.addr).await.unwrap();
    open.write_all(b"GET /items/299 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    soon(downstream.asked.wait_for(|asked| *asked == 1)).await.unwrap();
    example.program.terminate();
    // It takes no more connections then.
    let addr = example.program.addr;
    let refused = async { while TcpStream::connect(addr).await.is_ok() {} };
    soon(refused).await;
    downstream.permits.add_permits(1);
    let mut answer = String::new();
    soon(open.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    example.stop().await;
    let spans = collector.spans();
    let server = spans.one("GET /items/{id}", SpanKind::Server);
    assert_eq!(said(server, "server.address").as_deref(), Some("a"));
    assert_eq!(number(server, "server.port"), None);
    assert_eq!(end(spans.under(server)[0]), ended(299));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_collector_disturbs_nobody() {
    let down = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    // Connections wait in its queue.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (collector, says) in
        [(down, "BatchSpanProcessor.ExportError"), (hangs.local_addr().unwrap(), "may not have")]
    {
        let example = Example::start(collector, &[]);
        for id in 0..5 {
            assert_eq!(example.ask(&format!("/items/{id}"), &[]).await, StatusCode::OK);
        }
        let log = example.stop().await;
        assert!(log.contains(says), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_have_the_ids_of_their_span() {
    for (level, lines) in [("info", true), ("off", false)] {
        let collector = Collector::start().await;
        let example = Example::start(collector.addr, &[("RUST_LOG", level)]);
        example.ask("/items/7", &[("traceparent", &traceparent("01"))]).await;
        let log = example.stop().await;
        let spans = collector.spans();
        assert_eq!(spans.0.len(), 3, "{level}: {spans:#?}");
        let server = spans.one("GET /items/{id}", SpanKind::Server);
        let ids = format!("trace_id={TRACE} span_id={} ", hex(&server.span_id));
        let line = log.lines().find(|line| line.starts_with(&ids));
        assert_eq!(line.is_some_and(|line| line.contains("answered status=200")), lines, "{log}");
        assert_eq!(log.is_empty(), !lines, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_configuration_prevents_the_start() {
    for (name, value) in [
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_SAMPLER_ARG", "NaN"),
        ("OTEL_TRACES_SAMPLER_ARG", "half"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:4317"),
        ("RUST_LOG", "loud=very"),
    ] {
        let mut command = tokio::process::Command::new(EXAMPLE);
        let command = command.env("ADDR", "127.0.0.1:0").env(name, value);
        let output = soon(command.kill_on_drop(true).output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.starts_with("Error: "), "{name}={value}: {said}");
    }
}
