use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH,
    IF_NONE_MATCH, IF_RANGE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::SizeHint;

use super::encoding::{Coding, Encoding};
use super::etag::EtagMode;
use super::head::{
    add_vary, forbids_transforming, is_encoded, is_transfer_encoded, make_private,
    set_encoding_headers,
};
use super::hint::CompressHint;
use super::media_types::MediaTypes;
use crate::headers::accept_encoding::AcceptEncoding;
use crate::headers::content_length::{InvalidContentLength, content_length};
use crate::headers::media_type::{Essence, content_type};
use crate::headers::qvalue::QValue;

/// The configuration of a layer that decides about requests and responses.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) threshold: u64,
    /// The encodings in the order of preference.
    pub(super) encodings: Vec<Encoding>,
    /// The levels, by [`Encoding::index`].
    pub(super) levels: [u32; Encoding::COUNT],
    pub(super) media_types: MediaTypes,
    pub(super) etag_mode: EtagMode,
    /// The request header that turns compression off.
    pub(super) opt_out_header: Option<HeaderName>,
}

/// The parts of a request that the decision depends on.
#[derive(Clone, Debug)]
pub(super) struct RequestInfo {
    /// `accept-encoding`, parsed only when the response is eligible.
    accept_encoding: Lines,
    if_none_match: Lines,
    /// The request has `if-match`, `if-none-match` or `if-range`.
    has_preconditions: bool,
    has_opted_out: bool,
    is_head: bool,
    is_connect: bool,
}

/// The values of a header, nearly always none or one.
#[derive(Clone, Debug)]
enum Lines {
    None,
    One(HeaderValue),
    More(Vec<HeaderValue>),
}

/// The parts of a response, beside its headers, that the decision depends on.
#[derive(Clone, Debug)]
pub(super) struct ResponseInfo {
    pub(super) status: StatusCode,
    pub(super) hint: CompressHint,
    pub(super) size: Result<SizeHint, InvalidContentLength>,
    /// The result of the user's `only_if`.
    pub(super) is_selected: bool,
    /// The weight of `dcz` in the request, or 0 if there is no dictionary to use; `None` if no dictionary
    /// may have a part in the response.
    pub(super) dictionary_weight: Option<QValue>,
}

/// The decision about a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) action: Action,
    /// The entity tag that replaces the service's.
    pub(super) etag: Option<HeaderValue>,
    /// Other clients may get the response compressed with a dictionary.
    varies_by_dictionary: bool,
}

/// The action to take on a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Pass the response on: no client gets it compressed.
    Pass,
    /// Pass the response on, and name `accept-encoding` in `vary`: other clients, or a larger body,
    /// would have been compressed.
    PassVarying,
    /// Pass the response on as a private one: it would have been compressed if the client had not
    /// opted out.
    OptOut,
    /// Pass a 304 on, whose 200 may be compressed.
    NotModified,
    /// Describe the compressed body of a GET in the response to a HEAD, and drop the body: the
    /// server would send it, or state its length.
    Head(Coding),
    Compress(Plan),
}

/// A plan of how to compress a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) encoding: Encoding,
    /// Compress the body with a dictionary, and in `encoding` if that does not pay.
    pub(super) with_dictionary: bool,
    pub(super) level: u32,
    pub(super) max_padding: u8,
    /// The exact size of the body, if it is known.
    pub(super) size: Option<u64>,
    /// The same size, if the body is small enough to be compressed in one go.
    pub(super) whole_size: Option<usize>,
    /// Read ahead up to so many bytes, and leave the body alone if it ends below.
    pub(super) read_ahead: Option<usize>,
    /// Compress the body even if that makes it larger: the client refuses identity.
    pub(super) must: bool,
    /// Flush each event at once, and expect many idle streams.
    pub(super) is_event_stream: bool,
}

