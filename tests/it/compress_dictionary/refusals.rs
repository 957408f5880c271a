use http::{Method, Response, StatusCode};
use tower::ServiceExt;
use tower_kit::CompressLayer;
use tower_kit::compress::CompressHint;
use tower_kit::compress::dictionary::{Dictionaries, DictionaryHint};

use super::support::{Client, URI, fresh, layer, list, offer, serve};

#[tokio::test]
async fn unknown_and_malformed_hashes_are_as_none() {
    let service = serve(&layer(), |_, _| fresh(list(10_240, 3, 1)));
    let mut client = Client::default();
    let plain = client.get(&service, URI).await;
    let hash = offer(&plain.text);
    for value in [
        offer(b"another body"),
        hash.replace(':', ""),
        hash.to_lowercase(),
        format!("{hash}, {hash}"),
        format!("{hash};a"),
        ":::".to_owned(),
        String::new(),
    ] {
        let mut request = client.request(URI);
        request.headers_mut().insert("available-dictionary", value.parse().unwrap());
        let read = client.read(service.clone().oneshot(request).await.unwrap()).await;
        assert_eq!(read.header("content-encoding"), Some("zstd"), "{value}");
        assert_eq!(read.sent, plain.sent);
        assert_eq!(read.vary(), plain.vary());
    }
    let mut request = client.request(URI);
    request.headers_mut().append("available-dictionary", hash.parse().unwrap());
    let read = client.read(service.clone().oneshot(request).await.unwrap()).await;
    assert!(!read.is_delta(), "two lines");
}

#[tokio::test]
async fn doubtful_responses_leave_no_dictionary() {
    type Headers = &'static [(&'static str, &'static str)];
    // The headers of the response, and the expectation for `use-as-dictionary` and for a delta.
    let table: [(Headers, bool, bool); 12] = [
        (&[], true, true),
        (&[("cache-control", "no-store")], false, false),
        (&[("cache-control", "private, max-age=60")], false, false),
        (&[("cache-control", "no-cache")], false, true),
        (&[("cache-control", "max-age=0")], false, true),
        (&[("cache-control", "max-age=0, stale-while-revalidate=60")], true, true),
        (&[("set-cookie", "id=1")], false, true),
        (&[("vary", "x-api-key")], false, true),
        (&[("vary", "*")], false, true),
        (&[("content-encoding", "br")], false, false),
        (&[("cache-control", "max-age=60, no-transform")], false, false),
        (&[("content-type", "image/png")], false, false),
    ];
    for (at, (headers, keeps, uses)) in table.into_iter().enumerate() {
        let service = serve(&layer(), move |_, call| {
            let mut response = fresh(list(10_240, 3, call));
            for (name, value) in headers.iter().filter(|_| call != 0) {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            response
        });
        let mut client = Client::default();
        client.get(&service, URI).await;
        let response = service.clone().oneshot(client.request(URI)).await.unwrap();
        let found = response.headers();
        assert_eq!(found.contains_key("use-as-dictionary"), keeps, "{at} {headers:?}");
        let is_delta = found.get("content-encoding").is_some_and(|value| value == "dcz");
        assert_eq!(is_delta, uses, "{at} {headers:?}");
    }
}

#[tokio::test]
async fn hints_forbid_dictionaries() {
    for at in 0..4 {
        let service = serve(&layer(), move |_, call| {
            let mut response = fresh(list(10_240, 3, call));
            let extensions = response.extensions_mut();
            match at {
                _ if call == 0 => {}
                0 => _ = extensions.insert(CompressHint::forbid()),
                1 => _ = extensions.insert(DictionaryHint::forbid()),
                2 => _ = extensions.insert(CompressHint::default().max_padding(50)),
                _ => {}
            }
            response
        });
        let mut client = Client::default();
        client.get(&service, URI).await;
        let read = client.get(&service, URI).await;
        let expected = [None, Some("zstd"), Some("gzip"), Some("dcz")][at];
        assert_eq!(read.header("content-encoding"), expected);
        assert_eq!(read.header("use-as-dictionary").is_some(), at >= 2, "{at}");
        assert_eq!(read.vary().contains(&"available-dictionary"), at >= 2, "{at}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_get_none() {
    let service = serve(&layer(), |_, _| fresh(list(10_240, 3, 1)));
    let mut page = Client::with(&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]);
    page.get(&service, URI).await;
    assert!(page.get(&service, URI).await.is_delta());
    page.headers[0].1 = "cross-site".to_owned();
    let read = page.get(&service, URI).await;
    assert!(!read.is_delta() && read.header("use-as-dictionary").is_none());
    assert_eq!(read.vary(), ["accept-encoding", "available-dictionary"]);
    page.headers[1].1 = "navigate".to_owned();
    assert!(page.get(&service, URI).await.is_delta());
}

#[tokio::test]
async fn head_and_not_modified_describe_the_delta() {
    let service = serve(&layer(), |request, call| {
        let mut response = fresh(list(10_240, 3, call));
        response.headers_mut().insert("etag", "\"v1\"".parse().unwrap());
        let is_known = request.headers().get("if-none-match").is_some_and(|it| it == "\"v1\"");
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = "".into();
        }
        response
    });
    let mut client = Client::default();
    client.get(&service, URI).await;
    let mut head = client.request(URI);
    *head.method_mut() = Method::HEAD;
    let response = service.clone().oneshot(head).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "dcz");
    assert_eq!(response.headers()["etag"], "\"v1--dcz\"");
    assert!(!response.headers().contains_key("content-length"));
    assert!(!response.headers().contains_key("use-as-dictionary"));
    for (sent, expected) in [("\"v1--dcz\"", "\"v1--dcz\""), ("\"v1--zstd\"", "\"v1--zstd\"")] {
        let mut request = client.request(URI);
        request.headers_mut().insert("if-none-match", sent.parse().unwrap());
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(response.headers()["etag"], expected);
        let vary: Vec<_> = response.headers().get_all("vary").iter().collect();
        assert_eq!(vary, ["accept-encoding, available-dictionary"]);
    }
}

