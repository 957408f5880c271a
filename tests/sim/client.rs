//! Clients: each sends a request, reads the response at its pace, and tells the model.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    COOKIE, ETAG, IF_NONE_MATCH, RANGE,
};
use http::{Method, Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tower::{Service, ServiceExt};
use tower_kit::cache::CacheHandle;

use crate::chance::Chance;
use crate::model::{Asked, Status};
use crate::origin::Shared;
use crate::resource::ORIGIN;
use crate::stack::{Stack, Tally};
use crate::text::decode;
use crate::{BoxBody, BoxError};

/// A request, and how its client behaves.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) process: usize,
    asked: Asked,
    request: Request<Upload>,
    /// The client stops reading where the declared length is reached, as HTTP/1 servers do.
    stops_at_length: bool,
    /// In milliseconds.
    pause: u64,
    range: Option<(usize, usize)>,
    /// The program itself sends the request, to fill the cache.
    warms: bool,
}

/// The body of a request, in frames that take their time.
#[derive(Debug)]
pub(crate) struct Upload {
    frames: VecDeque<Bytes>,
    sleep: Option<Pin<Box<Sleep>>>,
    is_exact: bool,
}

impl Plan {
    pub(crate) fn draw(
        id: u64,
        chance: &mut Chance,
        shared: &Shared,
        processes: u64,
        etag: Option<&str>,
        at: usize,
        heeds: bool,
    ) -> Self {
        let (mut target, ignores_utm) = {
            let resource = &shared.model().resources[at];
            (resource.target.clone(), resource.ignores_utm)
        };
        if ignores_utm && chance.one_in(2) {
            target.push_str(&format!("&utm={}", chance.among(0..3)));
        }
        let method = match chance.among(0..40) {
            0 => Method::PUT,
            1 | 2 => Method::POST,
            3 => Method::DELETE,
            4..=6 => Method::HEAD,
            _ => Method::GET,
        };
        let changes = !matches!(method, Method::GET | Method::HEAD);
        let is_head = method == Method::HEAD;
        let user = chance.among(0..4);
        let lang = chance.among(0..3);
        let mut request = Request::builder().method(method).uri(format!("{ORIGIN}{target}"));
        let mut rejected = None;
        let (mut has_authorization, mut has_cookie) = (false, false);
        request = request.header("x-request-id", id.to_string());
        if user > 0 {
            request = request.header("x-user", format!("u{user}"));
            has_authorization = chance.one_in(3);
            has_cookie = chance.one_in(3);
            if has_authorization {
                request = request.header(AUTHORIZATION, format!("Bearer u{user}"));
            }
            if has_cookie {
                request = request.header(COOKIE, format!("session=u{user}"));
            }
        }
        if lang > 0 {
            request = request.header("x-lang", format!("l{lang}"));
        }
        let codings = chance.among(0..CODINGS.len() as u64) as usize;
        if let Some(codings) = CODINGS[codings] {
            request = request.header(ACCEPT_ENCODING, codings);
        }
        if chance.one_in(30) {
            request = request.header("x-forwarded-host", "evil.test");
        }
        if chance.one_in(60) {
            request = request.header("x-long", "x".repeat(MAX_HEADER_BYTES as usize));
            rejected = Some(431);
        }
        let (mut wants_new, mut wants_old) = (false, false);
        if heeds && !changes && chance.one_in(10) {
            wants_new = chance.one_in(2);
            wants_old = !wants_new;
            let control = if wants_new { "no-cache" } else { "only-if-cached" };
            request = request.header(CACHE_CONTROL, control);
        }
        let mut range = None;
        match etag {
            Some(etag) if !changes && chance.one_in(8) => {
                request = request.header(IF_NONE_MATCH, etag);
            }
            _ if !changes && !is_head && chance.one_in(12) => {
                let (first, last) = (chance.among(0..50) as usize, chance.among(50..400) as usize);
                request = request.header(RANGE, format!("bytes={first}-{last}"));
                range = Some((first, last));
            }
            _ => {}
        }
        let mut frames = VecDeque::new();
        let mut is_exact = true;
        if changes {
            is_exact = chance.one_in(2);
            let mut size = 0;
            for _ in 0..chance.among(0..4) {
                let frame = Bytes::from(vec![b'x'; chance.among(0..MAX_UPLOAD) as usize]);
                size += frame.len() as u64;
                frames.push_back(frame);
            }
            if size > MAX_UPLOAD && rejected.is_none() {
                rejected = Some(413);
            }
            if is_exact {
                request = request.header(CONTENT_LENGTH, size);
            }
        }
        let asked = Asked {
            id,
            resource: at,
            user,
            has_authorization,
            has_cookie,
            lang,
            codings,
            is_head,
            changes,
            wants_new,
            wants_old,
            begun: 0,
            begun_at: 0,
            rejected,
        };
        let pause = match chance.among(0..12) {
            0 => 70_000,
            1 => chance.among(1..3_000),
            2 | 3 => chance.among(1..100),
            _ => 0,
        };
        let body = Upload { frames, sleep: None, is_exact };
        Self {
            process: chance.among(0..processes) as usize,
            asked,
            request: request.body(body).unwrap(),
            stops_at_length: chance.one_in(2),
            pause,
            range,
            warms: !changes
                && !is_head
                && range.is_none()
                && rejected.is_none()
                && chance.one_in(30),
        }
    }

