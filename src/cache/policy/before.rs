use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PRAGMA, RANGE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderName, Method, request};

use super::super::control::RequestControl;
use super::super::key_by::CacheKey;
use super::rules::{Exception, Rules};

/// What to do with a request, before anything is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    LookUp(Ask),
    Pass(Bypass),
    /// Passes, and what it changes is dropped (RFC 9111 §4.4).
    Invalidate,
}

/// What a request asks of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) head_only: bool,
    pub(crate) authorized: bool,
    /// It has a `cookie` that the key lacks, and the layer gives lifetimes to responses that state
    /// none: these are not for it, nor are its own for others.
    pub(crate) cookie: bool,
    /// It may want something else than the whole: a 304, or a part.
    pub(crate) conditional: bool,
    pub(crate) control: RequestControl,
    /// Why its response is not to be kept, if so.
    pub(crate) no_fill: Option<Bypass>,
    /// The header that [`Bypass::Override`] is for.
    pub(crate) override_by: Option<&'static str>,
}

/// Why a request passes by the cache, or does not fill it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bypass {
    Method,
    Upgrade,
    Skipped,
    /// It has no key.
    Key,
    Body,
    /// `if-match` and `if-unmodified-since` are for the origin (RFC 9111 §4.3.2).
    Precondition,
    NoStore,
    /// A part of a response, or the head alone, is nothing to keep.
    Partial,
    /// It has a field that the service may act upon, and that is not part of the key.
    Override,
    /// Its URL is spelled otherwise than its key, and the service may act upon that.
    Spelling,
    /// The layer stores whatever the service sends, and this may be one user's.
    Cookie,
}

/// `has_body` is whether the request's body has not ended yet.
pub(crate) fn before(
    rules: &Rules,
    key: &CacheKey,
    request: &request::Parts,
    has_body: bool,
) -> Before {
    let headers = &request.headers;
    let head_only = request.method == Method::HEAD;
    if !head_only && request.method != Method::GET {
        return if SAFE.contains(&request.method.as_str()) {
            Before::Pass(Bypass::Method)
        } else {
            Before::Invalidate
        };
    }
    // One look at each name, in one walk: most requests have none of these.
    let mut ask = Ask { head_only, ..Ask::default() };
    let mut control = false;
    if head_only {
        ask.no_fill = Some(Bypass::Partial);
    }
    for name in headers.keys() {
        if *name == UPGRADE {
            return Before::Pass(Bypass::Upgrade);
        } else if *name == IF_MATCH || *name == IF_UNMODIFIED_SINCE {
            return Before::Pass(Bypass::Precondition);
        } else if *name == TRANSFER_ENCODING {
            return Before::Pass(Bypass::Body);
        } else if *name == CONTENT_LENGTH {
            if headers.get(name).is_none_or(|length| length.as_bytes() != b"0") {
                return Before::Pass(Bypass::Body);
            }
        } else if *name == AUTHORIZATION {
            ask.authorized = true;
        } else if *name == COOKIE {
            if rules.gives_lifetimes() && !key.has_header(name) && !rules.allows(Exception::Cookie)
            {
                if rules.aside.is_some() {
                    return Before::Pass(Bypass::Cookie);
                }
                ask.cookie = true;
            }
        } else if *name == CACHE_CONTROL || *name == PRAGMA {
            control = rules.heed_request;
        } else if [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE].contains(name) {
            ask.conditional = true;
        } else if *name == RANGE {
            ask.conditional = true;
            ask.no_fill.get_or_insert(Bypass::Partial);
        } else if let Some(known) = overrides(name) {
            if !rules.trusted.contains(name) && !key.has_header(name) {
                // Before all other reasons: not even a refresh may carry it.
                ask.no_fill = Some(Bypass::Override);
                ask.override_by.get_or_insert(known);
            }
        }
    }
    if has_body {
        return Before::Pass(Bypass::Body);
    }
    if control {
        ask.control = RequestControl::of(headers);
        if ask.control.no_store && ask.no_fill != Some(Bypass::Override) {
            ask.no_fill = Some(Bypass::NoStore);
        }
    }
    Before::LookUp(ask)
}

impl Ask {
    /// A request whose URL is spelled otherwise than its key fills nothing.
    pub(crate) fn spelled(self, may_fill: bool) -> Self {
        let no_fill = if may_fill { self.no_fill } else { Some(Bypass::Spelling) };
        Self { no_fill, ..self }
    }
}

impl Bypass {
    /// As in labels and details, in the order above.
    pub(crate) const NAMES: [&str; 11] = [
        "method",
        "upgrade",
        "skipped",
        "key",
        "body",
        "precondition",
        "no-store",
        "partial",
        "override",
        "spelling",
        "cookie",
    ];

    /// Returns `true` if the service's response may be that to another request.
    pub(crate) const fn is_of_another(self) -> bool {
        matches!(self, Self::Override | Self::Spelling)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// Returns the known name of this header, if services are known to take the host, the URL or the
/// method from it.
fn overrides(name: &HeaderName) -> Option<&'static str> {
    let name = name.as_str();
    if !name.starts_with("x-") && !name.starts_with("x_") {
        return (name == "forwarded").then_some("forwarded");
    }
    // To CGI and what followed it, `_` and `-` are the same.
    let same = |(byte, of): (u8, u8)| byte == of || byte == b'_' && of == b'-';
    let is = |of: &str| name.len() == of.len() && name.bytes().zip(of.bytes()).all(same);
    OVERRIDES.iter().copied().find(|of| is(of))
}

/// The methods that IANA's HTTP Method Registry calls safe, but for GET and HEAD, and CONNECT, which
/// has no resource. What is not registered may change anything (RFC 9111 §4.4).
const SAFE: [&str; 8] =
    ["CONNECT", "OPTIONS", "PRI", "PROPFIND", "QUERY", "REPORT", "SEARCH", "TRACE"];

const OVERRIDES: [&str; 23] = [
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-path",
    "x-forwarded-uri",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
];

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn decide(rules: &Rules, method: &str, fields: &[(&str, &str)], has_body: bool) -> Before {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let key = CacheKey::new().header(HeaderName::from_static("x-forwarded-proto"));
        before(rules, &key, &parts, has_body)
    }

