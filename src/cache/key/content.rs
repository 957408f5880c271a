//! The content of a request as a part of its key (RFC 10008 §2.7).

use http::{Method, request};

/// A mark in the extensions of a request with a `QUERY` or a chosen `POST`. A layer outside of the
/// cache has read the content of the request, and the inner service gets the same content.
///
/// No client can set the mark: extensions do not come from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The SHA-256 of the content and of the headers that describe it.
    Known(ContentMethod, [u8; 32]),
    Unknown(Unread),
    /// The callback that chooses requests panicked.
    Panicked,
}

/// The method of a request whose content is a part of its key. The method that the cache sees has to
/// be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentMethod {
    Query,
    Post,
}

/// The reasons for which the content of a request is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// The content is over the maximum.
    TooLarge,
    /// The content has not ended within the timeout.
    Late,
    /// The contents of other requests take all bytes that they may.
    Budget,
    /// The content has failed, has trailers, or differs from what the head declares.
    Malformed,
}

impl Content {
    /// Returns the mark of a request. Those of other methods have none.
    #[inline]
    pub(crate) fn of(request: &request::Parts) -> Option<&Self> {
        // Most requests are a GET, or have no extensions, and are spared the lookup.
        let may_have = request.method != Method::GET && !request.extensions.is_empty();
        if may_have { Self::find(request) } else { None }
    }

    fn find(request: &request::Parts) -> Option<&Self> {
        request.extensions.get().filter(|content| match content {
            Self::Known(method, _) => request.method.as_str() == method.as_str(),
            Self::Unknown(_) | Self::Panicked => request.method != Method::HEAD,
        })
    }
}

impl ContentMethod {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "QUERY",
            Self::Post => "POST",
        }
    }

    /// Returns the name of the line in the key, which no header has.
    pub(crate) const fn name_in_key(self) -> &'static str {
        match self {
            Self::Query => "@query",
            Self::Post => "@post",
        }
    }
}
