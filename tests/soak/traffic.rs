//! Clients, each of which asks for one thing after the other and looks closely at what it gets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::{sleep, timeout};

use crate::chance::Chance;
use crate::support::{BoxBody, boxed, empty, full, gunzip, h1_client, h2_client};
use crate::text::{self, ITEMS, PAGES, language_of};
use crate::world::World;

/// A client that sends mixed traffic.
#[derive(Debug)]
pub(crate) struct Visitor {
    world: Arc<World>,
    /// The number of the action, in order.
    order: Chance,
    /// The random numbers of one action, which may draw more of them where responses come in more pieces.
    chance: Chance,
    clients: [Client<HttpConnector, BoxBody>; 2],
}

/// The faults that were found.
type Wrong = String;

impl Visitor {
    pub(crate) fn new(world: Arc<World>, mut order: Chance) -> Self {
        let chance = order.part();
        Self { world, order, chance, clients: [h1_client(), h2_client()] }
    }

    /// Goes on until it is over.
    pub(crate) async fn visit(mut self) {
        while !self.world.over.load(Ordering::Relaxed) {
            self.chance = self.order.part();
            let number = self.chance.among(0..100);
            let (kind, visit): (_, std::pin::Pin<Box<dyn Future<Output = _> + Send + '_>>) =
                match number {
                    0..45 => ("items", Box::pin(self.item())),
                    45..58 => ("cold", Box::pin(self.cold())),
                    58..66 => ("ranges", Box::pin(self.range())),
                    66..72 => ("conditional", Box::pin(self.conditional())),
                    72..76 => ("head", Box::pin(self.head())),
                    76..84 => ("echo", Box::pin(self.echo())),
                    84..88 => ("too large", Box::pin(self.too_large())),
                    88..91 => ("changes", Box::pin(self.change())),
                    91..94 => ("streams", Box::pin(self.events())),
                    94..97 => ("slow", Box::pin(self.big())),
                    _ => ("left", Box::pin(self.leave())),
                };
            // Longer than anything takes here, with Redis or without.
            let visited: Result<_, Wrong> =
                timeout(Duration::from_secs(30), visit).await.unwrap_or(Err("it hangs".into()));
            self.world.tally.count(kind);
            if let Err(wrong) = visited {
                self.world.tally.wrong(format!("{kind}: {wrong}"));
            }
        }
    }

    async fn item(&mut self) -> Result<(), Wrong> {
        let (server, item) = (self.server(), self.chance.skewed(ITEMS));
        let (url, language) = (self.page(item), self.language());
        let floor = self.world.floor(server, item);
        let mut fields = vec![("accept-language", language)];
        if self.chance.one_in(2) {
            fields.push(("accept-encoding", "gzip"));
        }
        let (head, body) = self.get(server, &url, &fields).await?;
        let version = text::check(&body, &url, language_of(item, language))?;
        if head.status != StatusCode::OK || version < floor {
            return Err(format!("{url}: {} of version {version}, after {floor}", head.status));
        }
        Ok(())
    }

    async fn cold(&mut self) -> Result<(), Wrong> {
        let url = format!("/cold/{}", self.chance.next());
        let server = self.server();
        let (_, body) = self.get(server, &url, &[("accept-encoding", "gzip")]).await?;
        text::check(&body, &url, "any").map(drop)
    }

    async fn range(&mut self) -> Result<(), Wrong> {
        let (server, item) = (self.server(), self.chance.skewed(ITEMS));
        let (url, floor) = (self.page(item), self.world.floor(server, item));
        let first = self.chance.among(0..3_000) as usize;
        let last = first + self.chance.among(0..3_000) as usize;
        let range = format!("bytes={first}-{last}");
        let fields = [("range", range.as_str()), ("accept-language", "de")];
        let (head, body) = self.get(server, &url, &fields).await?;
        let language = language_of(item, "de");
        if head.status == StatusCode::RANGE_NOT_SATISFIABLE {
            let whole = head.headers.get("content-range").and_then(|whole| whole.to_str().ok());
            let length = whole.and_then(|whole| whole.strip_prefix("bytes */")?.parse().ok());
            let beyond = length.is_some_and(|length: usize| length <= first);
            return if beyond { Ok(()) } else { Err(format!("{url}, {range}: {head:?}")) };
        }
        let version = version(&head.headers)?;
        let whole = text::body(&url, language, version);
        let expected = match head.status {
            StatusCode::PARTIAL_CONTENT => &whole[first..whole.len().min(last + 1)],
            _ => &whole[..],
        };
        if body != expected.as_bytes() || version < floor {
            return Err(format!("{url}, {range}: {head:?}"));
        }
        Ok(())
    }

    async fn conditional(&mut self) -> Result<(), Wrong> {
        let (server, item) = (self.server(), self.chance.skewed(ITEMS));
        let url = self.page(item);
        let (head, _) = self.get(server, &url, &[]).await?;
        let known = version(&head.headers)?;
        let tag = format!("\"{known}\"");
        let floor = self.world.floor(server, item);
        let (head, body) = self.get(server, &url, &[("if-none-match", &tag)]).await?;
        if head.status == StatusCode::NOT_MODIFIED {
            return if body.is_empty() && known >= floor {
                Ok(())
            } else {
                Err(format!("{head:?}"))
            };
        }
        let version = text::check(&body, &url, language_of(item, "en"))?;
        if version == known { Err(format!("{url}: {version} again, for {tag}")) } else { Ok(()) }
    }

    async fn head(&mut self) -> Result<(), Wrong> {
        let (server, item) = (self.server(), self.chance.skewed(ITEMS));
        let (url, floor) = (self.page(item), self.world.floor(server, item));
        let request = self.request(Method::HEAD, server, &url, &[], boxed(empty()));
        let (head, body) = self.whole(request).await?;
        if head.status != StatusCode::OK || !body.is_empty() || version(&head.headers)? < floor {
            return Err(format!("{url}: {head:?}, {} bytes", body.len()));
        }
        Ok(())
    }

    async fn echo(&mut self) -> Result<(), Wrong> {
        let length = self.chance.skewed(100_000) as usize;
        let sent = Bytes::from(self.chance.next().to_string().repeat(length / 20 + 1));
        let fields = [("content-type", "text/plain"), ("accept-encoding", "gzip")];
        let server = self.server();
        let request = self.request(Method::POST, server, "/echo", &fields, full(sent.clone()));
        let (_, body) = self.whole(request).await?;
        if body == sent { Ok(()) } else { Err(format!("{} bytes for {}", body.len(), sent.len())) }
    }

    /// A body that says how long it is, or one that does not.
    async fn too_large(&mut self) -> Result<(), Wrong> {
        let (server, fields) = (self.server(), [("content-type", "application/json")]);
        let body = if self.chance.one_in(2) {
            full("1".repeat(12_000))
        } else {
            let piece = Bytes::from("1".repeat(1_000));
            let pieces = (0..12).map(move |_| Ok::<_, hyper::Error>(Frame::data(piece.clone())));
            boxed(StreamBody::new(tokio_stream::iter(pieces)))
        };
        let request = self.request(Method::POST, server, "/echo", &fields, body);
        match self.clients[0].request(request).await {
            Ok(response) if response.status() == StatusCode::PAYLOAD_TOO_LARGE => Ok(()),
            Ok(response) => Err(format!("{response:?}")),
            // The server does not read what is left, so that its answer may be lost.
            Err(_) => {
                self.world.tally.cut.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the client goes on, and the other server has time"
    )]
    async fn change(&mut self) -> Result<(), Wrong> {
        let (server, item) = (self.server(), self.chance.skewed(ITEMS));
        let url = format!("/change/{item}");
        let request = self.request(Method::POST, server, &url, &[], boxed(empty()));
        let (_, body) = self.whole(request).await?;
        let version = String::from_utf8_lossy(&body).parse::<u64>();
        let version = version.map_err(|error| format!("{url}: {error}"))?;
        let world = Arc::clone(&self.world);
        world.raise(server, item, version);
        // The other one must have heard of it by then, or trust its memory no more.
        tokio::task::spawn(async move {
            sleep(OTHERS_KNOW).await;
            world.raise(1 - server, item, version);
        });
        Ok(())
    }

    async fn events(&mut self) -> Result<(), Wrong> {
        let (server, count) = (self.server(), self.chance.among(1..20));
        let url = format!("/events/{count}");
        let (_, body) = self.get(server, &url, &[("accept-encoding", "gzip")]).await?;
        let event = |number| format!("id: {number}\ndata: event {number}\n\n");
        let expected: String = (0..count).map(event).collect();
        if body == expected { Ok(()) } else { Err(format!("{url}: {body:?}")) }
    }

    /// Reads slowly.
    async fn big(&mut self) -> Result<(), Wrong> {
        let (server, url) = (self.server(), format!("/big/{}", self.chance.skewed(20)));
        let request = self.request(Method::GET, server, &url, &[], boxed(empty()));
        let response = self.send(request).await?;
        let mut body = response.into_body();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("{url}: {error}"))?;
            read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            sleep(self.chance.millis(0..30)).await;
        }
        text::check(&read, &url, "any").map(drop)
    }