#[tokio::test]
async fn ranges_errors_and_other_methods_leave_none() {
    let service = serve(&layer(), |request, call| {
        let mut response: Response<_> = fresh(list(10_240, 3, call));
        match request.uri().query() {
            Some("part") => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let range = "bytes 0-10239/20000".parse().unwrap();
                response.headers_mut().insert("content-range", range);
            }
            Some("error") => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
            Some("short") => *response.body_mut() = "short".into(),
            _ => {}
        }
        response
    });
    let mut client = Client::default();
    client.get(&service, URI).await;
    for (query, coding) in [("part", None), ("error", Some("dcz")), ("short", None)] {
        let response = service.clone().oneshot(client.request(&format!("{URI}?{query}"))).await;
        let response = response.unwrap();
        let found = response.headers().get("content-encoding").map(|it| it.to_str().unwrap());
        assert_eq!(found, coding, "{query}");
        assert!(!response.headers().contains_key("use-as-dictionary"), "{query}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let mut request = client.request(URI);
        *request.method_mut() = method;
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.headers()["content-encoding"], "zstd");
        assert!(!response.headers().contains_key("use-as-dictionary"));
    }
    // The client compares a range with the tag of bytes that the service does not have.
    let mut request = client.request(URI);
    request.headers_mut().insert("range", "bytes=0-9".parse().unwrap());
    request.headers_mut().insert("if-range", "\"v1--dcz\"".parse().unwrap());
    let seen = serve(&layer(), |request, _| {
        assert!(!request.headers().contains_key("range"));
        fresh("whole")
    });
    assert!(seen.oneshot(request).await.is_ok());
}

#[tokio::test]
async fn body_like_a_dictionary_of_zstd_is_not_kept() {
    let service = serve(&layer(), |_, _| {
        let mut text = b"\x37\xa4\x30\xec".to_vec();
        text.extend_from_slice(&list(10_240, 3, 1));
        fresh(text)
    });
    let mut client = Client::default();
    let read = client.get(&service, URI).await;
    assert_eq!(read.header("use-as-dictionary"), None);
}

#[tokio::test]
async fn layer_without_dictionaries_is_as_before() {
    let service = serve(&CompressLayer::new(), |_, _| fresh(list(10_240, 3, 1)));
    let mut client = Client { dictionary: Some(list(10_240, 3, 1)), ..Client::default() };
    let read = client.get(&service, URI).await;
    assert_eq!(read.header("content-encoding"), Some("zstd"));
    assert_eq!(read.vary(), ["accept-encoding"]);
    assert_eq!(read.header("use-as-dictionary"), None);
    let none = Dictionaries::new().max_bytes(0);
    let service = serve(&CompressLayer::new().dictionaries(none), |_, _| fresh(list(10_240, 3, 1)));
    assert_eq!(client.get(&service, URI).await.header("use-as-dictionary"), None);
}
