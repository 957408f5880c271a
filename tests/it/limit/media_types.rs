//! The selection of a body's limit by its media type.

use bytes::Bytes;
use http::Response;
use tower_kit::MIB;
use tower_kit::limit::{LimitLayer, Reason, Size};

use super::{max_body, post, scripted, send};
use crate::support::{data, text};

/// Returns the limit of a body with these `content-type` lines, or `None` if it is unlimited. The
/// request declares a length that exceeds every limit, so that the rejection tells the limit.
async fn limit_of_lines(layer: &LimitLayer, content_types: &[&[u8]]) -> Option<u64> {
    let layer = layer.clone().response(|rejection| {
        assert_eq!(rejection.reason(), Reason::BodyTooLarge);
        let mut response = Response::new(Bytes::new());
        response.headers_mut().insert("x-limit", rejection.limit().unwrap().into());
        response
    });
    let request = post().header("content-length", u64::MAX - 1);
    let request = content_types.iter().fold(request, |it, line| it.header("content-type", *line));
    let response = send(&layer, request.body(scripted([])).unwrap()).await;
    response.headers().get("x-limit").map(|limit| limit.to_str().unwrap().parse().unwrap())
}

async fn limit_of(layer: &LimitLayer, content_type: &str) -> u64 {
    limit_of_lines(layer, &[content_type.as_bytes()]).await.unwrap()
}

#[tokio::test]
async fn json_and_forms_have_limits_of_their_own() {
    let layer = LimitLayer::new();
    for small in [
        "application/json",
        "application/problem+json",
        "image/vnd.any+json",
        "application/x-www-form-urlencoded",
        // Case, spaces and parameters do not matter.
        "APPLICATION/JSON",
        "Application/Json; charset=utf-8",
        "application/json;charset=\"a;b\"",
        "application/json ; x=1",
        "  application/json\t",
        "application/LD+JSON;profile=\"x\"",
        "application/json;",
    ] {
        assert_eq!(limit_of(&layer, small).await, 10_240, "{small}");
    }
    for other in ["text/plain", "multipart/form-data; boundary=x", "application/json5", "text/json"]
    {
        assert_eq!(limit_of(&layer, other).await, 2_097_152, "{other}");
    }
    assert_eq!(limit_of_lines(&layer, &[]).await, Some(2_097_152));
}

#[tokio::test]
async fn malformed_media_types_have_the_default_limit() {
    let layer = LimitLayer::new().media_type("image/*", 5).unwrap().default_body(77);
    let malformed: [&[u8]; 10] = [
        b"",
        b"application",
        b"/json",
        b"application/",
        b"application json",
        b"application/json/json",
        b"application/js on",
        b"image/\xff",
        b"\xff\xfe",
        b"; application/json",
    ];
    for line in malformed {
        assert_eq!(limit_of_lines(&layer, &[line]).await, Some(77), "{line:?}");
    }
}

#[tokio::test]
async fn the_most_specific_media_type_applies() {
    // In every order, and with every order of the sizes: only specificity decides.
    let set = |order: [usize; 3], sizes: [u64; 3]| {
        order.into_iter().fold(max_body(4), |layer, at| {
            let media_type = ["image/svg+xml", "+xml", "image/*"][at];
            layer.media_type(media_type, sizes[at]).unwrap()
        })
    };
    for sizes in [[1, 2, 3], [30, 20, 10]] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let layer = set(order, sizes);
            for (media_type, expected) in [
                ("image/svg+xml", sizes[0]),
                ("image/other+xml", sizes[1]),
                ("text/other+XML", sizes[1]),
                ("Image/PNG", sizes[2]),
                ("text/xml", 4),
            ] {
                assert_eq!(limit_of(&layer, media_type).await, expected, "{media_type} {order:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_second_limit_replaces_the_first() {
    let layer = LimitLayer::new().media_type("image/*", 1).unwrap();
    let layer = layer.media_type("IMAGE/*", 2).unwrap();
    let layer = layer.json(7).media_type("application/json", 8).unwrap().form(9);
    for (media_type, expected) in [
        ("image/png", 2),
        ("application/json", 8),
        ("application/x+json", 7),
        ("application/x-www-form-urlencoded", 9),
    ] {
        assert_eq!(limit_of(&layer, media_type).await, expected, "{media_type}");
    }
}

#[tokio::test]
async fn the_lowest_limit_of_several_lines_applies() {
    let layer = LimitLayer::new().media_type("image/*", 5).unwrap();
    let table: [(&[&[u8]], u64); 4] = [
        (&[b"text/plain", b"application/json"], 10_240),
        (&[b"application/json", b"text/plain"], 10_240),
        (&[b"application/json", b"image/png"], 5),
        (&[b"broken", b"application/json"], 10_240),
    ];
    for (lines, expected) in table {
        assert_eq!(limit_of_lines(&layer, lines).await, Some(expected), "{lines:?}");
    }
}

#[tokio::test]
async fn unlimited_admits_bodies_of_any_length() {
    let layer = LimitLayer::new().media_type("application/grpc", Size::UNLIMITED).unwrap();
    assert_eq!(limit_of_lines(&layer, &[b"application/grpc"]).await, None);
    assert_eq!(limit_of(&layer, "application/grpc+proto").await, 2 * MIB);
    let body = scripted((0..64).map(|_| data(64 * 1024)));
    let request = post().header("content-type", "application/grpc").body(body).unwrap();
    let response = send(&layer, request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(text(response).await, (4 * MIB).to_string());
}

#[test]
fn media_types_are_checked_by_the_setter() {
    for wrong in ["", "*", "*/*", "image", "image/", "/png", "+", "image/p*", "*/png", "a/b; c=d"] {
        let error = LimitLayer::new().media_type(wrong, 1).unwrap_err();
        assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
    }
    for right in ["image/png", "image/*", "+json", "IMAGE/PNG", "application/vnd.a-b_c+d"] {
        assert!(LimitLayer::new().media_type(right, 1).is_ok(), "{right}");
    }
}
