//! Marks in the extensions of a response, by which an inner layer tells the cache outside of it what
//! no header says.

use http::HeaderName;

/// A response for its request alone: another one for the same URL may differ, though nothing in
/// the head tells so. The cache neither stores it nor remembers that it did not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SingleUse;

/// A request header that the response depends on, as if `vary` named it.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "cache"), expect(dead_code, reason = "only the cache reads it"))]
pub(crate) struct VariesBy(pub(crate) HeaderName);