impl Rules {
    /// Reads a request before its preconditions are rewritten.
    pub(super) fn read(&self, method: &Method, headers: &HeaderMap) -> RequestInfo {
        let mut info = RequestInfo {
            accept_encoding: Lines::None,
            if_none_match: Lines::None,
            has_preconditions: false,
            has_opted_out: false,
            is_head: method == Method::HEAD,
            is_connect: method == Method::CONNECT,
        };
        // Comparing the names of a request costs less than hashing the five names for a lookup each.
        for (name, line) in headers {
            info.has_opted_out |= self.opt_out_header.as_ref() == Some(name);
            if *name == ACCEPT_ENCODING {
                info.accept_encoding.push(line);
            } else if *name == IF_NONE_MATCH {
                info.if_none_match.push(line);
                info.has_preconditions = true;
            } else if *name == IF_MATCH || *name == IF_RANGE {
                info.has_preconditions = true;
            }
        }
        info
    }

    /// Rewrites the preconditions of a request to the entity tags that the service knows.
    pub(super) fn rewrite_preconditions(&self, request: &RequestInfo, headers: &mut HeaderMap) {
        if !request.has_preconditions {
            return;
        }
        let negotiates = || choose(&request.accepted(), self.order()).is_some();
        self.etag_mode.restore(headers, negotiates);
    }

    /// Decides about a response; [`Decision::apply`] edits its headers.
    pub(super) fn decide(
        &self,
        request: &RequestInfo,
        response: &ResponseInfo,
        headers: &HeaderMap,
    ) -> Decision {
        if response.status == StatusCode::NOT_MODIFIED {
            return self.decide_not_modified(request, response, headers);
        }
        let action = self.action(request, response, headers);
        let varies_by_dictionary = response.dictionary_weight.is_some();
        let coding = match action {
            // The body decides on the tag: it may be sent uncompressed after all.
            Action::Compress(_) => return Decision { action, etag: None, varies_by_dictionary },
            Action::Head(coding) => Some(coding),
            _ => None,
        };
        let etag = headers.get(ETAG).and_then(|etag| self.etag_mode.etag(etag, coding));
        Decision { action, etag, varies_by_dictionary }
    }

    fn action(
        &self,
        request: &RequestInfo,
        response: &ResponseInfo,
        headers: &HeaderMap,
    ) -> Action {
        let media_type = content_type(headers);
        let is_eligible = self.is_worth_it(response, media_type)
            && may_have_body(request, response.status)
            && !is_untouchable(headers, media_type);
        // hyper refuses, or sends, an invalid length as it does without this layer.
        let size =
            response.size.as_ref().ok().filter(|size| is_eligible && size.exact() != Some(0));
        let Some(size) = size else { return Action::Pass };
        match self.plan(request, response, size, media_type) {
            None => Action::PassVarying,
            Some(_) if request.has_opted_out => Action::OptOut,
            // A small GET may turn out not to shrink; the response to HEAD assumes that it does.
            Some(plan) if request.is_head => Action::Head(plan.coding()),
            Some(plan) => Action::Compress(plan),
        }
    }

    /// Decides about a 304, which has the `vary` and the tag of the 200 (RFC 9110 §15.4.5).
    fn decide_not_modified(
        &self,
        request: &RequestInfo,
        response: &ResponseInfo,
        headers: &HeaderMap,
    ) -> Decision {
        let media_type = content_type(headers);
        // Most 304s have no media type: then the 200 may be of any.
        let is_known = headers.contains_key(CONTENT_TYPE) || response.hint.preference.is_some();
        let is_eligible = !is_untouchable(headers, media_type)
            && (!is_known || self.is_worth_it(response, media_type));
        let accepted = request.accepted();
        let encoding = choose(&accepted, self.order()).filter(|_| is_eligible);
        let action = match encoding {
            _ if !is_eligible => Action::Pass,
            Some(_) if request.has_opted_out => Action::OptOut,
            _ => Action::NotModified,
        };
        let coding = encoding.filter(|_| !request.has_opted_out).map(|encoding| {
            match prefers_dictionary(&accepted, encoding, response.dictionary_weight) {
                true => Coding::Dictionary,
                false => Coding::Encoding(encoding),
            }
        });
        let if_none_match = request.if_none_match.as_slice();
        let etag = headers.get(ETAG);
        let etag =
            etag.and_then(|etag| self.etag_mode.match_client_etag(etag, if_none_match, coding));
        Decision { action, etag, varies_by_dictionary: response.dictionary_weight.is_some() }
    }

