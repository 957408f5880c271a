//! The responses that the cache makes or edits.

use std::error::Error;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CACHE_STATUS, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, EXPIRES, RETRY_AFTER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;

use super::body::ResponseBody;
use super::body::shared::Reader;
use super::cache_status::{CacheStatus, write_age};
use super::config::Config;
use super::entry::{Entry, StoredResponse};
use super::lookup::Query;
use super::markers::Failure;
use super::metrics::Outcome;
use super::policy::{Conditional, RequestPolicy, evaluate, strip_tags};
use super::read_scope::read_response;
use crate::headers::content_length::content_length;

/// Returns a hit, and counts it. `now` is in milliseconds since 1970.
#[inline]
pub(crate) fn hit<B>(
    query: Query<'_>,
    ask: &RequestPolicy,
    entry: &Entry,
    outcome: Outcome,
    now: u64,
) -> Response<ResponseBody<B>> {
    query.config.state.metrics.count(outcome);
    let left = entry.stored().map_or(0, |stored| stored.left(now));
    from_entry(query, ask, entry, now, &CacheStatus::hit(left))
}

/// Returns the response to a request from an entry. `now` is in milliseconds since 1970.
pub(crate) fn from_entry<B>(
    query: Query<'_>,
    ask: &RequestPolicy,
    entry: &Entry,
    now: u64,
    status: &CacheStatus,
) -> Response<ResponseBody<B>> {
    let config = query.config;
    let Some(stored) = entry.stored() else { return gateway_timeout(config, status) };
    read_response(&config.state.purges, stored, now);
    let size = stored.body.len() as u64;
    let conditional = if ask.conditional {
        evaluate(stored.status, &stored.headers, size, query.headers, ask.head_only)
    } else {
        Conditional::Full
    };
    let mut headers = stored.headers.clone();
    set_own_headers(config, &mut headers, status, stored.freshness.age(now));
    let body = shape(&mut headers, &conditional, &stored.body);
    if conditional == Conditional::Unsatisfiable {
        strip_lifetimes(config, &mut headers);
    }
    let body = if ask.head_only { Bytes::new() } else { body };
    let mut response = Response::new(ResponseBody::kept(body));
    *response.status_mut() = status_of(&conditional, stored.status);
    *response.headers_mut() = headers;
    response
}

/// Returns the response to a request from one that another request fetches, whose body is being read.
pub(crate) fn from_stream<B>(
    query: Query<'_>,
    ask: &RequestPolicy,
    head: &StoredResponse,
    reader: Reader,
    status: &CacheStatus,
) -> Response<ResponseBody<B>> {
    let now = query.config.clock.now();
    read_response(&query.config.state.purges, head, now);
    let mut headers = head.headers.clone();
    let age = head.freshness.age(now);
    set_own_headers(query.config, &mut headers, status, age);
    let length = content_length(&headers).ok().flatten();
    // A body of unknown length is not cut, and the body of a HEAD is not sent.
    let (size, is_whole) = (length.unwrap_or(0), length.is_none() || ask.head_only);
    let outcome = if ask.conditional {
        evaluate(head.status, &head.headers, size, query.headers, is_whole)
    } else {
        Conditional::Full
    };
    let body = if ask.head_only {
        ResponseBody::kept(Bytes::new())
    } else {
        ResponseBody::shared(reader, length)
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = headers;
    conditional(query.config, response, &outcome, length)
}

/// Returns the response to a request that shares the failure of another one. The text of an error
/// stays with the request that it is about, and so does the body of a response: the status alone is
/// shared.
pub(crate) fn failed<B>(
    config: &Config,
    failure: Failure,
    now: u64,
    status: &CacheStatus,
) -> Response<ResponseBody<B>> {
    config.state.metrics.count(Outcome::Failed);
    let mut response = Response::new(ResponseBody::kept(Bytes::new()));
    *response.status_mut() = failure.status;
    let seconds = failure.until.saturating_sub(now).div_ceil(1000).max(1);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    if config.cache_status {
        let (fwd_status, detail) = (Some(failure.status.as_u16()), Some("service-failed"));
        let status = CacheStatus { fwd_status, detail, collapsed: true, ..*status };
        status.write(&config.name, response.headers_mut());
    }
    response
}

/// Returns 504, for a client that wants nothing but a stored response (RFC 9111 §5.2.1.7).
pub(crate) fn gateway_timeout<B>(
    config: &Config,
    status: &CacheStatus,
) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::kept(Bytes::new()));
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    if config.cache_status {
        status.write(&config.name, response.headers_mut());
    }
    response
}

