//! Extensions of requests through which axum and its extractors are spoken to. Without the feature
//! `axum` there are none.

use http::{Extensions, Request, Uri};

/// Returns the template of the route that axum's router has found, such as `/items/{id}`.
#[cfg_attr(not(feature = "latency"), expect(dead_code, reason = "one layer uses it"))]
#[inline]
pub(crate) fn matched_path(extensions: &Extensions) -> Option<&str> {
    on::matched_path(extensions)
}

/// Returns the URI of a request as it reached axum's outermost router.
#[cfg_attr(
    not(any(feature = "cache", feature = "limit")),
    expect(dead_code, reason = "two layers use it")
)]
#[inline]
pub(crate) fn original_uri(extensions: &Extensions) -> Option<&Uri> {
    on::original_uri(extensions)
}

/// Returns the same URI, to change it.
#[cfg_attr(not(feature = "cache"), expect(dead_code, reason = "one layer uses it"))]
pub(crate) fn original_uri_mut(extensions: &mut Extensions) -> Option<&mut Uri> {
    on::original_uri_mut(extensions)
}

/// Returns `true` if a request's `uri` is the `original` one, or a nested router has cut the
/// beginning off its path.
#[cfg_attr(not(any(feature = "cache", test)), expect(dead_code, reason = "one layer uses it"))]
pub(crate) fn is_nested(original: &Uri, uri: &Uri) -> bool {
    original.scheme() == uri.scheme()
        && original.authority() == uri.authority()
        && original.query() == uri.query()
        && (uri.path() == "/" || original.path().ends_with(uri.path()))
}

/// Lets axum's extractors read bodies of up to `max` bytes; `u64::MAX` is no limit. A
/// `DefaultBodyLimit` of the user's stays, wherever it stands.
#[cfg_attr(not(feature = "limit"), expect(dead_code, reason = "one layer uses it"))]
pub(crate) fn set_body_limit<B>(request: &mut Request<B>, max: u64) {
    on::set_body_limit(request, max);
}

#[cfg(feature = "axum")]
mod on {
    use std::mem;

    use axum::extract::{DefaultBodyLimit, MatchedPath, OriginalUri};
    use http::{Extensions, Request, Uri};

    /// Marks that the limit of the extractors is this crate's, which an inner layer replaces.
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
        // The type of the extension is axum's own, so that nobody can see whether there is one: what
        // is there goes over the new one.
        let given = mem::take(request.extensions_mut());
        limit.apply(request);
        request.extensions_mut().insert(OwnLimit);
        request.extensions_mut().extend(given);
    }
}

#[cfg(not(feature = "axum"))]
mod on {
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
    fn nested_uri_has_lost_the_beginning_of_its_path() {
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
