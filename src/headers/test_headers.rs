//! Fields as tests write them down.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use http::{HeaderMap, HeaderValue};

/// Names in lower case, and values.
pub(crate) type TestHeaders<'a> = &'a [(&'static str, &'a str)];

pub(crate) fn map(fields: TestHeaders<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}
