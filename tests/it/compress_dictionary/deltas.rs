use http::Response;
use http_body_util::Full;
use proptest::prelude::*;
use tower::ServiceExt;
use tower_kit::CompressLayer;
use tower_kit::compress::dictionary::Dictionaries;
use tower_kit::compress::{CompressHint, Encoding};

use super::support::{Client, URI, fresh, layer, list, offer, serve};
use crate::support::{Metrics, now};

#[tokio::test]
async fn returning_client_gets_what_has_changed() {
    for size in [2_000, 10_240, 102_400, 131_072] {
        let service = serve(&layer(), move |_, version| {
            let mut response = fresh(list(size, 3, 1_000_000 + version));
            response.headers_mut().insert("etag", format!("\"v{version}\"").parse().unwrap());
            response
        });
        let mut client = Client::default();
        let first = client.get(&service, URI).await;
        assert_eq!(first.header("content-encoding"), Some("zstd"));
        assert_eq!(first.header("use-as-dictionary"), Some("match=\"/items\""));
        assert_eq!(first.vary(), ["accept-encoding", "available-dictionary"]);
        // The second and later uses of a dictionary take another way than the first.
        for version in 1..6 {
            let next = client.get(&service, URI).await;
            assert!(next.is_delta(), "{size}, {version}");
            assert_eq!(next.text, list(size, 3, 1_000_000 + version));
            assert!(next.sent <= 120, "{} bytes of {size}, {version}", next.sent);
            assert_eq!(next.header("content-length"), Some(next.sent.to_string().as_str()));
            assert_eq!(next.header("etag"), Some(format!("\"v{version}--dcz\"").as_str()));
            assert_eq!(next.header("use-as-dictionary"), Some("match=\"/items\""));
            assert_eq!(next.vary(), ["accept-encoding", "available-dictionary"]);
        }
    }
}

#[tokio::test]
async fn clients_without_zstd_keep_none() {
    let service = serve(&layer(), |_, _| fresh(list(10_240, 3, 1)));
    for (accepted, expected) in
        [("gzip, deflate", None), ("gzip, zstd;q=0.1", Some("match=\"/items\""))]
    {
        let mut request = Client::default().request(URI);
        request.headers_mut().insert("accept-encoding", accepted.parse().unwrap());
        let response = service.clone().oneshot(request).await.unwrap();
        let read = Client::default().read(response).await;
        assert_eq!(read.header("use-as-dictionary"), expected, "{accepted}");
        assert_eq!(read.vary(), ["accept-encoding", "available-dictionary"]);
        assert_eq!(read.header("content-encoding"), Some("gzip"), "{accepted}");
    }
}

#[tokio::test]
async fn many_clients_share_a_dictionary() {
    let service = serve(&layer(), |_, call| fresh(list(10_240, 3, call / 20)));
    let mut clients = vec![Client::default(); 20];
    for round in 0..4 {
        for client in &mut clients {
            let read = client.get(&service, URI).await;
            assert_eq!(read.text, list(10_240, 3, round));
            assert_eq!(read.is_delta(), round > 0);
        }
    }
}

#[tokio::test]
async fn older_versions_serve_clients_that_return_late() {
    let service = serve(&layer(), |_, version| fresh(list(10_240, 3, version)));
    let mut late = Client::default();
    late.get(&service, URI).await;
    let mut other = Client::default();
    for _ in 0..20 {
        other.get(&service, URI).await;
    }
    let read = late.get(&service, URI).await;
    assert!(read.is_delta() && read.sent < 120, "{}", read.sent);
    assert_eq!(read.text, list(10_240, 3, 21));
}

#[tokio::test]
async fn pattern_makes_pages_dictionaries_of_each_other() {
    let page = |path: &str| {
        let name = path.rsplit('/').next().unwrap();
        fresh(format!("{{\"name\":\"{name}\",{}", String::from_utf8_lossy(&list(8_000, 0, 1))))
    };
    let respond = move |request: &http::Request<()>, _| page(request.uri().path());
    let dictionaries = Dictionaries::new().pattern("/products/*").unwrap();
    let service = serve(&CompressLayer::new().dictionaries(dictionaries), respond);
    let mut client = Client::default();
    let first = client.get(&service, "http://a.test/products/chair").await;
    assert_eq!(first.header("use-as-dictionary"), Some("match=\"/products/*\""));
    let second = client.get(&service, "http://a.test/products/table?color=red").await;
    assert!(second.is_delta() && second.sent < 120);
    let other = client.get(&service, "http://a.test/other/lamp").await;
    assert!(!other.is_delta(), "the pattern does not match");
    assert_eq!(other.header("use-as-dictionary"), Some("match=\"/other/lamp\""));
    // Without the pattern, each path is alone, with any query.
    let service = serve(&layer(), respond);
    let mut client = Client::default();
    client.get(&service, "http://a.test/products/chair").await;
    assert!(client.get(&service, "http://a.test/products/chair?page=2").await.is_delta());
    assert!(!client.get(&service, "http://a.test/products/table").await.is_delta());
}

