//! The inner service: it answers as a seed says, and tells the model.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, COOKIE, ETAG,
    IF_NONE_MATCH, RETRY_AFTER, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Sleep, sleep};
use tower::Service;

use crate::BoxError;
use crate::chance::Chance;
use crate::model::{Change, Failure, Fate, Model, Record, Renewal};
use crate::resource::{Kind, Resource};
use crate::text::Identity;
use crate::time::Time;

/// The service of one process. All processes have the same resources.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) model: Mutex<Model>,
    pub(crate) time: Arc<Time>,
    pub(crate) habits: Habits,
    chance: Mutex<Chance>,
    /// The responses and bodies that exist.
    alive: Arc<AtomicUsize>,
}

/// The frequency of what goes wrong, of 1,000 times each.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    pub(crate) errors: AtomicU64,
    pub(crate) failing_bodies: AtomicU64,
    /// Responses that take longer than a timeout of the cache.
    pub(crate) slow: AtomicU64,
}

/// A place among what exists, which is free again when this is dropped.
#[derive(Debug)]
struct Alive(Arc<AtomicUsize>);

/// A response body that follows a script.
#[derive(Debug)]
pub(crate) struct Script {
    steps: VecDeque<Step>,
    sleep: Option<Pin<Box<Sleep>>>,
    tells_end: bool,
    exact: bool,
    ended: bool,
    record: Option<usize>,
    shared: Arc<Shared>,
    _alive: Alive,
}

#[derive(Debug)]
enum Step {
    Data(Bytes),
    Yield,
    Wait(u64),
    Fail,
}

/// A request as the service reads it.
struct Read {
    id: u64,
    resource: usize,
    user: u64,
    has_authorization: bool,
    has_cookie: bool,
    lang: u64,
    is_odd: bool,
    if_none_match: Option<String>,
}

impl Shared {
    pub(crate) fn new(model: Model, time: Arc<Time>, habits: Habits, chance: Chance) -> Arc<Self> {
        let (model, chance) = (Mutex::new(model), Mutex::new(chance));
        Arc::new(Self { model, time, habits, chance, alive: Arc::default() })
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// Returns how many responses and bodies there are.
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    fn live(&self) -> Alive {
        self.alive.fetch_add(1, Ordering::Relaxed);
        Alive(Arc::clone(&self.alive))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Origin {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }
}

impl<B> Service<Request<B>> for Origin
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Script>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Script>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let _alive = shared.live();
        let chance = shared.chance.lock().unwrap().part();
        let (head, body) = request.into_parts();
        let read = Read::of(&head, &shared.model());
        let now = shared.time.now();
        let order = shared.model().next(now, "call", [read.id, read.resource as u64, 0]);
        let call = Call { shared, _alive, chance, read, order };
        Box::pin(async move {
            if head.method == Method::GET || head.method == Method::HEAD {
                call.get(head.method == Method::HEAD).await
            } else {
                call.change(body, head.method == Method::POST).await
            }
        })
    }
}

/// A call of the service.
struct Call {
    shared: Arc<Shared>,
    _alive: Alive,
    chance: Chance,
    read: Read,
    order: u64,
}

impl Call {
    /// Waits as long as the service takes. Returns the error that the service answers with, if any.
    async fn work(&mut self) -> Option<Result<StatusCode, BoxError>> {
        let chance = &mut self.chance;
        let habits = &self.shared.habits;
        for _ in 0..chance.among(0..3) {
            tokio::task::yield_now().await;
        }
        let slow = chance.among(0..1000) < habits.slow.load(Ordering::Relaxed);
        let delay = match chance.among(0..4) {
            _ if slow => [1_500, 4_000, 12_000, 70_000][chance.among(0..4) as usize],
            0 => chance.among(1..200),
            1 => chance.among(1..10),
            _ => 0,
        };
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        let fails = chance.among(0..1000) < habits.errors.load(Ordering::Relaxed);
        fails.then(|| match chance.among(0..3) {
            0 => Err("the service fails".into()),
            1 => Ok(StatusCode::INTERNAL_SERVER_ERROR),
            _ => Ok(StatusCode::SERVICE_UNAVAILABLE),
        })
    }