    /// Plans the compression of an eligible response. Returns `None` if this client gets it
    /// uncompressed.
    fn plan(
        &self,
        request: &RequestInfo,
        response: &ResponseInfo,
        size: &SizeHint,
        media_type: Option<Essence<'_>>,
    ) -> Option<Plan> {
        let max_padding = response.hint.max_padding;
        let wants = response.hint.preference == Some(true);
        let is_small = size.upper().is_some_and(|upper| upper < self.threshold) && !wants;
        // A small body is not compressed in any encoding, so the header is not parsed for one.
        if is_small && !request.may_refuse_identity() {
            return None;
        }
        let accepted = request.accepted();
        let is_event_stream = media_type.is_some_and(|it| it.is_event_stream());
        let choose_among = |is_allowed: fn(Encoding) -> bool| {
            choose(&accepted, self.order().filter(|encoding| is_allowed(*encoding)))
        };
        let encoding = if max_padding > 0 {
            choose_among(|encoding| encoding == Encoding::Gzip)?
        } else if is_event_stream {
            // An idle stream in a resumable encoding holds no codec.
            choose_among(Encoding::is_resumable).or_else(|| choose(&accepted, self.order()))?
        } else {
            choose(&accepted, self.order())?
        };
        // An uncompressed response would be one that the client has refused.
        let must = accepted.refuses_identity();
        let ignores_threshold = must || wants;
        if is_small && !must {
            return None;
        }
        let exact = size.exact();
        let whole_size = exact.filter(|size| *size <= MAX_WHOLE_SIZE);
        // An event stream is not read ahead: its first event must not wait for the second.
        let reads_ahead = exact.is_none() && !ignores_threshold && !is_event_stream;
        let threshold = usize::try_from(self.threshold.min(MAX_WHOLE_SIZE)).ok();
        // Only gzip has a place for padding.
        let with_dictionary =
            max_padding == 0 && prefers_dictionary(&accepted, encoding, response.dictionary_weight);
        Some(Plan {
            encoding,
            with_dictionary,
            level: self.levels[encoding.index()],
            max_padding,
            size: exact,
            whole_size: whole_size.and_then(|size| usize::try_from(size).ok()),
            read_ahead: threshold.filter(|_| reads_ahead),
            must,
            is_event_stream,
        })
    }

    fn order(&self) -> impl DoubleEndedIterator<Item = Encoding> {
        self.encodings.iter().copied()
    }

    /// Returns `true` if the response is worth compressing by its hint, or by the callback and the
    /// media type.
    fn is_worth_it(&self, response: &ResponseInfo, media_type: Option<Essence<'_>>) -> bool {
        response.hint.preference.unwrap_or_else(|| {
            response.is_selected && media_type.is_some_and(|it| self.media_types.include(it))
        })
    }
}

impl RequestInfo {
    /// Returns the size of the body in the response to a GET.
    ///
    /// A declared length takes precedence over the hint of the body: by the length the client knows
    /// whether the body is complete.
    pub(super) fn response_size(
        &self,
        headers: &HeaderMap,
        body: SizeHint,
    ) -> Result<SizeHint, InvalidContentLength> {
        Ok(match content_length(headers)? {
            Some(declared) => SizeHint::with_exact(declared),
            // A service may respond to HEAD with the body of the GET, or without a body.
            None if self.is_head && body.exact() == Some(0) => SizeHint::new(),
            None => body,
        })
    }

    /// Returns `false` if the client surely accepts a response without a coding: it can refuse that
    /// only by the name `identity` or by `*` (RFC 9110 §12.5.3).
    fn may_refuse_identity(&self) -> bool {
        let names_identity =
            |line: &[u8]| line.windows(8).any(|part| part.eq_ignore_ascii_case(b"identity"));
        let mut lines = self.accept_encoding.as_slice().iter().map(HeaderValue::as_bytes);
        lines.any(|line| line.contains(&b'*') || names_identity(line))
    }

    fn accepted(&self) -> AcceptEncoding {
        AcceptEncoding::parse(self.accept_encoding.as_slice())
    }
}

impl Plan {
    /// Returns the coding of the body, if it pays.
    pub(super) const fn coding(&self) -> Coding {
        if self.with_dictionary { Coding::Dictionary } else { Coding::Encoding(self.encoding) }
    }
}

