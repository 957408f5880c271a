use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use http_body::SizeHint;

use super::decompress::Codings;
use super::limits::Limits;
use super::rejection::{LimitRejection, Reason};
use super::size::Size;
use crate::KIB;
use crate::drain::{DrainLimit, expects_continue};
use crate::error_response::ErrorFormat;
use crate::headers::content_length::{InvalidContentLength, content_length};

/// A request as the policy sees it: its head, and the properties of a body that is not polled yet.
#[derive(Debug)]
pub(super) struct RequestHead<'a> {
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) size_hint: SizeHint,
    pub(super) is_end_stream: bool,
}

/// The decision about a request, made before its body is polled.
#[derive(Debug)]
pub(super) enum Decision {
    Admit(Admission),
    Reject {
        rejection: LimitRejection,
        /// The part of the body to drain. `None` if the request has no body, if draining is off, or
        /// if the client waits for `100 Continue`.
        drain: Option<DrainLimit>,
    },
}

/// The terms on which the inner service gets an admitted request.
#[derive(Debug)]
pub(super) struct Admission {
    /// The maximum number of bytes of the body, both as received and as decompressed.
    pub(super) max_body: Size,
    /// The content codings to decode.
    pub(super) codings: Codings,
    /// The rejection that replaces the response if the body fails later, or `None` if it cannot
    /// fail.
    pub(super) rejection: Option<LimitRejection>,
    /// The part of a failed body to drain.
    pub(super) drain: DrainLimit,
}

/// A limit or rule that a request violates.
#[derive(Debug)]
struct Violation {
    reason: Reason,
    /// The exceeded limit, for reasons that have one.
    limit: Option<u64>,
}

type DeclaredLength = Result<Option<u64>, InvalidContentLength>;

impl Admission {
    fn without_body(max_body: Size) -> Self {
        let drain = DrainLimit::new(0, None);
        Self { max_body, codings: Codings::default(), rejection: None, drain }
    }
}

impl Violation {
    fn of_limit(reason: Reason, limit: Size) -> Self {
        Self { reason, limit: Some(limit.get()) }
    }

    fn of_rule(reason: Reason) -> Self {
        Self { reason, limit: None }
    }

    fn reject(self, head: &RequestHead<'_>) -> LimitRejection {
        let format = ErrorFormat::of(head.method, head.version, head.headers, head.is_end_stream);
        LimitRejection::new(self.reason, self.limit, format)
    }
}

/// Decides whether a request is admitted, by its head and the declared length of its body.
pub(super) fn decide(limits: &Limits, head: &RequestHead<'_>) -> Decision {
    let declared = declared_length(head.headers);
    match check(limits, head, declared) {
        Ok(admission) => Decision::Admit(admission),
        Err(violation) => {
            let length = declared.ok().flatten().or(head.size_hint.exact());
            let is_sent = !head.is_end_stream && !expects_continue(head.version, head.headers);
            let drain = is_sent.then(|| limits.drain(limits.body(head.headers), length));
            let drain = drain.filter(|drain| drain.max > 0);
            Decision::Reject { rejection: violation.reject(head), drain }
        }
    }
}

/// Removes the headers that describe the encoded body only: its codings, length and digests
/// (RFC 9110 §8.6, RFC 9530 §2 and §3).
pub(super) fn remove_encoded_headers(headers: &mut HeaderMap) {
    for name in [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_DIGEST, REPR_DIGEST, DIGEST, CONTENT_MD5]
    {
        headers.remove(name);
    }
}

