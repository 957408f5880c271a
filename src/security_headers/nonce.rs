use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Extensions;

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
/// It is to be asked for before the response is returned: the field is sent before the body, so
/// that a nonce which is first asked for while the body is sent stays empty, and the script does
/// not run. It stays empty also where the operating system has no random bits.
#[derive(Clone)]
pub struct Nonce(Arc<State>);

#[derive(Default)]
struct State {
    drawn: OnceLock<Option<[u8; LENGTH]>>,
    /// Somebody has asked for it when it was too late.
    late: AtomicBool,
}

impl Nonce {
    /// The nonce, which is drawn now if it is asked for the first time.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.drawn.get_or_init(draw);
        self.drawn().unwrap_or_else(|| {
            self.0.late.store(true, Ordering::Relaxed);
            ""
        })
    }

    /// Whether somebody has asked for it, be it too late.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.0.drawn.get().is_some_and(Option::is_some) || self.0.late.load(Ordering::Relaxed)
    }

    /// The nonce, if somebody has asked for it in time.
    pub(super) fn drawn(&self) -> Option<&str> {
        let nonce = self.0.drawn.get()?.as_ref()?;
        std::str::from_utf8(nonce).ok()
    }

    /// The one that an outer layer has given to the request, or a new one; whether it is new.
    pub(super) fn of(request: &mut Extensions) -> (Self, bool) {
        if let Some(nonce) = request.get::<Self>() {
            return (nonce.clone(), false);
        }
        let nonce = Self(Arc::default());
        request.insert(nonce.clone());
        (nonce, true)
    }

    /// Whoever asks for it from now on is too late.
    pub(super) fn close(&self) {
        self.0.drawn.get_or_init(|| None);
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

fn draw() -> Option<[u8; LENGTH]> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).ok()?;
    let mut nonce = [0; LENGTH];
    URL_SAFE_NO_PAD.encode_slice(bits, &mut nonce).ok()?;
    Some(nonce)
}

const LENGTH: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_drawn_once_and_has_22_characters() {
        let (nonce, is_new) = Nonce::of(&mut Extensions::new());
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
        let (nonce, _) = Nonce::of(&mut Extensions::new());
        nonce.close();
        assert!(!nonce.is_used());
        assert_eq!(nonce.as_str(), "");
        assert!(nonce.is_used());
        assert_eq!(nonce.drawn(), None);
    }

    #[test]
    fn a_request_that_has_a_nonce_keeps_it() {
        let mut request = Extensions::new();
        let (first, _) = Nonce::of(&mut request);
        let (second, is_new) = Nonce::of(&mut request);
        assert!(!is_new);
        assert_eq!(first.as_str(), second.as_str());
    }
}
