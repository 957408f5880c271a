use http::{HeaderName, HeaderValue};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClearSiteData(u8);

impl ClearSiteData {
    /// The name of the field.
    pub const NAME: HeaderName = HeaderName::from_static("clear-site-data");

    /// What is cached.
    pub const CACHE: Self = Self(1);
    /// Cookies, of the whole domain.
    pub const COOKIES: Self = Self(1 << 1);
    /// What scripts have stored.
    pub const STORAGE: Self = Self(1 << 2);
    /// Pages that are open: they are loaded again.
    pub const EXECUTION_CONTEXTS: Self = Self(1 << 3);
    /// Which client hints were asked for.
    pub const CLIENT_HINTS: Self = Self(1 << 4);
    /// What was fetched ahead.
    pub const PREFETCH_CACHE: Self = Self(1 << 5);
    /// What was rendered ahead.
    pub const PRERENDER_CACHE: Self = Self(1 << 6);
    /// Everything, of what is still to be invented too.
    pub const ALL: Self = Self(1 << 7);

    /// This and that.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl From<ClearSiteData> for HeaderValue {
    fn from(data: ClearSiteData) -> Self {
        let is_set = |types: ClearSiteData| data.0 & types.0 != 0;
        if is_set(ClearSiteData::ALL) {
            return Self::from_static("\"*\"");
        }
        let named = TYPES.iter().filter(|(types, _)| is_set(*types)).map(|(_, name)| *name);
        let value = named.collect::<Vec<_>>().join(", ");
        Self::try_from(value).unwrap_or(Self::from_static("\"*\""))
    }
}

const TYPES: [(ClearSiteData, &str); 7] = [
    (ClearSiteData::CACHE, "\"cache\""),
    (ClearSiteData::COOKIES, "\"cookies\""),
    (ClearSiteData::STORAGE, "\"storage\""),
    (ClearSiteData::EXECUTION_CONTEXTS, "\"executionContexts\""),
    (ClearSiteData::CLIENT_HINTS, "\"clientHints\""),
    (ClearSiteData::PREFETCH_CACHE, "\"prefetchCache\""),
    (ClearSiteData::PRERENDER_CACHE, "\"prerenderCache\""),
];
