use http::HeaderValue;

use super::*;

#[test]
fn the_media_type_selects_the_limit() {
    let mut limits = Limits::default();
    for (media_type, size) in
        [("image/*", 1), ("image/svg+xml", 2), ("+xml", 3), ("application/*", 4)]
    {
        limits.media_type(media_type.parse().unwrap(), Size::new(size));
    }
    let table: &[(&[&'static str], u64)] = &[
        (&["application/json"], 10_240),
        (&["APPLICATION/Json ; charset=utf-8"], 10_240),
        (&["application/vnd.api+json"], 10_240),
        (&["image/x+json"], 10_240),
        // gRPC is not JSON, but axum's `Json` reads it, so that another limit would be a bypass.
        (&["application/grpc+json"], 10_240),
        (&["application/grpc+proto"], 4),
        (&["application/x-www-form-urlencoded"], 10_240),
        (&["image/svg+xml"], 2),
        (&["image/rss+xml"], 3),
        (&["image/png"], 1),
        (&["application/pdf"], 4),
        (&["text/plain"], 2_097_152),
        (&[], 2_097_152),
        (&[""], 2_097_152),
        (&["application"], 2_097_152),
        (&["/json"], 2_097_152),
        (&["application /json"], 2_097_152),
        (&["application/json, text/plain"], 2_097_152),
        (&["text/plain", "application/json"], 10_240),
        (&["image/png", "text/plain"], 1),
    ];
    for (lines, expected) in table {
        let mut headers = HeaderMap::new();
        for line in *lines {
            headers.append(CONTENT_TYPE, HeaderValue::from_static(line));
        }
        assert_eq!(limits.body(&headers), Size::new(*expected), "{lines:?}");
    }
}

#[test]
fn arriving_bytes_refill_the_budget() {
    let rate = MinDataRate { bytes_per_second: 240, grace: Duration::from_secs(5) };
    let seconds = Duration::from_secs_f64;
    for (budget, bytes, expected) in
        [(0.0, 0, 0.0), (0.0, 240, 1.0), (1.5, 120, 2.0), (4.5, 240, 5.0), (0.0, u64::MAX, 5.0)]
    {
        assert_eq!(rate.refill(seconds(budget), bytes), seconds(expected), "{budget} {bytes}");
    }
}