    /// Leaves before it has got all.
    async fn leave(&mut self) -> Result<(), Wrong> {
        let server = self.server();
        let url = match self.chance.among(0..3) {
            0 => format!("/big/{}", self.chance.skewed(20)),
            1 => "/events/1000".to_owned(),
            _ => self.page(0),
        };
        let fields = [("accept-encoding", if self.chance.one_in(2) { "gzip" } else { "identity" })];
        let request = self.request(Method::GET, server, &url, &fields, boxed(empty()));
        let patience = self.chance.millis(0..40);
        if let Ok(response) = timeout(patience, self.send(request)).await {
            let mut body = response?.into_body();
            for _ in 0..self.chance.among(0..4) {
                drop(timeout(patience, body.frame()).await);
            }
        }
        Ok(())
    }

    // Requests.

    fn server(&mut self) -> usize {
        usize::from(self.chance.one_in(2))
    }

    fn page(&mut self, item: u64) -> String {
        format!("/item/{item}/{}", self.chance.among(0..PAGES))
    }

    fn language(&mut self) -> &'static str {
        if self.chance.one_in(2) { "de" } else { "en" }
    }

    fn request(
        &self,
        method: Method,
        server: usize,
        path: &str,
        fields: &[(&'static str, &str)],
        body: BoxBody,
    ) -> Request<BoxBody> {
        let request = Request::builder().method(method);
        let request = request.uri(format!("{}{path}", self.world.servers[server]));
        let with = |request: http::request::Builder, (name, value): &(&str, &str)| {
            request.header(*name, *value)
        };
        fields.iter().fold(request, with).body(body).unwrap()
    }

    async fn get(
        &mut self,
        server: usize,
        path: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<(Parts, Bytes), Wrong> {
        let request = self.request(Method::GET, server, path, fields, boxed(empty()));
        self.whole(request).await
    }

    /// The whole of a response, unpacked.
    async fn whole(&mut self, request: Request<BoxBody>) -> Result<(Parts, Bytes), Wrong> {
        let url = request.uri().path().to_owned();
        let (head, body) = self.send(request).await?.into_parts();
        let body = body.collect().await.map_err(|error| format!("{url}: {error:?}"))?.to_bytes();
        let packed = head.headers.get("content-encoding").is_some_and(|coding| coding == "gzip");
        let body = if packed { gunzip(&body).into() } else { body };
        Ok((head, body))
    }

    async fn send(&mut self, request: Request<BoxBody>) -> Result<http::Response<Incoming>, Wrong> {
        let url = request.uri().path().to_owned();
        let client = &self.clients[usize::from(self.chance.one_in(2))];
        let response =
            client.request(request).await.map_err(|error| format!("{url}: {error:?}"))?;
        let status = response.headers().get("cache-status");
        if status.is_some_and(|status| status.as_bytes().starts_with(b"tower-kit; hit")) {
            self.world.tally.hits.fetch_add(1, Ordering::Relaxed);
        }
        if response.status().is_server_error() {
            return Err(format!("{url}: {response:?}"));
        }
        Ok(response)
    }
}

/// Returns `true` if the tags are equal, weak or not.
fn version(headers: &HeaderMap) -> Result<u64, Wrong> {
    let tag = headers.get("etag").and_then(|tag| tag.to_str().ok());
    let version = tag.and_then(|tag| tag.trim_start_matches("W/").trim_matches('"').parse().ok());
    version.ok_or_else(|| format!("no version: {headers:?}"))
}

/// An entry is used for five seconds where it cannot be known what others have purged; what comes
/// on top of that are the second until the next look at their list, and a slow machine.
const OTHERS_KNOW: Duration = Duration::from_secs(10);
