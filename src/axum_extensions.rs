//! The extensions that axum's router and extractors exchange in a request. Without the feature `axum`,
//! no request has them.

#![cfg_attr(
    not(all(feature = "cache", feature = "latency", feature = "limit")),
    expect(dead_code, reason = "each of the three layers uses a part of the module")
)]

use http::{Extensions, Request, Uri};

/// Returns the template of the route that axum's router has found, such as `/items/{id}`.
#[inline]
pub(crate) fn matched_path(extensions: &Extensions) -> Option<&str> {
    imp::matched_path(extensions)
}

/// Returns the URI of a request before axum's nested routers have shortened it.
#[inline]
pub(crate) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
    imp::original_uri(extensions)
}

/// Returns a mutable reference to the URI that [`original_uri`] returns.
pub(crate) fn original_uri_mut(extensions: &mut Extensions) -> Option<&mut Uri> {
    imp::original_uri_mut(extensions)
}

/// Returns `true` if `uri` is `original`, or `original` without the prefix of a nested router.
pub(crate) fn is_nested(original: &Uri, uri: &Uri) -> bool {
    original.scheme() == uri.scheme()
        && original.authority() == uri.authority()
        && original.query() == uri.query()
        && (uri.path() == "/" || original.path().ends_with(uri.path()))
}

/// Sets the maximum body size of axum's extractors to `max` bytes, or to no maximum for `u64::MAX`.
///
/// A `DefaultBodyLimit` that the user has set takes precedence, whether outside or inside.
pub(crate) fn set_body_limit<B>(request: &mut Request<B>, max: u64) {
    imp::set_body_limit(request, max);
}

#[cfg(feature = "axum")]
mod imp {
    use std::mem;

    use axum::extract::{DefaultBodyLimit, MatchedPath, OriginalUri};
    use http::{Extensions, Request, Uri};

    /// Marks the limit of the extractors as set by this crate, so that an inner layer replaces it.
    #[derive(Clone, Copy, Debug)]
    struct OwnLimit;

    #[inline]
    pub(super) fn matched_path(extensions: &Extensions) -> Option<&str> {
        extensions.get().map(MatchedPath::as_str)
    }

    #[inline]
    pub(super) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
        extensions.get().map(|OriginalUri(uri)| uri)
    }

    pub(super) fn original_uri_mut(extensions: &mut Extensions) -> Option<&mut Uri> {
        extensions.get_mut().map(|OriginalUri(uri)| uri)
    }

    pub(super) fn set_body_limit<B>(request: &mut Request<B>, max: u64) {
        let limit = match usize::try_from(max) {
            Ok(max) if max < usize::MAX => DefaultBodyLimit::max(max),
            _ => DefaultBodyLimit::disable(),
        };
        if request.extensions().get::<OwnLimit>().is_some() {
            limit.apply(request);
            return;
        }
        // The type of the extension is private to axum, so its presence cannot be tested. The
        // extensions that are there already are inserted again and overwrite the new limit.
        let existing = mem::take(request.extensions_mut());
        limit.apply(request);
        request.extensions_mut().insert(OwnLimit);
        request.extensions_mut().extend(existing);
    }
}

#[cfg(not(feature = "axum"))]
mod imp {
    use http::{Extensions, Request, Uri};

    #[inline]
    pub(super) fn matched_path(_: &Extensions) -> Option<&str> {
        None
    }

    #[inline]
    pub(super) fn original_uri(_: &Extensions) -> Option<&Uri> {
        None
    }

    pub(super) fn original_uri_mut(_: &mut Extensions) -> Option<&mut Uri> {
        None
    }

    #[inline]
    pub(super) fn set_body_limit<B>(_: &mut Request<B>, _: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_uri_lacks_a_prefix_of_the_original() {
        for (original, uri, expected) in [
            ("/shop/list?a=1", "/list?a=1", true),
            ("/shop/list", "/shop/list", true),
            ("/shop", "/", true),
            ("/shop/list?a=1", "/list", false),
            ("/shop/list", "/list/b", false),
            ("/list", "/v2/list", false),
            ("http://h/shop/list", "http://h/list", true),
            ("http://h/shop/list", "/list", false),
            ("http://h/shop/list", "http://i/list", false),
        ] {
            let is_nested = is_nested(&original.parse().unwrap(), &uri.parse().unwrap());
            assert_eq!(is_nested, expected, "{original} {uri}");
        }
    }
}
