use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Extensions;
use metrics::{Label, Unit};

use crate::metrics::{Metrics, Name};
use crate::single_use::{Flag, SingleUse};

/// The nonce of a response, in the extensions of its request.
///
/// A layer whose policy has [`Source::NONCE`](super::Source::NONCE) adds it to each request. The
/// nonce is drawn when it is first asked for: 128 bits from the operating system, as 22 characters
/// of base64url, which need no escaping in HTML. A response whose nonce was not asked for has the
/// policy without it.
///
/// ```
/// use axum::{Extension, response::Html};
/// use tower_kit::security_headers::Nonce;
///
/// async fn page(Extension(nonce): Extension<Nonce>) -> Html<String> {
///     Html(format!("<script nonce=\"{nonce}\">start()</script>"))
/// }
/// ```
///
/// `Nonce` is an extractor with the feature `axum`: `async fn page(nonce: Nonce)`.
///
/// Ask for the nonce before the response is returned: the policy is sent before the body. If the
/// nonce is first asked for while the body is sent, or if the operating system has no random bits,
/// it is empty, the script does not run, [`get`](Self::get) returns an error, and
/// `http_nonces_missed_total` counts the response.
#[doc(alias = "CSP nonce")]
#[doc(alias = "res.locals.cspNonce")]
#[derive(Clone)]
pub struct Nonce(Arc<State>);

/// The error of a nonce that was asked for and cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceError(Reason);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The policy was sent before.
    Late,
    /// The operating system has no random bits.
    Random,
}

struct State {
    drawn: OnceLock<Result<[u8; LENGTH], Reason>>,
    /// Set when the nonce is asked for. The cache does not store a response whose body asked for the
    /// nonce, and sees this flag by the mark in the request's extensions.
    used: AtomicBool,
    misses: Arc<Misses>,
}

/// The counters of nonces that were asked for and not given.
#[derive(Debug)]
pub(super) struct Misses {
    metrics: Metrics,
    announced: Once,
}

impl Nonce {
    /// Returns the nonce. The first call draws it.
    ///
    /// # Errors
    ///
    /// The headers of the response were sent without the nonce, or the operating system has no
    /// random bits. A script without the nonce does not run.
    pub fn get(&self) -> Result<&str, NonceError> {
        let State { drawn, used, misses } = &*self.0;
        // The flag is set before the nonce exists, so that no thread sees a nonce without its flag.
        // Relaxed: the flag guards no other data. A body that sets it does so before its next frame
        // is read.
        let is_first = !used.swap(true, Ordering::Relaxed);
        // `get` and `close` may race in two threads. The first of them to initialize the cell
        // decides, and both see the same result.
        drawn.get_or_init(draw).as_ref().map(text).map_err(|reason| {
            if is_first {
                misses.count(*reason);
            }
            NonceError(*reason)
        })
    }

    /// Returns the nonce, or an empty text where [`get`](Self::get) returns an error.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.get().unwrap_or_default()
    }

    /// Returns `true` if the nonce was asked for, even too late.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.0.is_set()
    }

    /// Returns the nonce if it was asked for in time.
    pub(super) fn drawn(&self) -> Option<&str> {
        self.0.drawn.get()?.as_ref().ok().map(text)
    }

    /// Returns the nonce that an outer layer has added to the request, or adds a new one. The `bool`
    /// is `true` for a new nonce.
    pub(super) fn of(request: &mut Extensions, misses: &Arc<Misses>) -> (Self, bool) {
        if let Some(nonce) = request.get::<Self>().cloned() {
            return (nonce, false);
        }
        // Not when the layer is built: the process may install its recorder later.
        misses.announce();
        let misses = Arc::clone(misses);
        let state = State { drawn: OnceLock::new(), used: AtomicBool::new(false), misses };
        let nonce = Self(Arc::new(state));
        request.insert(nonce.clone());
        (nonce, true)
    }

    /// Returns the mark by which the cache knows that a response has the nonce.
    pub(crate) fn single_use(&self) -> SingleUse {
        let Self(state) = self.clone();
        SingleUse::new(state)
    }

    /// Makes a nonce that was not asked for empty from now on: the policy is about to be sent.
    pub(super) fn close(&self) {
        self.0.drawn.get_or_init(|| Err(Reason::Late));
    }
}

impl Flag for State {
    fn is_set(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }
}

impl NonceError {
    /// Returns `true` if the headers were sent before the nonce was asked for.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.0 == Reason::Late
    }

    /// Returns `true` if the operating system has no random bits.
    #[must_use]
    pub fn is_random(&self) -> bool {
        self.0 == Reason::Random
    }
}

impl Misses {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, announced: Once::new() }
    }

    /// Creates both counters at zero: the rate of a counter that appears with its first event misses
    /// that event.
    fn announce(&self) {
        self.announced.call_once(|| {
            for reason in [Reason::Late, Reason::Random] {
                self.metrics.counter(MISSED, vec![reason.label()]).increment(0);
            }
        });
    }

    fn count(&self, reason: Reason) {
        self.metrics.counter(MISSED, vec![reason.label()]).increment(1);
    }
}

impl Reason {
    fn label(self) -> Label {
        Label::from_static_parts("reason", if self == Self::Late { "late" } else { "random" })
    }
}

/// Writes the nonce, or nothing where [`get`](Nonce::get) returns an error.
impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Leaves the nonce out: a secret does not belong in logs.
impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonce").field("is_used", &self.is_used()).finish_non_exhaustive()
    }
}

impl fmt::Display for NonceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Reason::Late => {
                "the nonce was asked for after the headers of the response were sent: ask for it \
                 before the response is returned"
            }
            Reason::Random => "the operating system has no random bits for a nonce",
        })
    }
}

impl Error for NonceError {}

fn draw() -> Result<[u8; LENGTH], Reason> {
    // 128 bits, as CSP3 §7.1 recommends, from the operating system: a generator in the process could
    // repeat itself after a fork.
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|_| Reason::Random)?;
    let mut nonce = [0; LENGTH];
    URL_SAFE_NO_PAD.encode_slice(bits, &mut nonce).map_err(|_| Reason::Random)?;
    Ok(nonce)
}

/// Returns the nonce as text. It is base64, so the conversion does not fail.
fn text(nonce: &[u8; LENGTH]) -> &str {
    std::str::from_utf8(nonce).unwrap_or_default()
}

// 16 bytes in base64 without padding.
const LENGTH: usize = 22;
const MISSED: Name = Name::new(
    "http_nonces_missed_total",
    Unit::Count,
    "Responses whose nonce was asked for but not sent, so that their scripts do not run, by reason.",
);

#[cfg(test)]
mod tests;