    fn fail(mut self, failure: Result<StatusCode, BoxError>) -> Result<Response<Script>, BoxError> {
        let time = self.shared.time.now();
        let Read { id: asker, resource, .. } = self.read;
        let status = failure.as_ref().ok().copied();
        let mut model = self.shared.model();
        model.failures.push(Failure { asker, resource, time, status });
        model.next(time, "failure", [asker, resource as u64, 0]);
        drop(model);
        let status = failure?;
        let mut response = self.respond(status, VecDeque::new(), None);
        if self.chance.one_in(3) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        Ok(response)
    }

    async fn get(mut self, is_head: bool) -> Result<Response<Script>, BoxError> {
        // The resource may be read at any time between the call and the response.
        let early = self.chance.one_in(2).then(|| self.identity());
        if let Some(failure) = self.work().await {
            return self.fail(failure);
        }
        let identity = early.unwrap_or_else(|| self.identity());
        let (shared, time) = (Arc::clone(&self.shared), self.shared.time.now());
        let resource = shared.model().resources[self.read.resource].clone();
        let renewal = Renewal {
            asker: self.read.id,
            order: self.order,
            responded: 0,
            resource: self.read.resource,
            version: identity.version,
            time,
        };
        let etag = etag(&identity);
        if resource.has_etag
            && self.read.if_none_match.as_ref().is_some_and(|tags| tags.contains(&*etag))
        {
            let mut model = shared.model();
            let responded = model.next(time, "not modified", [self.read.id, resource.version, 0]);
            model.renewals.push(Renewal { responded, ..renewal });
            drop(model);
            let mut response = self.respond(StatusCode::NOT_MODIFIED, VecDeque::new(), None);
            self.describe(response.headers_mut(), &resource, &identity);
            return Ok(response);
        }
        if is_head {
            let mut model = shared.model();
            let responded =
                model.next(time, "response to HEAD", [self.read.id, resource.version, 0]);
            model.renewals.push(Renewal { responded, ..renewal });
            drop(model);
            let mut response = self.respond(StatusCode::OK, VecDeque::new(), None);
            self.describe(response.headers_mut(), &resource, &identity);
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(identity.size));
            return Ok(response);
        }
        Ok(self.answer(&resource, identity))
    }

    /// Returns a response with a body.
    fn answer(mut self, resource: &Resource, identity: Identity) -> Response<Script> {
        let text = identity.text();
        let chance = &mut self.chance;
        let is_declared = chance.one_in(2);
        let fails =
            chance.among(0..1000) < self.shared.habits.failing_bodies.load(Ordering::Relaxed);
        let fate = match chance.among(0..3) {
            _ if !fails => Fate::Whole,
            1 if is_declared => Fate::Short,
            2 if is_declared => Fate::Long,
            _ => Fate::Fails,
        };
        let (mut frames, mut rest) = (Vec::new(), Bytes::from(text));
        let pieces = chance.among(1..5);
        for _ in 1..pieces {
            let at = chance.among(0..rest.len() as u64 + 1) as usize;
            frames.push(rest.split_to(at));
        }
        frames.push(rest);
        match fate {
            Fate::Whole => {}
            Fate::Fails => {
                frames.truncate(chance.among(0..pieces + 1) as usize);
                // A body with all of its declared bytes is whole, whatever comes after them.
                if is_declared {
                    shorten(&mut frames);
                }
            }
            Fate::Short => shorten(&mut frames),
            Fate::Long => frames.push(Bytes::from_static(b"and more")),
        }
        let is_slow = chance.among(0..1000) < self.shared.habits.slow.load(Ordering::Relaxed);
        let mut steps = VecDeque::new();
        for frame in frames {
            match chance.among(0..6) {
                0 if is_slow => {
                    steps.push_back(Step::Wait([2_000, 65_000][chance.among(0..2) as usize]));
                }
                0 | 1 => steps.push_back(Step::Wait(chance.among(1..60))),
                2 => steps.push_back(Step::Yield),
                _ => {}
            }
            steps.push_back(Step::Data(frame));
        }
        if fate == Fate::Fails {
            steps.push_back(Step::Fail);
        }
        let time = self.shared.time.now();
        let mut model = self.shared.model();
        let order = self.order;
        let record = Record {
            asker: self.read.id,
            order,
            identity,
            responded: 0,
            responded_at: time,
            touched: time,
            shareable: self.is_shareable(resource, &model),
            fate,
            lifetime: model.ttl.unwrap_or(match resource.kind {
                Kind::Silent => model.default_ttl.unwrap_or(0),
                _ => resource.max_age * 1000,
            }),
        };
        let serial = model.records.len();
        let numbers = [self.read.id, serial as u64, fate as u64];
        let responded = model.next(time, "response", numbers);
        model.records.push(Record { responded, ..record });
        drop(model);
        let mut response = self.respond(StatusCode::OK, steps, Some(serial));
        let headers = response.headers_mut();
        self.describe(headers, resource, &identity);
        headers.insert("x-serial", HeaderValue::from(serial));
        if resource.kind == Kind::SetCookie {
            let cookie = format!("session=u{}", identity.user);
            headers.insert(SET_COOKIE, HeaderValue::try_from(cookie).unwrap());
        }
        if is_declared {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(identity.size));
        }
        response
    }

    async fn change<B>(mut self, body: B, is_post: bool) -> Result<Response<Script>, BoxError>
    where
        B: Body + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Box::pin(body);
        let mut is_whole = true;
        while let Some(frame) = body.frame().await {
            is_whole &= frame.is_ok();
            if !is_whole {
                break;
            }
        }
        if let Some(failure) = self.work().await {
            return self.fail(failure);
        }
        if !is_whole {
            return Ok(self.respond(StatusCode::BAD_REQUEST, VecDeque::new(), None));
        }
        let time = self.shared.time.now();
        let mut model = self.shared.model();
        let resource = &mut model.resources[self.read.resource];
        resource.version += 1;
        let version = resource.version;
        let Read { id: asker, resource, .. } = self.read;
        let order = model.next(time, "changed", [asker, resource as u64, version]);
        model.changes.push(Change { asker, order, version });
        let resource = model.resources[resource].clone();
        drop(model);
        // A response to POST may answer GET too (RFC 9110 §9.3.3).
        if is_post && resource.kind == Kind::Public && self.chance.one_in(2) {
            self.order = order;
            let identity = self.identity();
            let target = HeaderValue::try_from(resource.target.clone()).unwrap();
            let mut response = self.answer(&resource, identity);
            response.headers_mut().insert(CONTENT_LOCATION, target);
            return Ok(response);
        }
        let steps = VecDeque::from([Step::Data(Bytes::from_static(b"changed"))]);
        Ok(self.respond(StatusCode::OK, steps, None))
    }

    /// Returns what the resource is now, for this request.
    fn identity(&self) -> Identity {
        let model = self.shared.model();
        let Read { resource: at, user, has_authorization, has_cookie, lang, .. } = self.read;
        let resource = &model.resources[at];
        let user = match resource.kind {
            Kind::Public | Kind::Silent | Kind::VaryLang | Kind::NoCache => 0,
            Kind::Authorized if !has_authorization => 0,
            Kind::SetCookie if !has_cookie => 0,
            _ => user,
        };
        let lang = if resource.kind == Kind::VaryLang { lang } else { 0 };
        let version = resource.version;
        Identity { resource: at, user, lang, version, size: resource.size(version) }
    }

    /// Returns `true` if other requests may have the response.
    fn is_shareable(&self, resource: &Resource, model: &Model) -> bool {
        let Read { has_authorization, has_cookie, is_odd, .. } = self.read;
        let own_ttl = model.ttl.is_some();
        let may = match resource.kind {
            Kind::Private | Kind::NoStore | Kind::SetCookie => false,
            Kind::Silent => {
                (own_ttl || model.default_ttl.is_some()) && !has_authorization && !has_cookie
            }
            Kind::Authorized => !has_authorization,
            Kind::Public | Kind::VaryUser | Kind::VaryLang | Kind::NoCache => true,
        };
        may && !is_odd && !(own_ttl && has_cookie)
    }

    fn describe(&self, headers: &mut HeaderMap, resource: &Resource, identity: &Identity) {
        let kind = if resource.is_text { "text/plain" } else { "application/octet-stream" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(control) = resource.control() {
            headers.insert(CACHE_CONTROL, HeaderValue::try_from(control).unwrap());
        }
        match resource.kind {
            Kind::VaryUser => drop(headers.append(VARY, HeaderValue::from_static("x-user"))),
            Kind::VaryLang => drop(headers.append(VARY, HeaderValue::from_static("x-lang"))),
            _ => {}
        }
        if resource.has_etag {
            headers.insert(ETAG, HeaderValue::try_from(etag(identity)).unwrap());
        }
        if resource.ignores_utm {
            headers.insert("no-vary-search", HeaderValue::from_static("params=(\"utm\")"));
        }
        headers.insert("surrogate-key", HeaderValue::from_static(resource.tag));
    }

    fn respond(
        &mut self,
        status: StatusCode,
        steps: VecDeque<Step>,
        record: Option<usize>,
    ) -> Response<Script> {
        let body = Script {
            steps,
            sleep: None,
            tells_end: self.chance.one_in(2),
            exact: self.chance.one_in(4),
            ended: false,
            record,
            shared: Arc::clone(&self.shared),
            _alive: self.shared.live(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response
    }
}

impl Read {
    fn of(head: &request::Parts, model: &Model) -> Self {
        let number = |name: &str, prefix: &str| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.and_then(|value| value.strip_prefix(prefix)?.parse::<u64>().ok())
        };
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        let target = target.split("&utm=").next().unwrap_or_default();
        let resource = model.resources.iter().position(|resource| resource.target == target);
        let tags = head.headers.get(IF_NONE_MATCH);
        Self {
            id: number("x-request-id", "").unwrap_or(u64::MAX),
            resource: resource.expect("the target of a resource"),
            user: number("x-user", "u").unwrap_or(0),
            has_authorization: head.headers.contains_key(AUTHORIZATION),
            has_cookie: head.headers.contains_key(COOKIE),
            lang: number("x-lang", "l").unwrap_or(0),
            is_odd: head.headers.contains_key("x-forwarded-host"),
            if_none_match: tags.and_then(|tags| tags.to_str().ok()).map(str::to_owned),
        }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.ended {
            this.shared.model().fault("a body was polled after its end");
        }
        loop {
            if let Some(sleep) = &mut this.sleep {
                ready!(sleep.as_mut().poll(cx));
                this.sleep = None;
            }
            if let Some(record) = this.record {
                let now = this.shared.time.now();
                this.shared.model().records[record].touched = now;
            }
            match this.steps.pop_front() {
                Some(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Step::Yield) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(Step::Wait(time)) => {
                    this.sleep = Some(Box::pin(sleep(Duration::from_millis(time))));
                }
                Some(Step::Fail) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err("the body fails".into())));
                }
                None => {
                    this.ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.tells_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let fails = self.steps.iter().any(|step| matches!(step, Step::Fail));
        if !self.exact || fails {
            return SizeHint::new();
        }
        SizeHint::with_exact(
            self.steps
                .iter()
                .map(|step| match step {
                    Step::Data(data) => data.len() as u64,
                    _ => 0,
                })
                .sum(),
        )
    }
}

/// Takes the last byte out of a body, or all bytes if the last frame is empty.
fn shorten(frames: &mut Vec<Bytes>) {
    match frames.last_mut().filter(|last| !last.is_empty()) {
        Some(last) => last.truncate(last.len() - 1),
        None => frames.retain(Bytes::is_empty),
    }
}

fn etag(identity: &Identity) -> String {
    format!("\"{}-{}-{}\"", identity.version, identity.user, identity.lang)
}
