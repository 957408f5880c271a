//! A client that keeps one response as its dictionary, and a service that changes.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Request, Response, response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use sha2::{Digest, Sha256};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt};
use tower_kit::CompressLayer;
use tower_kit::compress::dictionary::Dictionaries;

use crate::support::{BoxBody, BoxError, boxed};

pub(super) type Erased = BoxCloneSyncService<Request<()>, Response<BoxBody>, BoxError>;

/// A client of one user that has at most one dictionary.
#[derive(Clone, Debug, Default)]
pub(super) struct Client {
    pub(super) dictionary: Option<Bytes>,
    /// Headers of each request.
    pub(super) headers: Vec<(&'static str, String)>,
}

/// A response that was read and decoded.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) head: response::Parts,
    /// The size of the body on its way.
    pub(super) sent: usize,
    pub(super) text: Bytes,
}

impl Client {
    pub(super) fn with(headers: &[(&'static str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { dictionary: None, headers }
    }

    /// Builds the request of a browser that offers its dictionary.
    pub(super) fn request(&self, uri: &str) -> Request<()> {
        let mut request = Request::get(uri);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        match &self.dictionary {
            None => request.header("accept-encoding", ACCEPTED),
            Some(dictionary) => request
                .header("accept-encoding", format!("{ACCEPTED}, dcb, dcz"))
                .header("available-dictionary", offer(dictionary)),
        }
        .body(())
        .unwrap()
    }

    /// Sends a GET, and keeps the response as the dictionary, if it says that it is one.
    pub(super) async fn get(&mut self, service: &Erased, uri: &str) -> Read {
        let response = service.clone().oneshot(self.request(uri)).await.unwrap();
        self.read(response).await
    }

    pub(super) async fn read<B>(&mut self, response: Response<B>) -> Read
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Debug,
    {
        let (head, body) = response.into_parts();
        let sent = body.collect().await.unwrap().to_bytes();
        let text = self.decode(&head, &sent);
        if head.headers.contains_key("use-as-dictionary") {
            self.dictionary = Some(text.clone());
        }
        Read { head, sent: sent.len(), text }
    }

    fn decode(&self, head: &response::Parts, sent: &Bytes) -> Bytes {
        let coding = head.headers.get("content-encoding").map(|value| value.to_str().unwrap());
        match coding {
            None => sent.clone(),
            Some("dcz") => undo(sent, self.dictionary.as_ref().unwrap()),
            Some("zstd") => unzstd(sent, &[]),
            Some("gzip") => crate::support::gunzip(sent).into(),
            other => panic!("{other:?}"),
        }
    }
}

impl Read {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn is_delta(&self) -> bool {
        self.header("content-encoding") == Some("dcz")
    }

    /// The members of `vary`, over all its lines.
    pub(super) fn vary(&self) -> Vec<&str> {
        let lines = self.head.headers.get_all("vary").iter();
        lines.flat_map(|line| line.to_str().unwrap().split(", ")).collect()
    }
}

/// Returns the value of `available-dictionary` for a dictionary.
pub(super) fn offer(dictionary: &[u8]) -> String {
    format!(":{}:", BASE64_STANDARD.encode(Sha256::digest(dictionary)))
}

/// Decodes a body in `dcz` as RFC 9842 §5 describes it.
pub(super) fn undo(sent: &[u8], dictionary: &[u8]) -> Bytes {
    let (header, frame) = sent.split_at(40);
    assert_eq!(header[..8], [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0]);
    assert_eq!(header[8..], Sha256::digest(dictionary)[..]);
    unzstd(frame, dictionary)
}

fn unzstd(frame: &[u8], dictionary: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(4 << 20);
    let mut context = zstd_safe::DCtx::create();
    context.set_parameter(zstd_safe::DParameter::WindowLogMax(23)).unwrap();
    context.decompress_using_dict(&mut text, frame, dictionary).unwrap();
    text.into()
}

/// A list of items as JSON, whose item `changed` has another value in each version.
pub(super) fn list(size: usize, changed: usize, version: u64) -> Bytes {
    let mut text = String::from("[");
    let mut number = 7_u64;
    let mut at = 0;
    while text.len() < size {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let price = if at == changed { version } else { number >> 44 };
        text += &format!(
            "{{\"id\":{at},\"name\":\"Item {}\",\"price\":{price},\"tags\":[\"t{}\",\"t{}\"]}},\n",
            number >> 40,
            number >> 60,
            number >> 56,
        );
        at += 1;
    }
    text.truncate(size);
    text.into()
}

/// A response in JSON that clients may keep for a minute.
pub(super) fn fresh(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    Response::builder()
        .header("content-type", "application/json")
        .header("cache-control", "max-age=60")
        .body(Full::new(body.into()))
        .unwrap()
}

/// A service that responds by a function of the request and of the number of earlier calls, with
/// the number of calls.
pub(super) fn changing<F, B>(respond: F) -> (Changing<F>, Arc<AtomicU64>)
where
    F: Fn(&Request<()>, u64) -> Response<B>,
{
    let calls = Arc::new(AtomicU64::new(0));
    (Changing { respond, calls: Arc::clone(&calls) }, calls)
}

#[derive(Clone)]
pub(super) struct Changing<F> {
    respond: F,
    calls: Arc<AtomicU64>,
}

impl<F, B, R> Service<Request<R>> for Changing<F>
where
    F: Fn(&Request<()>, u64) -> Response<B>,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let request = request.map(drop);
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        ready(Ok((self.respond)(&request, call)))
    }
}

pub(super) fn layer() -> CompressLayer {
    CompressLayer::new().dictionaries(Dictionaries::new())
}

/// Puts a layer over a function of the request and of the number of earlier calls.
pub(super) fn serve<F, B>(layer: &CompressLayer, respond: F) -> Erased
where
    F: Fn(&Request<()>, u64) -> Response<B> + Clone + Send + Sync + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    erased(layer.layer(changing(respond).0))
}

pub(super) fn erased<S, B>(service: S) -> Erased
where
    S: Service<Request<()>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    BoxCloneSyncService::new(service.map_response(|it| it.map(boxed)).map_err(Into::into))
}

pub(super) const URI: &str = "http://a.test/items";

const ACCEPTED: &str = "gzip, deflate, br;q=0.5, zstd";