    #[test]
    fn only_what_can_be_answered_from_a_store_is_looked_up() {
        let ask = |no_fill| Before::LookUp(Ask { no_fill, ..Ask::default() });
        let part = |no_fill| Before::LookUp(Ask { no_fill, conditional: true, ..Ask::default() });
        let over = |name, conditional| {
            let (no_fill, override_by) = (Some(Bypass::Override), Some(name));
            Before::LookUp(Ask { no_fill, override_by, conditional, ..Ask::default() })
        };
        // RFC 9111 §3 and §4, RFC 9110 §9.2; none of the fields is part of what follows.
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Before);
        let table: &[Row<'_>] = &[
            ("GET", &[], ask(None)),
            ("GET", &[("cookie", "a=b"), ("accept", "*/*")], ask(None)),
            ("GET", &[("content-length", "0")], ask(None)),
            ("GET", &[("if-none-match", "\"a\"")], part(None)),
            ("GET", &[("if-modified-since", "yesterday")], part(None)),
            ("GET", &[("range", "bytes=0-1")], part(Some(Bypass::Partial))),
            ("GET", &[("x-forwarded-host", "evil")], over("x-forwarded-host", false)),
            // It counts before the others: a refresh may carry what they have.
            ("GET", &[("range", "a"), ("x-host", "evil")], over("x-host", true)),
            ("GET", &[("x-host", "evil"), ("range", "a")], over("x-host", true)),
            ("GET", &[("X-Original-URL", "/admin")], over("x-original-url", false)),
            ("GET", &[("X-HTTP-Method-Override", "DELETE")], over("x-http-method-override", false)),
            ("GET", &[("forwarded", "host=evil")], over("forwarded", false)),
            ("GET", &[("x-forwarded-proto", "https")], ask(None)),
            ("GET", &[("x-forwarded-for", "127.0.0.1")], ask(None)),
            ("GET", &[("content-length", "5")], Before::Pass(Bypass::Body)),
            ("GET", &[("transfer-encoding", "chunked")], Before::Pass(Bypass::Body)),
            ("GET", &[("upgrade", "websocket")], Before::Pass(Bypass::Upgrade)),
            ("GET", &[("if-match", "\"a\"")], Before::Pass(Bypass::Precondition)),
            ("OPTIONS", &[], Before::Pass(Bypass::Method)),
            ("TRACE", &[], Before::Pass(Bypass::Method)),
            ("CONNECT", &[], Before::Pass(Bypass::Method)),
            ("QUERY", &[], Before::Pass(Bypass::Method)),
            ("PROPFIND", &[], Before::Pass(Bypass::Method)),
            ("REPORT", &[], Before::Pass(Bypass::Method)),
            ("SEARCH", &[], Before::Pass(Bypass::Method)),
            ("PRI", &[], Before::Pass(Bypass::Method)),
            ("query", &[], Before::Invalidate),
            ("PROPPATCH", &[], Before::Invalidate),
            ("POST", &[], Before::Invalidate),
            ("DELETE", &[], Before::Invalidate),
            ("FROBNICATE", &[], Before::Invalidate),
            ("get", &[], Before::Invalidate),
        ];
        for (method, fields, expected) in table {
            assert_eq!(decide(&Rules::default(), method, fields, false), *expected, "{fields:?}");
        }
        let table = [("GET", Before::Pass(Bypass::Body)), ("POST", Before::Invalidate)];
        for (method, expected) in table {
            assert_eq!(decide(&Rules::default(), method, &[], true), expected, "{method}");
        }
        let Before::LookUp(head) = decide(&Rules::default(), "HEAD", &[], false) else { panic!() };
        assert!(head.head_only && head.no_fill == Some(Bypass::Partial));
    }

    #[test]
    fn what_the_request_says_counts_unless_it_is_ignored() {
        let fields = [("cache-control", "no-store, no-cache"), ("authorization", "Basic x")];
        let Before::LookUp(ask) = decide(&Rules::default(), "GET", &fields, false) else {
            panic!()
        };
        assert!(ask.control.no_cache && ask.authorized);
        assert_eq!(ask.no_fill, Some(Bypass::NoStore));
        let rules = Rules { heed_request: false, ..Rules::default() };
        let Before::LookUp(ask) = decide(&rules, "GET", &fields, false) else { panic!() };
        assert_eq!(ask, Ask { authorized: true, ..Ask::default() });
    }

    #[test]
    fn a_trusted_field_does_not_keep_a_request_from_filling() {
        let rules = Rules {
            trusted: vec![HeaderName::from_static("x-forwarded-host")],
            ..Rules::default()
        };
        let decided = decide(&rules, "GET", &[("x-forwarded-host", "x.org")], false);
        assert_eq!(decided, Before::LookUp(Ask::default()));
    }
}