#[tokio::test]
async fn highest_weight_decides() {
    let service = serve(&layer(), |_, _| fresh(list(10_240, 3, 1)));
    let mut client = Client::default();
    let dictionary = client.get(&service, URI).await.text;
    for (accepted, expected) in [
        ("gzip, dcz", Some("dcz")),
        ("gzip;q=0.5, dcz;q=0.6", Some("dcz")),
        ("gzip;q=0.6, dcz;q=0.5", Some("gzip")),
        ("gzip, dcz;q=0", Some("gzip")),
        ("gzip, dcz;q=x", Some("gzip")),
        ("gzip, dcb", Some("gzip")),
        ("gzip, *", Some("zstd")),
        ("identity, gzip;q=0.5, dcz;q=0.9", None),
        ("dcz", None),
    ] {
        let mut request = Client::default().request(URI);
        let headers = request.headers_mut();
        headers.insert("available-dictionary", offer(&dictionary).parse().unwrap());
        headers.insert("accept-encoding", accepted.parse().unwrap());
        let response = service.clone().oneshot(request).await.unwrap();
        let coding = response.headers().get("content-encoding").map(|it| it.to_str().unwrap());
        assert_eq!(coding, expected, "{accepted}");
        assert_eq!(client.read(response).await.text, dictionary);
    }
}

#[tokio::test]
async fn metrics_tell_deltas_apart() {
    let (metrics, lookups) = (Metrics::new(), Metrics::new());
    let dictionaries = Dictionaries::new().recorder(lookups.recorder());
    let layer = CompressLayer::new().recorder(metrics.recorder()).dictionaries(dictionaries);
    let service = serve(&layer, |_, version| fresh(list(10_240, 3, version)));
    let mut client = Client::default();
    client.get(&service, URI).await;
    let delta = client.get(&service, URI).await;
    client.dictionary = Some("unknown".into());
    client.get(&service, URI).await;
    let count = |name, coding| metrics.counted(name, &[("encoding", coding)]);
    assert_eq!(count("http_compression_input_bytes_total", "dcz"), 10_240);
    assert_eq!(count("http_compression_output_bytes_total", "dcz"), delta.sent as u64);
    assert_eq!(count("http_compression_input_bytes_total", "zstd"), 2 * 10_240);
    for result in ["hit", "miss"] {
        let name = "http_compression_dictionary_lookups_total";
        assert_eq!(lookups.counted(name, &[("result", result)]), 1, "{result}");
    }
}

#[tokio::test]
async fn body_that_gains_nothing_is_sent_otherwise() {
    // Noise does not shrink, whatever the dictionary.
    let service = serve(&layer(), |_, version| {
        let noise = crate::support::noise(4_000 + version as usize);
        let mut text = noise.slice(noise.len() - 2_000..).to_vec();
        text.reverse();
        text.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(version as u8 * 2 + 1));
        fresh(text)
    });
    let mut client = Client::default();
    for _ in 0..3 {
        let read = client.get(&service, URI).await;
        assert_eq!((read.header("content-encoding"), read.sent), (None, 2_000));
        assert_eq!(read.header("use-as-dictionary"), Some("match=\"/items\""));
    }
}

#[test]
fn first_request_of_axum_names_the_whole_path() {
    use axum::Router;
    use axum::routing::get;
    let body = || async { fresh(list(10_240, 3, 1)).map(axum::body::Body::new) };
    let nested = Router::new().route("/list", get(body)).layer(layer());
    let app = Router::new().nest("/shop", nested);
    let request = Client::default().request("http://a.test/shop/list");
    let response = now(app.oneshot(request.map(|()| axum::body::Body::empty()))).unwrap();
    assert_eq!(response.headers()["use-as-dictionary"], "match=\"/shop/list\"");
}

/// Pieces that occur in a body, in an order that a version changes.
fn body() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<usize>, Vec<usize>)> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..400),
        "[a-f]{20,600}".prop_map(String::into_bytes),
    ];
    let order = || prop::collection::vec(0..8_usize, 5..60);
    (prop::collection::vec(piece, 8..9), order(), order())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn delta_is_right_and_little_larger_than_zstd((pieces, first, second) in body()) {
        let text = |order: &[usize]| -> Vec<u8> {
            order.iter().flat_map(|at| pieces[*at].clone()).collect()
        };
        let bodies = [text(&first), text(&second), text(&first)];
        let served = bodies.clone();
        let respond = move |_: &_, call: u64| {
            let mut response = fresh(served[call as usize % 3].clone());
            response.extensions_mut().insert(CompressHint::force());
            response
        };
        let encodings = [Encoding::Zstd];
        let plain = serve(&CompressLayer::new().encodings(encodings), respond.clone());
        let service = serve(&layer().encodings(encodings), respond);
        let (mut client, mut other) = (Client::default(), Client::default());
        for expected in bodies.iter().cycle().take(9) {
            let read = now(client.get(&service, URI));
            prop_assert_eq!(&read.text, expected);
            let without = now(other.get(&plain, URI));
            prop_assert!(read.sent <= without.sent + 40, "{} {}", read.sent, without.sent);
        }
    }
}

#[tokio::test]
async fn service_keeps_its_own_dictionaries() {
    let service = serve(&layer(), |_, _| {
        let mut response: Response<Full<_>> = fresh(list(10_240, 3, 1));
        response.headers_mut().insert("use-as-dictionary", "match=\"/*\"".parse().unwrap());
        response
    });
    let mut client = Client::default();
    let read = client.get(&service, URI).await;
    assert_eq!(read.header("use-as-dictionary"), Some("match=\"/*\""));
    assert!(!client.get(&service, URI).await.is_delta());
}
