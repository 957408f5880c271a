use std::convert::Infallible;

use axum::Extension;
use axum::extract::rejection::ExtensionRejection;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use super::nonce::Nonce;

/// Extracts the nonce of the request. Without a layer whose policy has
/// [`Source::NONCE`](super::Source::NONCE), the response is 500.
impl<S: Sync> FromRequestParts<S> for Nonce {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let Extension(nonce) =
            <Extension<Self> as FromRequestParts<()>>::from_request_parts(parts, &()).await?;
        Ok(nonce)
    }
}

/// Extracts the nonce of the request, if it has one.
impl<S: Sync> OptionalFromRequestParts<S> for Nonce {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}
