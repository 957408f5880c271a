//! The memory of dictionaries under storms of URLs and hashes.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::compress::dictionary::Dictionaries;
use tower_kit::{CompressLayer, KIB, MIB};

use super::adversary::noise;
use super::{alone, held};

/// The buffers that a thread keeps for its codecs.
const THREAD: u64 = 512 * KIB;

/// Sends a request for a path of its own, with a hash of its own, to a service whose responses say
/// that they may be kept.
async fn storm(dictionaries: Dictionaries, count: u64, size: usize) -> u64 {
    let before = held();
    let layer = CompressLayer::new().dictionaries(dictionaries);
    // Only a part is compressible.
    let mut text = noise(size, 7);
    text[..200].fill(b'x');
    let inner = service_fn(move |request: Request<()>| {
        let mut text = text.clone();
        let path = request.uri().path().as_bytes();
        text[..path.len()].copy_from_slice(path);
        let response = Response::builder()
            .header("content-type", "text/plain")
            .header("cache-control", "max-age=60");
        let response = response.body(Full::new(Bytes::from(text))).unwrap();
        async { Ok::<_, Infallible>(response) }
    });
    let service = layer.layer(inner);
    let mut most = 0;
    for number in 0..count {
        let request = Request::get(format!("http://a.test/{number}"))
            .header("accept-encoding", "gzip, zstd, dcz")
            .header("available-dictionary", format!(":{number:0>42}A=:"))
            .header("cookie", number.to_string())
            .body(())
            .unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert!(response.headers().contains_key("use-as-dictionary"));
        drop(response.into_body().collect().await.unwrap());
        if number % 1_000 == 0 || number + 1 == count {
            most = most.max(held().saturating_sub(before));
        }
    }
    most
}

#[test]
fn storms_of_urls_and_hashes_are_bounded() {
    alone(async {
        let taken = storm(Dictionaries::new(), 100_000, 1_100).await;
        // 10,000 of them, whatever their number of bytes.
        assert!(taken <= 16 * MIB + THREAD, "{taken}");
        assert!(taken >= 10 * MIB, "{taken}: the dictionaries are not kept");
    });
}

#[test]
fn storms_of_bytes_are_bounded() {
    for (max, size) in [(2 * MIB, 1_100), (2 * MIB, 10_000), (8 * MIB, 100_000)] {
        alone(async {
            let dictionaries = Dictionaries::new().max_bytes(max as usize);
            let taken = storm(dictionaries, 3_000, size).await;
            assert!(taken <= max + THREAD, "{taken} for {max}, {size}");
            assert!(taken >= max / 2, "{taken} for {max}, {size}");
        });
    }
}
