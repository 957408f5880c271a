use super::*;
use crate::headers::media_type::essence;

#[test]
fn compressible_types_are_included() {
    let include =
        |given: &str| essence(given.as_bytes()).is_some_and(|it| MediaTypes::default().include(it));
    for given in [
        "TEXT/HTML; Charset=UTF-8",
        "text/css",
        "text/anything",
        "text/event-stream",
        "application/json",
        "application/problem+json",
        "application/xml ;x=y",
        "application/javascript",
        "application/wasm",
        "image/svg+xml",
        "font/ttf",
        "font/otf",
        "application/ndjson",
        "application/x-ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/geo+json-seq",
        "application/yaml",
        "application/x-yaml; charset=utf-8",
        "text/yaml",
        "text/x-yaml",
        "application/openapi+yaml",
        "application/csv",
        "text/csv",
        "text/tab-separated-values",
        "application/protobuf",
        "application/x-protobuf",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily",
        "application/openmetrics-text; version=1.0.0",
        "application/x-ecmascript",
        "text/javascript1.5",
        "application/font-sfnt",
        "application/vnd.apple.mpegurl",
        "application/dash+xml",
        "APPLICATION/X-NDJSON",
    ] {
        assert!(include(given), "{given}");
    }
    for given in [
        "",
        "text",
        "json",
        "Image/PNG",
        "image/jpeg",
        "video/mp4",
        "application/font-woff",
        "font/woff2",
        "application/zip",
        "application/gzip",
        "application/x-rar-compressed",
        "application/octet-stream",
        "application/pdf",
        "application/epub+zip",
        "application/vnd.sqlite3",
        "image/webp",
        "audio/mpeg",
        "application/x-protobuf-zip",
    ] {
        assert!(!include(given), "{given}");
    }
}