impl Decision {
    /// Edits the headers, except for those that depend on how the compression of the body goes.
    pub(super) fn apply(self, headers: &mut HeaderMap) -> Action {
        let by_dictionary = self.varies_by_dictionary;
        match self.action {
            Action::Pass => {}
            Action::PassVarying | Action::NotModified | Action::Compress(_) => {
                add_vary(headers, by_dictionary);
            }
            Action::OptOut => {
                add_vary(headers, by_dictionary);
                make_private(headers);
            }
            Action::Head(coding) => {
                add_vary(headers, by_dictionary);
                set_encoding_headers(headers, coding, None);
            }
        }
        if let Some(etag) = self.etag {
            headers.insert(ETAG, etag);
        }
        self.action
    }
}

impl Lines {
    fn push(&mut self, line: &HeaderValue) {
        match self {
            Self::None => *self = Self::One(line.clone()),
            Self::One(first) => *self = Self::More(vec![first.clone(), line.clone()]),
            Self::More(lines) => lines.push(line.clone()),
        }
    }

    fn as_slice(&self) -> &[HeaderValue] {
        match self {
            Self::None => &[],
            Self::One(line) => std::slice::from_ref(line),
            Self::More(lines) => lines,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        let mut levels = [0; Encoding::COUNT];
        for encoding in Encoding::all() {
            levels[encoding.index()] = encoding.default_level();
        }
        Self {
            threshold: DEFAULT_THRESHOLD,
            encodings: Encoding::all().collect(),
            levels,
            media_types: MediaTypes::default(),
            etag_mode: EtagMode::default(),
            opt_out_header: Some(DEFAULT_OPT_OUT_HEADER),
        }
    }
}

/// Returns the encoding with the highest weight, and among equals the first of `order`. `None`
/// stands for identity, which is chosen if the client names it with a higher weight.
fn choose(
    accepted: &AcceptEncoding,
    order: impl DoubleEndedIterator<Item = Encoding>,
) -> Option<Encoding> {
    let weight = |encoding: &Encoding| accepted.weight(encoding.coding());
    // Among equals, `max_by_key` returns the last.
    let best = order.rev().max_by_key(weight)?;
    let weight = weight(&best);
    (weight > 0 && weight >= accepted.identity()).then_some(best)
}

/// Returns `true` if a client likes `dcz` at least as much as the encoding that was chosen for it.
fn prefers_dictionary(accepted: &AcceptEncoding, chosen: Encoding, weight: Option<QValue>) -> bool {
    let weight = weight.unwrap_or(0);
    weight > 0 && weight >= accepted.weight(chosen.coding()) && weight >= accepted.identity()
}

/// Returns `true` if the whole body of the response is to be expected.
fn may_have_body(request: &RequestInfo, status: StatusCode) -> bool {
    !(status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::RESET_CONTENT
        || status == StatusCode::PARTIAL_CONTENT
        || request.is_connect && status.is_success())
}

/// Returns `true` if the headers forbid an encoding, or name one.
fn is_untouchable(headers: &HeaderMap, media_type: Option<Essence<'_>>) -> bool {
    // gRPC compresses its messages by `grpc-encoding`, not the body by `content-encoding`.
    if media_type.is_some_and(|it| it.is_grpc() || it.is_grpc_web()) {
        return true;
    }
    // Most responses have none of these, and comparing names costs less than hashing four.
    let is_named = |name: &HeaderName| {
        *name == CONTENT_ENCODING
            || *name == CACHE_CONTROL
            || *name == CONTENT_RANGE
            || *name == TRANSFER_ENCODING
    };
    headers.keys().any(is_named)
        && (headers.contains_key(CONTENT_RANGE)
            || is_encoded(headers)
            || is_transfer_encoded(headers)
            || forbids_transforming(headers))
}

/// The largest body that is compressed in one go: two milliseconds of work at level 6 of gzip.
const MAX_WHOLE_SIZE: u64 = 128 * 1024;

const DEFAULT_THRESHOLD: u64 = 1024;
const DEFAULT_OPT_OUT_HEADER: HeaderName = HeaderName::from_static("x-no-compression");

#[cfg(test)]
mod tests;