    /// A request of no user for a resource.
    pub(crate) fn plain(id: u64, process: usize, shared: &Shared, at: usize) -> Self {
        let url = shared.model().resources[at].url();
        let body = Upload { frames: VecDeque::new(), sleep: None, is_exact: true };
        let request = Request::get(url).header("x-request-id", id.to_string()).body(body).unwrap();
        let asked = Asked {
            id,
            resource: at,
            user: 0,
            has_authorization: false,
            has_cookie: false,
            lang: 0,
            codings: 0,
            is_head: false,
            changes: false,
            wants_new: false,
            wants_old: false,
            begun: 0,
            begun_at: 0,
            rejected: None,
        };
        Self {
            process,
            asked,
            request,
            stops_at_length: false,
            pause: 0,
            range: None,
            warms: false,
        }
    }

    pub(crate) fn is_warm(&self) -> bool {
        self.warms
    }

    /// Warms the cache with the request.
    pub(crate) async fn warm(
        self,
        shared: Arc<Shared>,
        handle: CacheHandle,
        stack: Stack,
        tally: Arc<Tally>,
    ) -> Ran {
        let Self { asked, request, .. } = self;
        let now = shared.time.now();
        shared.model().next(now, "warm", [asked.id, asked.resource as u64, 0]);
        let note = tower::service_fn(move |request| {
            tally.started();
            let (tally, mut stack) = (Arc::clone(&tally), stack.clone());
            async move {
                let response = stack.ready().await?.call(request).await?;
                tally.answered(response.status());
                Ok::<_, BoxError>(response)
            }
        });
        // An error of the service is one for the next request too.
        drop(handle.warm(note, request).await);
        Ran { resource: asked.resource, ..Ran::default() }
    }

    /// Sends the request, and reads the response to its end.
    pub(crate) async fn run(self, shared: Arc<Shared>, mut stack: Stack, tally: Arc<Tally>) -> Ran {
        let Self { mut asked, request, stops_at_length, pause, range, process, .. } = self;
        let now = shared.time.now();
        let kind = if asked.changes { "change" } else { "request" };
        let numbers = [asked.id, asked.resource as u64, process as u64];
        asked.begun = shared.model().next(now, kind, numbers);
        asked.begun_at = now;
        let mut ran = Ran { resource: asked.resource, ..Ran::default() };
        if let Err(error) = stack.ready().await {
            shared.model().fault(format!("the stack is not ready: {error}"));
        }
        tally.started();
        let start = shared.time.elapsed();
        let response = match stack.call(request).await {
            Ok(response) => response,
            Err(error) => {
                shared.model().check_service_error(&asked, &error.to_string());
                return ran;
            }
        };
        drop(stack);
        let now = shared.time.now();
        let (head, body) = response.into_parts();
        tally.answered(head.status);
        let status = Status::of(&head.headers);
        let serial = {
            let mut model = shared.model();
            let numbers = [asked.id, head.status.as_u16().into(), status.hit.into()];
            model.next(now, "head", numbers);
            let waited = shared.time.elapsed() - start;
            if model.is_calm && waited > LONGEST_CALM {
                model.fault(format!("{asked:?} waited for {waited} ms, though nothing is slow"));
            }
            let serial = model.check_head(&asked, head.status, &head.headers, now);
            if asked.changes && head.status.is_success() && status.is_there {
                model.told_of_change(&asked, now);
            }
            serial
        };
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let declared = text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let coding = text(CONTENT_ENCODING);
        let hint = body.size_hint().exact();
        let read = Reader {
            stops_at_length,
            pause,
            declared,
            is_head: asked.is_head,
            status: head.status,
        };
        let (bytes, end) = read.to_end(body).await;
        let mut model = shared.model();
        let numbers = [asked.id, bytes.len() as u64, u64::from(matches!(end, End::Failed(_)))];
        model.next(shared.time.now(), "end", numbers);
        (ran.hit, ran.serial) = (status.hit, serial);
        ran.etag = text(ETAG).map(str::to_owned);
        let Some(serial) = serial else { return ran };
        let has_no_body = asked.is_head || head.status == StatusCode::NOT_MODIFIED;
        match end {
            End::Failed(error) => model.check_failed_body(&asked, serial, status, &error),
            _ if has_no_body => {
                let size = model.records[serial].identity.size as u64;
                if !bytes.is_empty() {
                    model.fault(format!("{asked:?} got a body of {} bytes", bytes.len()));
                }
                if asked.is_head
                    && coding.is_none()
                    && declared.is_some_and(|length| length != size)
                {
                    model
                        .fault(format!("{asked:?} was told {declared:?} bytes in place of {size}"));
                }
            }
            End::Ended | End::AtLength => {
                let at_length = matches!(end, End::AtLength);
                if hint.is_some_and(|hint| hint != bytes.len() as u64) && !at_length {
                    model.fault(format!(
                        "{asked:?} got {} bytes, with a hint of {hint:?}",
                        bytes.len()
                    ));
                }
                if head.status == StatusCode::PARTIAL_CONTENT {
                    let whole = model.records[serial].identity.text();
                    let stated = text(CONTENT_RANGE).unwrap_or_default();
                    if let Err(fault) =
                        check_part(range, stated, coding.map_or(Some(&whole), |_| None), &bytes)
                    {
                        let fault = format!("{asked:?} {:?}: {fault}", model.records[serial]);
                        model.fault(fault);
                    }
                } else if head.status == StatusCode::OK {
                    let decoded = decode(coding, &bytes);
                    model.check_body(&asked, serial, &decoded, at_length, status.hit);
                }
            }
        }
        ran
    }
}

