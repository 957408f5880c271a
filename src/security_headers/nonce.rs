use std::error::Error;
use std::fmt;
use std::sync::{Arc, Once, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Extensions;
use metrics::{Label, Unit};

use crate::metrics::{Metrics, Name};
use crate::single_use::SingleUse;

/// The nonce of a response: in the extensions of a request whose layer has a policy with
/// [`Source::NONCE`](super::Source::NONCE).
///
/// It is drawn when somebody asks for it: 128 bits from the operating system, as 22 characters of
/// base64url, which need no escaping in HTML. The policy of a response has it only if somebody did.
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
/// With the feature `axum` it is an extractor: `async fn page(nonce: Nonce)`.
///
/// It is to be asked for before the response is returned: the field is sent before the body, so
/// that a nonce which is first asked for while the body is sent stays empty, and the script does
/// not run. It stays empty also where the operating system has no random bits. Both are counted on
/// `http_nonces_missed_total`, once for each response, and [`get`](Self::get) returns an error.
#[derive(Clone)]
pub struct Nonce(Arc<State>);

/// Why there is no nonce, when it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceError(Missing);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Late,
    Random,
}

struct State {
    drawn: OnceLock<Result<[u8; LENGTH], Missing>>,
    /// Set as soon as the nonce is asked for. The request's extensions have it too: a cache of
    /// this crate does not store a response whose body asked for the nonce.
    used: SingleUse,
    misses: Arc<Misses>,
}

/// Counts nonces that were asked for and are not there.
#[derive(Debug)]
pub(super) struct Misses {
    metrics: Metrics,
    announced: Once,
}

impl Nonce {
    /// Returns the nonce, which is drawn now if it is asked for the first time.
    ///
    /// # Errors
    ///
    /// Where the head of the response was sent without it, or the operating system has no random
    /// bits. A script that gets no nonce does not run.
    pub fn get(&self) -> Result<&str, NonceError> {
        let State { drawn, used, misses } = &*self.0;
        // Before the nonce exists, so that nobody sees a nonce whose flag is not set.
        let is_first = used.set();
        drawn.get_or_init(draw).as_ref().map(text).map_err(|missing| {
            if is_first {
                misses.count(*missing);
            }
            NonceError(*missing)
        })
    }

    /// Returns the nonce as [`get`](Self::get) does, and an empty text where there is none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.get().unwrap_or_default()
    }

    /// Whether somebody has asked for it, be it too late.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.0.used.is_set()
    }

    /// The nonce, if somebody has asked for it in time.
    pub(super) fn drawn(&self) -> Option<&str> {
        self.0.drawn.get()?.as_ref().ok().map(text)
    }

    /// The one that an outer layer has given to the request, or a new one; whether it is new.
    pub(super) fn of(request: &mut Extensions, misses: &Arc<Misses>) -> (Self, bool) {
        if let Some(nonce) = request.get::<Self>().cloned() {
            request.insert(nonce.0.used.clone());
            return (nonce, false);
        }
        misses.announce();
        let misses = Arc::clone(misses);
        let used = SingleUse::new();
        request.insert(used.clone());
        let nonce = Self(Arc::new(State { drawn: OnceLock::new(), used, misses }));
        request.insert(nonce.clone());
        (nonce, true)
    }

    /// Whoever asks for it from now on is too late.
    pub(super) fn close(&self) {
        self.0.drawn.get_or_init(|| Err(Missing::Late));
    }
}

impl NonceError {
    /// Returns `true` if the head of the response was sent before the nonce was asked for.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.0 == Missing::Late
    }

    /// Returns `true` if the operating system has no random bits.
    #[must_use]
    pub fn is_random(&self) -> bool {
        self.0 == Missing::Random
    }
}

impl Misses {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, announced: Once::new() }
    }

    /// Makes both counters exist: a rate needs a value from before the first miss.
    fn announce(&self) {
        self.announced.call_once(|| {
            for missing in [Missing::Late, Missing::Random] {
                self.metrics.counter(MISSED, vec![missing.label()]).increment(0);
            }
        });
    }

    fn count(&self, missing: Missing) {
        self.metrics.counter(MISSED, vec![missing.label()]).increment(1);
    }
}

impl Missing {
    fn label(self) -> Label {
        Label::from_static_parts("reason", if self == Self::Late { "late" } else { "random" })
    }
}

/// The nonce itself.
impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Without the nonce, which is not for logs.
impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonce").field("is_used", &self.is_used()).finish_non_exhaustive()
    }
}

impl fmt::Display for NonceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Missing::Late => {
                "the nonce was asked for after the head of the response was sent: ask for it before \
                 the response is returned"
            }
            Missing::Random => "the operating system has no random bits for a nonce",
        })
    }
}

impl Error for NonceError {}

fn draw() -> Result<[u8; LENGTH], Missing> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|_| Missing::Random)?;
    let mut nonce = [0; LENGTH];
    URL_SAFE_NO_PAD.encode_slice(bits, &mut nonce).map_err(|_| Missing::Random)?;
    Ok(nonce)
}

/// Base64 is ASCII.
fn text(nonce: &[u8; LENGTH]) -> &str {
    std::str::from_utf8(nonce).unwrap_or_default()
}

const LENGTH: usize = 22;
const MISSED: Name = Name::new(
    "http_nonces_missed_total",
    Unit::Count,
    "Responses whose nonce was asked for and is not in their policy, so that scripts do not run: too late, or without random bits.",
);

#[cfg(test)]
mod tests {
    use super::*;

    fn misses() -> Arc<Misses> {
        Arc::new(Misses::new(Metrics::default()))
    }

    #[test]
    fn a_nonce_is_drawn_once_and_has_22_characters() {
        let (nonce, is_new) = Nonce::of(&mut Extensions::new(), &misses());
        assert!(is_new && !nonce.is_used());
        let text = nonce.as_str().to_owned();
        assert!(nonce.is_used());
        assert_eq!(text.len(), 22);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        nonce.close();
        assert_eq!(nonce.to_string(), text);
        assert!(!format!("{nonce:?}").contains(&text));
    }

    #[test]
    fn a_nonce_that_is_asked_for_too_late_is_empty() {
        let (nonce, _) = Nonce::of(&mut Extensions::new(), &misses());
        nonce.close();
        assert!(!nonce.is_used());
        assert!(nonce.get().unwrap_err().is_late() && !nonce.get().unwrap_err().is_random());
        assert_eq!(nonce.as_str(), "");
        assert!(nonce.is_used());
        assert_eq!(nonce.drawn(), None);
    }

    #[test]
    fn a_request_that_has_a_nonce_keeps_it() {
        let mut request = Extensions::new();
        let (first, _) = Nonce::of(&mut request, &misses());
        let (second, is_new) = Nonce::of(&mut request, &misses());
        assert!(!is_new);
        assert_eq!(first.as_str(), second.as_str());
    }
}