fn check(
    limits: &Limits,
    head: &RequestHead<'_>,
    declared: DeclaredLength,
) -> Result<Admission, Violation> {
    check_head(limits, head)?;
    // Different readings of the length are how requests are smuggled through a proxy, so that a
    // length in doubt is rejected even where the transport knows the end of the body.
    let Ok(declared) = declared else {
        return Err(Violation::of_rule(Reason::InvalidContentLength));
    };
    // hyper's size hint is the declared length. A body of another layer may know more.
    let min_len = declared.unwrap_or(0).max(head.size_hint.lower());
    if head.is_end_stream && min_len == 0 {
        return Ok(Admission::without_body(limits.default_body));
    }
    let max_body = limits.body(head.headers);
    if min_len > max_body.get() {
        return Err(Violation::of_limit(Reason::BodyTooLarge, max_body));
    }
    let codings =
        if limits.decompress { Codings::parse(head.headers) } else { Ok(Codings::default()) };
    let Ok(codings) = codings else {
        return Err(Violation::of_rule(Reason::UnsupportedEncoding));
    };
    let may_exceed = head.size_hint.exact().is_none() && max_body != Size::UNLIMITED;
    // The inner service may reject a large body by a limit of its own, and its rest is drained then.
    let can_fail =
        may_exceed || min_len > LARGE_BODY || limits.min_data_rate.is_some() || !codings.is_empty();
    // The reason is a placeholder, which the failure of the body replaces.
    let placeholder = || Violation::of_limit(Reason::BodyTooLarge, max_body).reject(head);
    let drain = limits.drain(max_body, declared.or(head.size_hint.exact()));
    Ok(Admission { max_body, codings, rejection: can_fail.then(placeholder), drain })
}

fn check_head(limits: &Limits, head: &RequestHead<'_>) -> Result<(), Violation> {
    if uri_len(head.uri) > limits.uri.get() {
        return Err(Violation::of_limit(Reason::UriTooLong, limits.uri));
    }
    // Joining the cookie lines only lowers both sums, so the lines are not counted until a limit is
    // exceeded without it.
    let count = |joined| (head.headers.len() - joined) as u64;
    let max = limits.header_count.get();
    if count(0) > max && count(joined_cookies(head)) > max {
        return Err(Violation::of_limit(Reason::TooManyHeaders, limits.header_count));
    }
    let bytes = |joined| headers_len(head.headers, joined);
    let max = limits.header_bytes.get();
    if bytes(0) > max && bytes(joined_cookies(head)) > max {
        return Err(Violation::of_limit(Reason::HeadersTooLarge, limits.header_bytes));
    }
    Ok(())
}

/// Returns the declared length of the body, saturated at `u64::MAX`.
fn declared_length(headers: &HeaderMap) -> DeclaredLength {
    match content_length(headers) {
        // A valid number (RFC 9110 §8.6 sets no maximum) that exceeds every limit.
        Err(InvalidContentLength::TooLarge) => Ok(Some(u64::MAX)),
        length => length,
    }
}

fn uri_len(uri: &Uri) -> u64 {
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    (scheme + authority + path) as u64
}

/// Returns the number of `cookie` lines that the first one absorbs. Over HTTP/2 and HTTP/3 a client
/// may send its cookies in one line each, and all of them form one header (RFC 9113 §8.2.3,
/// RFC 9114 §4.2.1).
fn joined_cookies(head: &RequestHead<'_>) -> usize {
    if head.version <= Version::HTTP_11 {
        return 0;
    }
    head.headers.get_all(COOKIE).iter().count().saturating_sub(1)
}

/// Returns the size of the headers as HTTP/1.1 would write them, in bytes. `joined` of the `cookie`
/// lines are appended to another one with `; `.
fn headers_len(headers: &HeaderMap, joined: usize) -> u64 {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len()
    };
    let saved = COOKIE.as_str().len() + ": \r\n".len() - "; ".len();
    (headers.iter().map(line).sum::<usize>() - joined * saved) as u64
}

/// A body of up to this size has usually arrived together with its head, so that nothing is left to
/// drain. In bytes.
const LARGE_BODY: u64 = 4 * KIB;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const DIGEST: HeaderName = HeaderName::from_static("digest");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

#[cfg(test)]
mod tests;