/// The result of a request that was not dropped.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) resource: usize,
    pub(crate) hit: bool,
    pub(crate) serial: Option<usize>,
    pub(crate) etag: Option<String>,
}

/// Reads a body as a server does.
#[derive(Debug)]
struct Reader {
    stops_at_length: bool,
    pause: u64,
    declared: Option<u64>,
    is_head: bool,
    status: StatusCode,
}

#[derive(Debug)]
enum End {
    Ended,
    /// As many bytes as the head states were read.
    AtLength,
    Failed(String),
}

impl Reader {
    async fn to_end(&self, mut body: BoxBody) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let has_body = !self.is_head && self.status != StatusCode::NOT_MODIFIED;
        let declared = self.declared.filter(|_| has_body);
        loop {
            if self.stops_at_length && declared == Some(bytes.len() as u64) {
                return (bytes, End::AtLength);
            }
            match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                None if declared.is_some_and(|length| length > bytes.len() as u64) => {
                    return (bytes, End::Failed(format!("it ends before {declared:?} bytes")));
                }
                None => return (bytes, End::Ended),
                Some(Err(error)) => return (bytes, End::Failed(error.to_string())),
                Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
            }
            if declared.is_some_and(|length| length < bytes.len() as u64) {
                return (bytes, End::Failed(format!("it goes on after {declared:?} bytes")));
            }
            if self.pause > 0 {
                sleep(Duration::from_millis(self.pause)).await;
            }
        }
    }
}

/// Checks a part (206). `whole` is the body that it is a part of, if it is not encoded.
fn check_part(
    range: Option<(usize, usize)>,
    stated: &str,
    whole: Option<&Vec<u8>>,
    bytes: &[u8],
) -> Result<(), String> {
    let fault = |text: &str| Err(format!("{text}: {range:?}, {stated:?}, {} bytes", bytes.len()));
    let Some((first, last)) = range else { return fault("a part that nobody asked for") };
    let numbers: Vec<usize> = stated
        .trim_start_matches("bytes ")
        .split(['-', '/'])
        .filter_map(|number| number.parse().ok())
        .collect();
    let [from, to, size] = numbers[..] else { return fault("a part of what") };
    if from != first || to != last.min(size - 1) || bytes.len() != to + 1 - from {
        return fault("another part");
    }
    match whole {
        Some(whole) if whole.len() != size || whole[from..=to] != *bytes => {
            fault("a part of another body")
        }
        _ => Ok(()),
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.frames.is_empty() {
            return Poll::Ready(None);
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(Duration::from_millis(3))));
        ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        Poll::Ready(self.frames.pop_front().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.is_exact {
            return SizeHint::new();
        }
        SizeHint::with_exact(self.frames.iter().map(|frame| frame.len() as u64).sum())
    }
}

/// The codings that clients accept.
const CODINGS: [Option<&str>; 6] =
    [None, None, Some("gzip"), Some("zstd"), Some("gzip, zstd;q=0.5"), Some("identity")];

/// The longest wait for a response in milliseconds where nothing is slow: below all timeouts of the
/// cache that hide a lost wakeup.
const LONGEST_CALM: u64 = 8_000;

/// The sizes in bytes that the layer for limits permits.
pub(crate) const MAX_UPLOAD: u64 = 2000;
pub(crate) const MAX_HEADER_BYTES: u64 = 2000;
