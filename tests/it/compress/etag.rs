use http::{Method, Request, Response};
use tower_kit::CompressLayer;
use tower_kit::compress::EtagMode;

use super::support::{Served, Stack, clients, send};
use crate::support::{BoxBody, full, prose};

/// Evaluates preconditions as RFC 9110 §13.1.1, §13.1.2 and §13.1.5 ask for. A range has the first
/// 500 bytes.
fn evaluate<B>(tag: &'static str, request: &Request<B>) -> Response<BoxBody> {
    let text = prose(5_000, 5);
    let named = |name: &str| -> Vec<String> {
        let lines = request.headers().get_all(name).iter();
        let tags = lines.flat_map(|line| line.to_str().unwrap().split(','));
        tags.map(|tag| tag.trim().to_owned()).collect()
    };
    let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let response = Response::builder()
        .header("content-type", "text/html")
        .header("cache-control", "max-age=60")
        .header("etag", tag);
    let if_match = named("if-match");
    if !if_match.is_empty() && !if_match.iter().any(|it| it == tag || it == "*") {
        return response.status(412).body(full("changed")).unwrap();
    }
    if named("if-none-match").iter().any(|it| opaque(it) == opaque(tag) || it == "*") {
        return response.status(304).body(full("")).unwrap();
    }
    let if_range = named("if-range");
    if request.headers().contains_key("range") && if_range.iter().all(|it| it == tag) {
        let response = response.status(206).header("content-range", "bytes 0-499/5000");
        return response.body(full(text.slice(..500))).unwrap();
    }
    response.body(full(text)).unwrap()
}

const TAGS: [&str; 5] = ["\"v1\"", "\"v1-gzip\"", "\"v1--gzip\"", "\"v1--identity\"", "\"\""];
const GZIP: (&str, &str) = ("accept-encoding", "gzip");

#[tokio::test]
async fn if_match_works_with_the_tag_of_a_get() {
    for stack in [Stack::Compressed, Stack::Cached] {
        for tag in TAGS {
            let served =
                Served::start(stack, CompressLayer::new(), move |it| evaluate(tag, it)).await;
            for client in clients() {
                let mut tags = Vec::new();
                for accept in ["gzip", "identity"] {
                    let accept = ("accept-encoding", accept);
                    let got = served.read(&client, &[accept]).await;
                    let etag = got.header("etag").unwrap().to_owned();
                    for (if_match, status) in [
                        (etag.clone(), 200),
                        (format!("\"other\", {etag}"), 200),
                        ("*".to_owned(), 200),
                        ("\"v0--gzip\"".to_owned(), 412),
                    ] {
                        let mut request = served.get(&[accept, ("if-match", &if_match)]);
                        *request.method_mut() = Method::PUT;
                        let put = send(&client, request).await.unwrap();
                        assert_eq!(put.head.status, status, "{stack:?} {tag} {if_match}");
                    }
                    tags.push(etag);
                }
                assert_ne!(tags[0], tags[1], "one strong tag for two encodings of {tag}");
            }
        }
    }
}

#[tokio::test]
async fn not_modified_has_the_headers_of_the_200() {
    for mode in [EtagMode::Suffix, EtagMode::Weaken, EtagMode::Keep] {
        for stack in [Stack::Compressed, Stack::Cached] {
            for tag in TAGS {
                let layer = CompressLayer::new().etag_mode(mode);
                let served = Served::start(stack, layer, move |it| evaluate(tag, it)).await;
                for client in clients() {
                    for accept in ["gzip", "identity"] {
                        let accept = ("accept-encoding", accept);
                        let got = served.read(&client, &[accept]).await;
                        let etag = got.header("etag").unwrap();
                        for if_none_match in [etag.to_owned(), format!("\"other\", {etag}")] {
                            let fields = [accept, ("if-none-match", &if_none_match)];
                            let again = served.read(&client, &fields).await;
                            assert_eq!(again.head.status, 304, "{mode:?} {tag} {if_none_match}");
                            for name in ["etag", "vary", "cache-control"] {
                                assert_eq!(again.header(name), got.header(name), "{mode:?} {tag}");
                            }
                            assert_eq!(again.header("content-encoding"), None);
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn ranges_never_continue_other_bytes() {
    for mode in [EtagMode::Suffix, EtagMode::Weaken, EtagMode::Keep] {
        let layer = CompressLayer::new().etag_mode(mode);
        let served = Served::start(Stack::Compressed, layer, |it| evaluate("\"v1\"", it)).await;
        for client in clients() {
            let got = served.read(&client, &[GZIP]).await;
            let etag = got.header("etag").unwrap();
            for accept in ["gzip", "identity"] {
                if mode == EtagMode::Keep && accept == "identity" {
                    continue;
                }
                let fields =
                    [("accept-encoding", accept), ("range", "bytes=0-499"), ("if-range", etag)];
                let part = served.read(&client, &fields).await;
                assert_eq!(part.head.status, 200, "{mode:?} {accept}");
                assert_eq!(part.text(), prose(5_000, 5));
            }
            let plain = ("accept-encoding", "identity");
            let got = served.read(&client, &[plain]).await;
            let fields =
                [plain, ("range", "bytes=0-499"), ("if-range", got.header("etag").unwrap())];
            let part = served.read(&client, &fields).await;
            assert_eq!((part.head.status.as_u16(), part.bytes.len()), (206, 500), "{mode:?}");
        }
    }
}
