use bytes::Bytes;
use http::Response;
use http_body::SizeHint;
use tower_kit::CompressLayer;
use tower_kit::compress::Encoding;

use super::support::{Served, Stack, clients, send};
use crate::support::{BoxBody, BoxError, Scripted, Step, boxed, prose};

/// A body that fails or does not have the size that its head declares.
#[derive(Clone, Copy, Debug)]
struct Failing {
    given: usize,
    pauses: bool,
    breaks: bool,
    declared: Option<usize>,
    exact: Option<u64>,
}

const FAILING: [Failing; 8] = [
    Failing { given: 3_000, pauses: false, breaks: false, declared: Some(5_000), exact: None },
    Failing { given: 3_000, pauses: true, breaks: false, declared: Some(5_000), exact: None },
    Failing { given: 3_000, pauses: true, breaks: false, declared: None, exact: Some(5_000) },
    Failing { given: 200_000, pauses: false, breaks: false, declared: Some(200_001), exact: None },
    Failing { given: 5_000, pauses: true, breaks: false, declared: None, exact: Some(4_999) },
    Failing { given: 5_000, pauses: true, breaks: true, declared: None, exact: None },
    Failing { given: 5_000, pauses: false, breaks: true, declared: Some(5_000), exact: None },
    Failing { given: 9, pauses: false, breaks: true, declared: None, exact: None },
];

impl Failing {
    fn response(self, media_type: &str) -> Response<BoxBody> {
        let text = prose(self.given, 1);
        let mut steps: Vec<Step<BoxError>> = vec![Step::Data(text.slice(..self.given / 2))];
        if self.pauses {
            steps.push(Step::Pending);
        }
        steps.push(Step::Data(text.slice(self.given / 2..)));
        if self.breaks {
            steps.push(Step::Error("broken".into()));
        }
        let mut body = Scripted::new(steps);
        if let Some(exact) = self.exact {
            body = body.hint(&SizeHint::with_exact(exact));
        }
        let mut response = Response::builder()
            .header("content-type", media_type)
            .header("cache-control", "max-age=600");
        if let Some(declared) = self.declared {
            response = response.header("content-length", declared);
        }
        response.body(boxed(body)).unwrap()
    }
}

#[tokio::test]
async fn failed_bodies_fail_and_are_not_stored() {
    for stack in [Stack::Compressed, Stack::Cached] {
        for failing in FAILING {
            for (media_type, accepts) in [
                ("text/html", "gzip"),
                ("text/html", "br"),
                ("text/html", "identity"),
                ("image/png", "gzip"),
            ] {
                // Without an encoding, hyper cuts a body that is too long.
                let identity = accepts == "identity" || media_type == "image/png";
                let declared = failing.declared.map(|it| it as u64).or(failing.exact);
                if identity && declared.is_some_and(|declared| declared <= failing.given as u64) {
                    continue;
                }
                let layer = CompressLayer::new().encodings([Encoding::Gzip, Encoding::Brotli]);
                let served =
                    Served::start(stack, layer, move |_| failing.response(media_type)).await;
                for (at, client) in clients().iter().enumerate() {
                    let request = served.get(&[("accept-encoding", accepts)]);
                    let read = send(client, request).await;
                    assert!(read.is_err(), "{stack:?} {failing:?} {accepts} {media_type}");
                    assert!(served.calls() > at as u64, "the response was stored");
                }
            }
        }
    }
}

#[tokio::test]
async fn short_bodies_fail_above_max_streams() {
    let layer = CompressLayer::new().max_streams(0);
    for failing in &FAILING[..2] {
        let failing = *failing;
        let served =
            Served::start(Stack::Compressed, layer.clone(), move |_| failing.response("text/html"))
                .await;
        for client in clients() {
            let read = send(&client, served.get(&[("accept-encoding", "gzip")])).await;
            assert!(read.is_err(), "{failing:?} {read:?}");
        }
    }
}

#[tokio::test]
async fn complete_bodies_pass() {
    for stack in [Stack::Compressed, Stack::Cached] {
        for declared in [false, true] {
            let text = prose(200_000, 2);
            let whole = text.clone();
            let respond = move |_: &_| {
                let pieces: Vec<Bytes> = whole.chunks(9_000).map(Bytes::copy_from_slice).collect();
                let steps = pieces.into_iter().flat_map(|piece| [Step::Pending, Step::Data(piece)]);
                let body = Scripted::<BoxError>::new(steps);
                let mut response = Response::builder().header("content-type", "text/html");
                if declared {
                    response = response.header("content-length", 200_000);
                }
                response.body(boxed(body)).unwrap()
            };
            let served = Served::start(stack, CompressLayer::new(), respond).await;
            for client in clients() {
                let read = served.read(&client, &[("accept-encoding", "gzip")]).await;
                assert_eq!(read.header("content-encoding"), Some("gzip"));
                assert_eq!(read.text(), text);
            }
        }
    }
}

#[tokio::test]
async fn bodies_that_are_not_unpin_are_compressed() {
    use std::convert::Infallible;

    use http::Request;
    use http_body_util::{BodyExt, Empty};
    use tower::{Layer, ServiceExt, service_fn};

    use crate::pinned::pinned;
    use crate::support::gunzip;

    let text = prose(50_000, 1);
    let (start, end) = (text.slice(..20_000), text.slice(20_000..));
    for (steps, length) in [
        (vec![Step::Data(text.clone())], Some(50_000)),
        (vec![Step::Data(start.clone()), Step::Pending, Step::Data(end.clone())], None),
        (vec![Step::Pending, Step::Data(start), Step::Data(end)], Some(50_000)),
    ] {
        let mut response = Response::builder().header("content-type", "text/plain");
        if let Some(length) = length {
            response = response.header("content-length", length);
        }
        let body = pinned(Scripted::<BoxError>::new(steps));
        let mut response = Some(response.body(body).unwrap());
        let inner = service_fn(move |_: Request<Empty<Bytes>>| {
            let response = response.take().unwrap();
            async { Ok::<_, Infallible>(response) }
        });
        let request = Request::get("/").header("accept-encoding", "gzip").body(Empty::new());
        let response = CompressLayer::new().layer(inner).oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(gunzip(&bytes), text);
    }
}
