use http::{HeaderName, HeaderValue};

use super::error::InvalidHeader;

/// The header `clear-site-data`: the kinds of data that the browser deletes for this origin
/// ([Clear Site Data](https://www.w3.org/TR/clear-site-data/)).
///
/// A handler sends it with the response that logs a user out. A layer does not take it: each
/// response would log the user out.
///
/// ```
/// use axum::response::IntoResponse;
/// use tower_kit::security_headers::ClearSiteData;
///
/// async fn log_out() -> impl IntoResponse {
///     let forget = ClearSiteData::COOKIES.and(ClearSiteData::STORAGE);
///     ([(ClearSiteData::NAME, forget)], "bye")
/// }
/// ```
#[doc(alias = "Clear-Site-Data")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearSiteData {
    known: u8,
    custom: Vec<&'static str>,
}

impl ClearSiteData {
    /// The name of the header: `clear-site-data`.
    pub const NAME: HeaderName = HeaderName::from_static("clear-site-data");

    /// Deletes cached responses: `cache`.
    pub const CACHE: Self = Self::of(1);
    /// Deletes cookies of the whole registrable domain.
    pub const COOKIES: Self = Self::of(1 << 1);
    /// Deletes data that scripts have stored.
    pub const STORAGE: Self = Self::of(1 << 2);
    /// Reloads the open pages of the origin.
    pub const EXECUTION_CONTEXTS: Self = Self::of(1 << 3);
    /// Forgets the client hints that the origin asked for.
    pub const CLIENT_HINTS: Self = Self::of(1 << 4);
    /// Deletes resources that were fetched ahead.
    pub const PREFETCH_CACHE: Self = Self::of(1 << 5);
    /// Deletes pages that were rendered ahead.
    pub const PRERENDER_CACHE: Self = Self::of(1 << 6);
    /// Deletes all kinds of data, future kinds included: `*`.
    pub const ALL: Self = Self::of(1 << 7);

    /// Returns a kind of data that this crate does not know, sent as it is, in double quotes.
    ///
    /// # Errors
    ///
    /// The name is empty, or has a quote, a backslash, `,`, `;`, a space, or a character that is
    /// not visible ASCII.
    pub fn custom(name: &'static str) -> Result<Self, InvalidHeader> {
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,;".contains(&byte);
        if name.is_empty() || !name.bytes().all(fits) {
            let reason = "not a kind of data: visible ASCII without quotes, backslashes, , and ;";
            return Err(InvalidHeader::new(Self::NAME.as_str(), name, reason));
        }
        Ok(Self { known: 0, custom: vec![name] })
    }

    /// Adds the kinds of data of another value.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.known |= other.known;
        self.custom.extend(other.custom);
        self
    }

    const fn of(known: u8) -> Self {
        Self { known, custom: Vec::new() }
    }
}

impl From<ClearSiteData> for HeaderValue {
    fn from(data: ClearSiteData) -> Self {
        // Kinds are written in the order of the table, whatever the order of the calls, and each
        // once.
        let is_set = |kinds: &ClearSiteData| data.known & kinds.known != 0;
        if is_set(&ClearSiteData::ALL) {
            return Self::from_static("\"*\"");
        }
        let set = KINDS.into_iter().filter(|(kind, _)| is_set(kind));
        let mut names: Vec<_> = set.map(|(_, name)| name).collect();
        for name in data.custom {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let value = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        // The names are constants or checked by `custom`, so the conversion does not fail.
        Self::try_from(value).unwrap_or(Self::from_static("\"*\""))
    }
}

const KINDS: [(ClearSiteData, &str); 7] = [
    (ClearSiteData::CACHE, "cache"),
    (ClearSiteData::COOKIES, "cookies"),
    (ClearSiteData::STORAGE, "storage"),
    (ClearSiteData::EXECUTION_CONTEXTS, "executionContexts"),
    (ClearSiteData::CLIENT_HINTS, "clientHints"),
    (ClearSiteData::PREFETCH_CACHE, "prefetchCache"),
    (ClearSiteData::PRERENDER_CACHE, "prerenderCache"),
];
