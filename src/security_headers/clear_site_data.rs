use http::{HeaderName, HeaderValue};

use super::error::InvalidField;

/// `clear-site-data`: what the browser forgets of this origin
/// ([Clear Site Data](https://www.w3.org/TR/clear-site-data/)). A handler attaches it to the
/// response that logs a user out; a layer never does.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearSiteData {
    known: u8,
    custom: Vec<&'static str>,
}

impl ClearSiteData {
    /// The name of the field.
    pub const NAME: HeaderName = HeaderName::from_static("clear-site-data");

    /// What is cached.
    pub const CACHE: Self = Self::of(1);
    /// Cookies, of the whole domain.
    pub const COOKIES: Self = Self::of(1 << 1);
    /// What scripts have stored.
    pub const STORAGE: Self = Self::of(1 << 2);
    /// Pages that are open: they are loaded again.
    pub const EXECUTION_CONTEXTS: Self = Self::of(1 << 3);
    /// Which client hints were asked for.
    pub const CLIENT_HINTS: Self = Self::of(1 << 4);
    /// What was fetched ahead.
    pub const PREFETCH_CACHE: Self = Self::of(1 << 5);
    /// What was rendered ahead.
    pub const PRERENDER_CACHE: Self = Self::of(1 << 6);
    /// Everything, of what is still to be invented too.
    pub const ALL: Self = Self::of(1 << 7);

    /// Returns a type of data that this crate does not know, sent as it is but for the quotes around
    /// it.
    ///
    /// # Errors
    ///
    /// Quotes, backslashes, `,`, `;`, spaces, control characters and what is not visible ASCII are
    /// refused.
    pub fn custom(name: &'static str) -> Result<Self, InvalidField> {
        let fits = |byte: u8| byte.is_ascii_graphic() && !b"\"\\,;".contains(&byte);
        if name.is_empty() || !name.bytes().all(fits) {
            let why = "not a type of data: visible ASCII without quotes, backslashes, , and ;";
            return Err(InvalidField::new(Self::NAME.as_str(), name, why));
        }
        Ok(Self { known: 0, custom: vec![name] })
    }

    /// This and that.
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
        let is_set = |types: &ClearSiteData| data.known & types.known != 0;
        if is_set(&ClearSiteData::ALL) {
            return Self::from_static("\"*\"");
        }
        let set = TYPES.into_iter().filter(|(types, _)| is_set(types));
        let mut names: Vec<_> = set.map(|(_, name)| name).collect();
        for name in data.custom {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let value = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        Self::try_from(value).unwrap_or(Self::from_static("\"*\""))
    }
}

const TYPES: [(ClearSiteData, &str); 7] = [
    (ClearSiteData::CACHE, "cache"),
    (ClearSiteData::COOKIES, "cookies"),
    (ClearSiteData::STORAGE, "storage"),
    (ClearSiteData::EXECUTION_CONTEXTS, "executionContexts"),
    (ClearSiteData::CLIENT_HINTS, "clientHints"),
    (ClearSiteData::PREFETCH_CACHE, "prefetchCache"),
    (ClearSiteData::PRERENDER_CACHE, "prerenderCache"),
];
