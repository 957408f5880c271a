//! The resources of the inner service.

use crate::chance::Chance;

/// A resource that changes.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) target: String,
    pub(crate) kind: Kind,
    pub(crate) version: u64,
    /// In seconds.
    pub(crate) max_age: u64,
    /// `stale-while-revalidate` in seconds, 0 for none.
    pub(crate) swr: u64,
    /// `stale-if-error` in seconds.
    pub(crate) sie: Option<u64>,
    pub(crate) must_revalidate: bool,
    pub(crate) has_etag: bool,
    pub(crate) tag: &'static str,
    pub(crate) is_text: bool,
    /// `no-vary-search` says that a parameter of the query does not matter.
    pub(crate) ignores_utm: bool,
    /// The length of the body in bytes varies by the version, up to this.
    pub(crate) max_size: u64,
}

/// The use that caches may make of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Public,
    /// Says nothing of caching.
    Silent,
    Private,
    NoStore,
    /// Differs by `authorization`, and has a lifetime without `public`.
    Authorized,
    /// Differs by the session, which it continues.
    SetCookie,
    VaryUser,
    VaryLang,
    /// Has to be validated each time.
    NoCache,
}

impl Resource {
    pub(crate) fn new(number: u64, chance: &mut Chance) -> Self {
        let kind = match chance.among(0..14) {
            0 => Kind::Silent,
            1 => Kind::Private,
            2 => Kind::NoStore,
            3 => Kind::Authorized,
            4 => Kind::SetCookie,
            5 => Kind::VaryUser,
            6 | 7 => Kind::VaryLang,
            8 => Kind::NoCache,
            _ => Kind::Public,
        };
        let folder = if number % 2 == 0 { "even" } else { "odd" };
        let ignores_utm = chance.one_in(5);
        let query = if ignores_utm || chance.one_in(3) { "?page=2" } else { "" };
        Self {
            target: format!("/{folder}/{number}{query}"),
            kind,
            version: 1,
            max_age: [1, 5, 60, 600][chance.among(0..4) as usize],
            swr: if chance.one_in(3) { [2, 30][chance.among(0..2) as usize] } else { 0 },
            sie: if chance.one_in(3) { Some([0, 20][chance.among(0..2) as usize]) } else { None },
            // Of an `Authorized` one it would permit to share responses to `authorization`.
            must_revalidate: chance.one_in(6) && !matches!(kind, Kind::Silent | Kind::Authorized),
            has_etag: kind == Kind::NoCache || chance.one_in(2),
            tag: ["red", "blue"][chance.among(0..2) as usize],
            is_text: !chance.one_in(4),
            ignores_utm,
            max_size: [80, 600, 3000, 3000, 40_000, 150_000][chance.among(0..6) as usize],
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{ORIGIN}{}", self.target)
    }

    /// Returns the length of the body of a version, in bytes.
    pub(crate) fn size(&self, version: u64) -> usize {
        (60 + version.wrapping_mul(7919) % self.max_size) as usize
    }

    /// Returns the longest time after its end for which a response may be served stale, in
    /// milliseconds.
    pub(crate) fn stale_window(&self, own_ttl: bool) -> u64 {
        // The cache's own `stale_if_error`.
        const GRACE: u64 = 600;
        match self.kind {
            Kind::Silent => GRACE * 1000,
            Kind::NoCache if !own_ttl => 0,
            _ if self.must_revalidate => 0,
            _ => self.swr.max(self.sie.unwrap_or(GRACE)) * 1000,
        }
    }

    /// Returns `cache-control`.
    pub(crate) fn control(&self) -> Option<String> {
        let mut control = match self.kind {
            Kind::Silent => return None,
            Kind::NoStore => return Some("no-store".to_owned()),
            Kind::Private => format!("private, max-age={}", self.max_age),
            Kind::NoCache => format!("public, no-cache, max-age={}", self.max_age),
            Kind::Authorized | Kind::SetCookie => format!("max-age={}", self.max_age),
            Kind::Public | Kind::VaryUser | Kind::VaryLang => {
                format!("public, max-age={}", self.max_age)
            }
        };
        if self.must_revalidate {
            control.push_str(", must-revalidate");
        }
        if self.swr > 0 {
            control.push_str(&format!(", stale-while-revalidate={}", self.swr));
        }
        if let Some(sie) = self.sie {
            control.push_str(&format!(", stale-if-error={sie}"));
        }
        Some(control)
    }
}

pub(crate) const ORIGIN: &str = "http://sim.test";
