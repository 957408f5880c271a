//! What a response's fields may depend on.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, request};

/// Whether a proxy says in `x-forwarded-proto` that the client used HTTPS, for
/// [`https_only`](crate::SecurityHeadersLayer::https_only). Where there are several proxies, the
/// first member of the list is the one that the client has talked to.
///
/// It is to be used only behind proxies that set the field themselves: anybody can send it.
#[must_use]
pub fn forwarded_proto(request: &request::Parts) -> bool {
    let value = request.headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let first = value.and_then(|value| value.split(',').next());
    first.is_some_and(|first| first.trim().eq_ignore_ascii_case("https"))
}

/// Whether a response may be shown as a page, or run as a worker, which has policies too. Of
/// several types browsers take the last that they understand (Fetch §2.2.5): then it may.
pub(super) fn may_be_document(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return true };
    let Ok(value) = value.to_str() else { return true };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_shown = essence.ends_with("+xml") || value.contains(',');
    let is_data = essence.ends_with("+json") || DATA.contains(&essence.as_str());
    is_shown || !(is_data || CLASSES.iter().any(|class| essence.starts_with(class)))
}

const CLASSES: [&str; 5] = ["application/grpc", "audio/", "font/", "image/", "video/"];
const DATA: [&str; 6] = [
    "application/json",
    "application/octet-stream",
    "application/wasm",
    "application/x-ndjson",
    "text/css",
    "text/event-stream",
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_no_page_and_no_worker_is_told_by_its_type() {
        let table = [
            (&[][..], true),
            (&["text/html; charset=utf-8"], true),
            (&["application/xhtml+xml"], true),
            (&["image/svg+xml"], true),
            (&["text/javascript"], true),
            (&["application/pdf"], true),
            (&["text/plain"], true),
            (&["Image/PNG"], false),
            (&["font/woff2"], false),
            (&["video/mp4"], false),
            (&["text/css;charset=utf-8"], false),
            (&["application/json"], false),
            (&["application/problem+json ; x=1"], false),
            (&["application/grpc-web+proto"], false),
            (&["text/event-stream"], false),
            (&["image/png, text/html"], true),
            (&["image/png", "text/html"], true),
            (&["caf\u{e9}"], true),
        ];
        for (value, expected) in table {
            let mut headers = HeaderMap::new();
            for value in value {
                headers.append(CONTENT_TYPE, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            assert_eq!(may_be_document(&headers), expected, "{value:?}");
        }
    }

    #[test]
    fn the_first_proxy_says_what_the_client_used() {
        let table = [
            (&["https"][..], true),
            (&["HTTPS"], true),
            (&[" https , http"], true),
            (&["http, https"], false),
            (&["http"], false),
            (&["https2"], false),
            (&[""], false),
            (&[], false),
        ];
        for (values, expected) in table {
            let mut request = http::Request::get("/");
            for value in values {
                request = request.header("x-forwarded-proto", *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(forwarded_proto(&head), expected, "{values:?}");
        }
    }
}
