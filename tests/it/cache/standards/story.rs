//! Stories in text: the request of a client, the response of the origin, and the response that the
//! client has to get.
//!
//! ```text
//! ## A name, with its reference (RFC 9111 §4)
//! layer grace                 a setting, by its name in the test's table
//!
//! > GET /items                the request of the client
//! > accept: text/html
//! ? GET http://x.org/items    the request that the origin has to get; the URL alone will do too
//! ? accept: text/html         a header of that
//! < 200                       the response of the origin; without one it must not be asked
//! < cache-control: max-age=60
//! < hint tagged               a hint of the handler, by its name in the test's table
//! <
//! < the body
//! = 200                       the response of the client
//! = cache-status: fwd=uri-miss; stored
//! = etag -                    no such header
//! =
//! = the body
//!
//! ~ 61                        the clock goes on by so many seconds
//! ! purge_tag items           a purge by the handle
//! ```
//!
//! Steps end with an empty line. A header is compared with all its lines, joined by `, `;
//! `cache-status` without the name of the cache.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Response, request};
use tower_kit::cache::{CacheHandle, CacheHint, CacheLayer, MemoryStore};

use super::super::rig::{self, Got, Rig, idle};
use crate::support::{BoxBody, full, status};

/// The settings and hints that stories name.
#[derive(Clone, Copy, Default)]
pub(super) struct Names {
    pub(super) layers: Table<fn(CacheLayer) -> CacheLayer>,
    pub(super) hints: Table<fn() -> CacheHint>,
}

type Table<T> = &'static [(&'static str, T)];

/// A request or a response: its first line, its headers, and its body.
#[derive(Clone, Debug, Default)]
struct Message {
    first: String,
    /// Names and values; no value means that there must be no such header.
    headers: Vec<(String, Option<String>)>,
    hint: Option<String>,
    body: Option<String>,
}

/// Tells each story of the text.
pub(super) async fn tell(text: &str, names: Names) {
    let mut stories = text.split("\n## ");
    assert!(stories.next().is_some_and(|title| title.starts_with("# ")), "the text has a title");
    let mut told = 0;
    for story in stories {
        let (name, story) = story.split_once('\n').expect("a story has steps");
        tell_one(name, story, names).await;
        told += 1;
    }
    assert!(told > 0, "the text has stories");
}

async fn tell_one(name: &str, story: &str, names: Names) {
    let layer = CacheLayer::new(MemoryStore::new(1 << 24));
    let mut rig = Rig::over(layer);
    for step in story.split("\n\n").map(str::trim).filter(|step| !step.is_empty()) {
        let (mark, rest) = step.split_once(' ').expect("a step has a mark");
        match mark {
            "layer" => {
                let choose = find(names.layers, rest);
                rig = Rig::over(choose(CacheLayer::new(MemoryStore::new(1 << 24))));
            }
            "~" => rig.clock.pass(rest.parse().expect("seconds")),
            "!" => purge(&rig.handle, rest).await,
            ">" => exchange(&rig, step, names, &format!("{name}\n{step}")).await,
            _ => panic!("{name}: no step is {step:?}"),
        }
    }
}

async fn purge(handle: &CacheHandle, what: &str) {
    let (method, name) = what.split_once(' ').unwrap_or((what, ""));
    match method {
        "purge_url" => handle.purge_url(name).expect("a URL").await,
        "purge_prefix" => handle.purge_prefix(name).await,
        "purge_tag" => handle.purge_tag(name).await,
        "purge_all" => handle.purge_all().await,
        _ => panic!("no purge {what:?}"),
    }
    .expect("the purge is written");
}

/// Sends the request of a step, and compares what the origin and the client get.
async fn exchange(rig: &Rig, step: &str, names: Names, at: &str) {
    let (request, seen) = (Message::parse(step, ">"), Message::parse(step, "?"));
    let (answer, expected) = (Message::parse(step, "<"), Message::parse(step, "="));
    let is_asked = !answer.first.is_empty();
    let asked: Arc<Mutex<Vec<request::Parts>>> = Arc::default();
    let seen_by_origin = Arc::clone(&asked);
    let response = move || answer.response(names);
    rig.answers(move |head| {
        seen_by_origin.lock().unwrap_or_else(PoisonError::into_inner).push(head.clone());
        Ok(if is_asked { response() } else { rig::reply(500, &[], "unexpected") })
    });
    let got = rig.ask(request.request()).await.expect("the origin does not fail");
    // A refresh runs in the background.
    idle().await;
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(asked.len(), usize::from(is_asked), "requests of the origin: {at}\ngot: {got:?}");
    for head in asked {
        let headers = Got { status: 0, headers: head.headers, body: String::new() };
        seen.compare(&headers, at);
        let (uri, line) = (head.uri.to_string(), format!("{} {}", head.method, head.uri));
        assert!(seen.first.is_empty() || [&uri, &line].contains(&&seen.first), "{line}: {at}");
    }
    assert_eq!(expected.first, got.status.to_string(), "{at}\ngot: {got:?}");
    expected.compare(&got, at);
    if let Some(body) = &expected.body {
        assert_eq!(*body, got.body, "{at}");
    }
}

impl Message {
    /// Reads the lines of a step that have this mark.
    fn parse(step: &str, mark: &str) -> Self {
        let mut message = Self::default();
        let lines = step.lines().filter_map(|line| line.strip_prefix(mark)).map(str::trim);
        for line in lines {
            if let Some(body) = &mut message.body {
                if !body.is_empty() {
                    body.push('\n');
                }
                body.push_str(line);
            } else if line.is_empty() {
                message.body = Some(String::new());
            } else if let Some(hint) = line.strip_prefix("hint ") {
                message.hint = Some(hint.to_owned());
            } else if let Some((name, value)) = line.split_once(": ") {
                message.headers.push((name.to_owned(), Some(value.to_owned())));
            } else if let Some(name) = line.strip_suffix(" -") {
                message.headers.push((name.to_owned(), None));
            } else if let Some(name) = line.strip_suffix(':') {
                message.headers.push((name.to_owned(), Some(String::new())));
            } else {
                message.first = line.to_owned();
            }
        }
        message
    }

    fn request(&self) -> Request<BoxBody> {
        let (method, path) = self.first.split_once(' ').expect("a method and a path");
        let request = rig::request(method, path, &self.fields());
        match &self.body {
            Some(body) => request.map(|_| full(body.clone())),
            None => request,
        }
    }

    fn response(&self, names: Names) -> Response<BoxBody> {
        let mut response = rig::reply(200, &self.fields(), self.body.as_deref().unwrap_or(""));
        *response.status_mut() = status(self.first.parse().expect("a status"));
        if let Some(hint) = &self.hint {
            response.extensions_mut().insert(find(names.hints, hint)());
        }
        response
    }

    fn fields(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, value.as_deref().unwrap_or(""))).collect()
    }

    /// Compares the headers that are named here.
    fn compare(&self, got: &Got, at: &str) {
        for (name, expected) in &self.headers {
            let lines: Vec<_> =
                got.headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect();
            let found = (!lines.is_empty()).then(|| lines.join(", "));
            let found = match name.as_str() {
                "cache-status" => found.map(|found| found.replace("tower-kit; ", "")),
                _ => found,
            };
            assert_eq!(found, *expected, "{name}: {at}\ngot: {got:?}");
        }
    }
}

fn find<T: Copy>(table: Table<T>, name: &str) -> T {
    let found = table.iter().find(|(of, _)| *of == name);
    found.unwrap_or_else(|| panic!("no {name:?} in the table of the test")).1
}
