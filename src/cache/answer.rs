//! Responses that the cache makes.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH,
    CONTENT_RANGE, CONTENT_TYPE, EXPIRES,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;

use super::body::ResponseBody;
use super::entry::Stored;
use super::policy::{Ask, Form, form, strip_tags};
use super::shared::Shared;
use super::status::{Report, write_age};

/// The response to a request with these fields from what is kept.
pub(crate) fn from_store<B: Body>(
    shared: &Shared,
    stored: &Stored,
    ask: &Ask,
    request: &HeaderMap,
    now: u64,
    report: &Report,
) -> Response<ResponseBody<B>> {
    let size = stored.body.len() as u64;
    let form = if ask.conditional {
        form(stored.status, &stored.headers, size, request, ask.head_only)
    } else {
        Form::Whole
    };
    let mut headers = stored.headers.clone();
    write_age(&mut headers, stored.freshness.age(now));
    if shared.status {
        report.write(&mut headers);
    }
    let body = shape(&mut headers, &form, &stored.body);
    if form == Form::Unsatisfiable {
        // A cache in front could keep it for the URL: it is final, and this is another's freshness.
        let lifetimes = [CACHE_CONTROL, EXPIRES];
        lifetimes.iter().chain(&shared.rules.targeted).for_each(|name| drop(headers.remove(name)));
    }
    let body = if ask.head_only { Bytes::new() } else { body };
    let mut response = Response::new(ResponseBody::kept(body));
    *response.status_mut() = status_of(&form, stored.status);
    *response.headers_mut() = headers;
    response
}

/// 304 in place of a response, which its client has.
pub(crate) fn not_modified<B: Body>(
    mut response: Response<ResponseBody<B>>,
) -> Response<ResponseBody<B>> {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    shape(response.headers_mut(), &Form::NotModified, &Bytes::new());
    response.map(|_| ResponseBody::kept(Bytes::new()))
}

/// 504, for a client that wants nothing but what is kept (RFC 9111 §5.2.1.7).
pub(crate) fn not_kept<B: Body>(shared: &Shared, report: &Report) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::kept(Bytes::new()));
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    if shared.status {
        report.write(response.headers_mut());
    }
    response
}

fn status_of(form: &Form, stored: StatusCode) -> StatusCode {
    match form {
        Form::Whole => stored,
        Form::NotModified => StatusCode::NOT_MODIFIED,
        Form::Part(_) => StatusCode::PARTIAL_CONTENT,
        Form::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
    }
}

/// Makes the fields those of the form, and cuts the body to it.
fn shape(headers: &mut HeaderMap, form: &Form, body: &Bytes) -> Bytes {
    match form {
        Form::Whole => body.clone(),
        // RFC 9110 §15.4.5: nothing of the content that is not sent.
        Form::NotModified => {
            for name in [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE] {
                headers.remove(name);
            }
            Bytes::new()
        }
        Form::Part(range) => {
            let last = range.end - 1;
            state_range(headers, format!("bytes {}-{last}/{}", range.start, body.len()));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
            #[expect(clippy::cast_possible_truncation, reason = "both are within the body")]
            body.slice(range.start as usize..range.end as usize)
        }
        Form::Unsatisfiable => {
            for name in [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, AGE, ACCEPT_RANGES] {
                headers.remove(name);
            }
            state_range(headers, format!("bytes */{}", body.len()));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            Bytes::new()
        }
    }
}

/// In place of the range that the entry itself states, if it does.
fn state_range(headers: &mut HeaderMap, range: String) {
    headers.remove(CONTENT_RANGE);
    headers.extend(HeaderValue::try_from(range).ok().map(|range| (CONTENT_RANGE, range)));
}

impl Shared {
    /// A response of the service's, as it is.
    pub(crate) fn pass_on<B: Body>(
        &self,
        response: Response<B>,
        report: &Report,
    ) -> Response<ResponseBody<B>> {
        self.mark_up(response.map(ResponseBody::passed), report)
    }

    pub(crate) fn mark_up<B>(&self, mut response: Response<B>, report: &Report) -> Response<B> {
        let headers = response.headers_mut();
        strip_tags(&self.rules, headers);
        if self.status {
            report.write(headers);
        }
        response
    }
}
