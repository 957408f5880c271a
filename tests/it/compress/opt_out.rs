use http::{HeaderName, Method, Response};
use tower_kit::CompressLayer;

use super::support::{Served, Stack, clients, send};
use crate::support::{full, prose};

const GZIP: (&str, &str) = ("accept-encoding", "gzip");

#[tokio::test]
async fn cache_knows_the_opt_out_without_vary() {
    for name in ["x-no-compression", "x-plain"] {
        for opted_out_first in [false, true] {
            let layer = CompressLayer::new().opt_out_header(HeaderName::from_static(name));
            let served = Served::start(Stack::Cached, layer, |request| {
                let response = Response::builder()
                    .header("content-type", "text/html")
                    .header("etag", "\"v1\"")
                    .header("cache-control", "public, max-age=60")
                    .header("cdn-cache-control", "max-age=60");
                if request.headers().contains_key("if-none-match") {
                    return response.status(304).body(full("")).unwrap();
                }
                response.body(full(prose(5_000, 6))).unwrap()
            })
            .await;
            for client in clients() {
                for round in 0..3 {
                    for opts_out in [opted_out_first, !opted_out_first] {
                        // A 304 in between must keep the header that the entry depends on.
                        let mut fields = vec![GZIP, ("cache-control", "no-cache")];
                        if round != 1 {
                            fields.pop();
                        }
                        if opts_out {
                            fields.push((name, "1"));
                        }
                        let read = served.read(&client, &fields).await;
                        let encoded = read.header("content-encoding").is_some();
                        assert_eq!(encoded, !opts_out, "{name} {round} {:?}", read.head);
                        assert_eq!(read.text(), prose(5_000, 6));
                        assert_eq!(read.header("vary"), Some("accept-encoding"));
                        let control = read.header("cache-control").unwrap();
                        assert_eq!(control.contains("private"), opts_out, "{control}");
                        assert_eq!(read.header("cdn-cache-control").is_none(), opts_out);
                    }
                }
            }
            let before = served.calls();
            let read = served.read(&clients()[0], &[GZIP]).await;
            assert_eq!(read.header("content-encoding"), Some("gzip"));
            assert_eq!(served.calls(), before, "the opt-out has removed the entry");
        }
    }
}

#[tokio::test]
async fn opt_outs_of_an_image_share_one_copy() {
    let served = Served::start(Stack::Cached, CompressLayer::new(), |_| {
        let response = Response::builder()
            .header("content-type", "image/png")
            .header("cache-control", "max-age=60");
        response.body(full(prose(5_000, 7))).unwrap()
    })
    .await;
    for client in clients() {
        for fields in [&[GZIP, ("x-no-compression", "1")][..], &[GZIP]] {
            let read = served.read(&client, fields).await;
            assert_eq!(read.header("cache-control"), Some("max-age=60"));
        }
    }
    assert_eq!(served.calls(), 1, "one copy for all");
}

#[tokio::test]
async fn refused_encodings_are_no_hits() {
    let respond = |request: &http::Request<_>| {
        let response = Response::builder()
            .header("content-type", "text/html")
            .header("content-length", 5_000)
            .header("cache-control", "max-age=60");
        let is_head = request.method() == Method::HEAD;
        response.body(if is_head { full("") } else { full(prose(5_000, 8)) }).unwrap()
    };
    let layer = CompressLayer::new().encodings([tower_kit::compress::Encoding::Gzip]);
    for stack in [Stack::Compressed, Stack::Cached] {
        let served = Served::start(stack, layer.clone(), respond).await;
        for client in clients() {
            served.read(&client, &[GZIP]).await;
            for refusal in [
                "gzip;q=0.0000, *",
                "gzip;q=0, *",
                "*, gzip;q=0.0000",
                "gzip; q = 0, *",
                "gzip;q=-0, *",
                "gzip;q=00, *;q=1",
                "x-gzip;q=0.0000, *",
                "gzip, gzip;q=0",
                "*;q=0.0000",
            ] {
                let read = send(&client, served.get(&[("accept-encoding", refusal)])).await;
                let read = read.unwrap();
                assert_eq!(read.header("content-encoding"), None, "{stack:?} {refusal}");
                assert_eq!(read.header("vary"), Some("accept-encoding"));
                let mut request = served.get(&[("accept-encoding", refusal)]);
                *request.method_mut() = Method::HEAD;
                let read = send(&client, request).await.unwrap();
                assert_eq!(read.header("content-encoding"), None, "{stack:?} {refusal}");
            }
        }
    }
}