/// Returns what the client gets of a response whose body is still being read. `size` is its length in
/// bytes.
pub(crate) fn conditional<B>(
    config: &Config,
    mut response: Response<ResponseBody<B>>,
    outcome: &Conditional,
    size: Option<u64>,
) -> Response<ResponseBody<B>> {
    let range = match outcome {
        Conditional::Full => return response,
        Conditional::NotModified => return not_modified(response),
        Conditional::Partial(range) => range.clone(),
        Conditional::Unsatisfiable => 0..0,
    };
    *response.status_mut() = status_of(outcome, response.status());
    edit_headers(response.headers_mut(), outcome, size.unwrap_or(0));
    if *outcome == Conditional::Unsatisfiable {
        strip_lifetimes(config, response.headers_mut());
    }
    response.map(|body| body.cut(range))
}

/// Returns 304 in place of a response that the client has.
pub(crate) fn not_modified<B>(
    mut response: Response<ResponseBody<B>>,
) -> Response<ResponseBody<B>> {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    shape(response.headers_mut(), &Conditional::NotModified, &Bytes::new());
    response.map(|_| ResponseBody::kept(Bytes::new()))
}

/// Returns the response to a HEAD from that to a GET: with the length of the body, which the client
/// does not get (RFC 9110 §9.3.2).
pub(crate) fn without_body<B>(mut response: Response<ResponseBody<B>>) -> Response<ResponseBody<B>>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let has_content =
        ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    let size = response.body().size_hint().exact().filter(|_| has_content);
    let headers = response.headers_mut();
    // A server would state it for the response to a GET.
    if !headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(TRANSFER_ENCODING) {
        headers.extend(size.map(|size| (CONTENT_LENGTH, HeaderValue::from(size))));
    }
    response.map(|_| ResponseBody::kept(Bytes::new()))
}

/// Returns a response of the inner service with its body unchanged.
pub(crate) fn pass_on<B>(
    config: &Config,
    response: Response<B>,
    status: &CacheStatus,
) -> Response<ResponseBody<B>> {
    mark(config, response.map(ResponseBody::passed), status)
}

/// Adds `cache-status` to a response of the inner service, and strips its tags if the layer does.
pub(crate) fn mark<B>(
    config: &Config,
    mut response: Response<B>,
    status: &CacheStatus,
) -> Response<B> {
    let headers = response.headers_mut();
    strip_tags(&config.rules, headers);
    if config.cache_status {
        status.write(&config.name, headers);
    }
    response
}

/// Sets the headers of a stored response that are new each time. `age` is in milliseconds.
fn set_own_headers(config: &Config, headers: &mut HeaderMap, status: &CacheStatus, age: u64) {
    if config.cache_status {
        status.write_with_age(&config.name, headers, age);
    } else {
        write_age(headers, age);
        // The inner service may have one, in a 304.
        if headers.get(CACHE_STATUS).is_some_and(HeaderValue::is_empty) {
            headers.remove(CACHE_STATUS);
        }
    }
}

fn status_of(conditional: &Conditional, stored: StatusCode) -> StatusCode {
    match conditional {
        Conditional::Full => stored,
        Conditional::NotModified => StatusCode::NOT_MODIFIED,
        Conditional::Partial(_) => StatusCode::PARTIAL_CONTENT,
        Conditional::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
    }
}

/// Removes the lifetime from a 416. A cache in front could store it for the URL: it is final, and the
/// lifetime is that of another response.
fn strip_lifetimes(config: &Config, headers: &mut HeaderMap) {
    let lifetimes = [CACHE_CONTROL, EXPIRES];
    let lifetimes = lifetimes.iter().chain(&config.rules.targeted);
    lifetimes.for_each(|name| drop(headers.remove(name)));
}

/// Edits the headers for the outcome of the conditions, and returns the bytes that are sent.
fn shape(headers: &mut HeaderMap, conditional: &Conditional, body: &Bytes) -> Bytes {
    edit_headers(headers, conditional, body.len() as u64);
    match conditional {
        Conditional::Full => body.clone(),
        #[expect(clippy::cast_possible_truncation, reason = "both are within the body")]
        Conditional::Partial(range) => body.slice(range.start as usize..range.end as usize),
        Conditional::NotModified | Conditional::Unsatisfiable => Bytes::new(),
    }
}

/// Edits the headers for the outcome of the conditions. `size` is the length of the body in bytes.
fn edit_headers(headers: &mut HeaderMap, conditional: &Conditional, size: u64) {
    match conditional {
        Conditional::Full => {}
        // RFC 9110 §15.4.5: no header that describes content that is not sent.
        Conditional::NotModified => {
            for name in [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE] {
                headers.remove(name);
            }
        }
        Conditional::Partial(range) => {
            let last = range.end - 1;
            set_range(headers, format!("bytes {}-{last}/{size}", range.start));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
        }
        Conditional::Unsatisfiable => {
            for name in [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, AGE, ACCEPT_RANGES] {
                headers.remove(name);
            }
            set_range(headers, format!("bytes */{size}"));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
    }
}

/// Sets `content-range` in place of the range that the stored response states, if any.
fn set_range(headers: &mut HeaderMap, range: String) {
    headers.remove(CONTENT_RANGE);
    headers.extend(HeaderValue::try_from(range).ok().map(|range| (CONTENT_RANGE, range)));
}
