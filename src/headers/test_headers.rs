//! Headers as tests write them down.

use http::{HeaderMap, HeaderValue};

/// Names in lower case, and values.
pub(crate) type TestHeaders<'a> = &'a [(&'static str, &'a str)];

pub(crate) fn map(headers: TestHeaders<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    map
}
