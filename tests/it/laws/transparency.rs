//! A service may send under every layer all that it may send under bare hyper.

use std::collections::BTreeSet;

use http::Method;
use proptest::prelude::*;

use super::client::{End, Seen};
use super::stacks::{Kind, Layered, stack};
use super::story::{Ask, Length, Piece, Precondition, Protocol, Story};
use super::strategies::{asks, sound};
use super::{Pair, Servers, check, runtime};

#[test]
fn sound_responses_pass() {
    pass(1_000, &(sound(), asks(), stack()));
}

/// Headers of a proxy that copies those of another server.
#[test]
fn transfer_encoding_of_the_service_passes() {
    let strategy = (sound(), asks(), stack()).prop_map(|(mut story, mut asks, stack)| {
        for ask in &mut asks {
            ask.fields.retain(|(name, _)| *name != "accept-encoding");
            ask.fields.push(("accept-encoding", "gzip"));
        }
        story.fields.retain(|(name, _)| !["content-encoding", "transfer-encoding"].contains(name));
        story.fields.push(("transfer-encoding", "chunked"));
        story.length = Length::Absent;
        story.pieces.insert(0, Piece::Text(2_000));
        (story, asks, stack)
    });
    pass(200, &strategy);
}

fn pass(cases: u32, strategy: &impl Strategy<Value = (Story, [Ask; 2], usize)>) {
    let runtime = runtime();
    let servers = runtime.block_on(Servers::start());
    check(cases, strategy, |(story, asks, stack)| {
        let layered = &servers.layered[stack];
        let pairs = runtime.block_on(servers.compare(layered, &story, &asks));
        for (at, (pair, ask)) in pairs.iter().zip(&asks).enumerate() {
            let case = Case { story: &story, ask, layered, pair, previous: pairs[..at].last() };
            if let Err(fault) = case.judge() {
                return Err(format!("{:?}: {fault}: {ask:?}\n{pair:#?}", layered.stack));
            }
        }
        Ok(())
    });
}

struct Case<'a> {
    story: &'a Story,
    ask: &'a Ask,
    layered: &'a Layered,
    pair: &'a Pair,
    previous: Option<&'a Pair>,
}

impl Case<'_> {
    fn judge(&self) -> Result<(), String> {
        let Pair { plain, layered, .. } = self.pair;
        if !plain.is_complete() {
            return Ok(());
        }
        if !layered.is_complete() {
            return Err("not complete".into());
        }
        ensure(layered.surplus == 0, "bytes behind the message")?;
        let framed = self.ask.protocol == Protocol::Http10 || plain.end == End::Closed;
        ensure(framed || layered.end == End::Complete, "its end is that of the connection")?;
        if layered.status != plain.status {
            return self.judge_abridged();
        }
        let decoded = layered.decoded(plain).map_err(|error| format!("decoding: {error}"))?;
        ensure(decoded == plain.body, "another body")?;
        ensure(layered.trailers == plain.trailers, "other trailers")?;
        self.judge_coding()?;
        self.judge_not_modified()?;
        self.judge_kept_fields()?;
        self.judge_added_fields()
    }

    /// A response that the cache made of one that it keeps (RFC 9110 §14, §13; RFC 9111 §4.3.2).
    fn judge_abridged(&self) -> Result<(), String> {
        let Pair { plain, layered, calls } = self.pair;
        let is_ranged = self.ask.field("range").is_some();
        // A cache that has no tag to compare, or asks the service for a whole response to store,
        // gives the client that.
        let is_whole = self.ask.method == Method::HEAD
            || layered.decoded(plain).is_ok_and(|body| body == self.story.data());
        let may = match layered.status {
            Some(200) => plain.status == Some(304) && is_whole,
            Some(304) => self.ask.is_conditional() && plain.status == Some(200),
            Some(416) => is_ranged && *calls == 0,
            Some(504) => self.ask.is_only_if_cached() && *calls == 0,
            Some(206) => {
                let data = self.story.data();
                let part = &data[..data.len().min(10)];
                let coded = layered.headers.contains_key("content-encoding");
                is_ranged && *calls == 0 && (coded || layered.body == part)
            }
            _ => false,
        };
        let (is, was) = (layered.status, plain.status);
        ensure(may && self.layered.has(Kind::Cache), &format!("status {is:?} in place of {was:?}"))
    }

    /// Returns an error if the response has a coding that its client does not accept, or one that
    /// nothing but a compression layer could have added.
    fn judge_coding(&self) -> Result<(), String> {
        let Pair { plain, layered, .. } = self.pair;
        let coding = layered.values("content-encoding");
        let same = coding == plain.values("content-encoding");
        if same || coding.is_empty() && layered.status == Some(304) {
            return Ok(());
        }
        ensure(self.layered.has(Kind::Compress), "another coding")?;
        ensure(self.ask.field("x-no-compression").is_none(), "compressed in spite of the opt-out")?;
        let accepted = self.ask.field("accept-encoding").unwrap_or_default();
        ensure(accepts(accepted, &coding.join(",")), "a coding that is not accepted")
    }

    /// A 304 has the entity tag and the `vary` of the response that it stands for
    /// (RFC 9110 §15.4.5).
    fn judge_not_modified(&self) -> Result<(), String> {
        let Pair { layered, .. } = self.pair;
        let Some(previous) = self.previous else { return Ok(()) };
        let comparable = layered.status == Some(304)
            && self.ask.precondition == Some(Precondition::IfNoneMatch)
            && previous.layered.status == Some(200)
            && previous.layered.tag().is_some()
            && !tokens(&previous.plain, "connection").contains("etag")
            && self.story.field("vary") != Some("*");
        if !comparable {
            return Ok(());
        }
        ensure(layered.tag() == previous.layered.tag(), "304 with another tag")?;
        let missing = !tokens(&previous.layered, "vary").is_subset(&tokens(layered, "vary"));
        ensure(!missing, "304 without the `vary` of its 200")
    }

    /// Each field of the service is there, but for those that a layer is documented to change.
    fn judge_kept_fields(&self) -> Result<(), String> {
        let Pair { plain, layered, calls } = self.pair;
        let nominated = tokens(plain, "connection");
        let caches = self.layered.has(Kind::Cache);
        let coded = layered.values("content-encoding") != plain.values("content-encoding");
        // A 304 that the cache makes says only what RFC 9110 §15.4.5 asks for.
        let brief = caches && layered.status == Some(304);
        for name in plain.headers.keys().map(http::HeaderName::as_str) {
            let (was, is) = (plain.values(name), layered.values(name));
            if brief && is.is_empty() && !NOT_MODIFIED.contains(&name) {
                continue;
            }
            let same = was == is;
            let fine = match name {
                // Of the server, and of the length of the coded bytes.
                "date" => same || self.story.field("date").is_none(),
                // Two equal lines may become one (RFC 9110 §8.6).
                "content-length" => {
                    let dropped = is.is_empty() && !self.layered_is_transparent();
                    was.first() == is.first() || coded || dropped
                }
                // This coding is none.
                "content-encoding" => same || self.compresses() && was == ["identity"],
                "transfer-encoding" => true,
                "connection" | "keep-alive" | "proxy-connection" | "te" | "upgrade" => {
                    same || caches
                }
                "trailer" => same || coded || *calls == 0,
                "etag" if self.compresses() && layered.tag().is_some() => true,
                _ if nominated.contains(name) => same || caches,
                "vary" => tokens(plain, name).is_subset(&tokens(layered, name)),
                "accept-ranges" | "content-digest" => same || self.compresses(),
                "cache-control" => {
                    let opted_out = self.ask.field("x-no-compression").is_some();
                    same || opted_out && tokens(plain, name).is_subset(&tokens(layered, name))
                }
                "age" => same || caches,
                // Of what is stored, the member of an inner cache is not kept.
                "cache-status" => same || caches,
                "x-upload" => same || *calls == 0,
                _ => same,
            };
            ensure(fine, &format!("{name} was {was:?} and is {is:?}"))?;
        }
        Ok(())
    }

    /// Each field beside those of the service is one that a layer is documented to add.
    fn judge_added_fields(&self) -> Result<(), String> {
        let Pair { plain, layered, .. } = self.pair;
        for name in layered.headers.keys().map(http::HeaderName::as_str) {
            if plain.headers.contains_key(name) {
                continue;
            }
            let fine = match name {
                "transfer-encoding" | "date" => true,
                "content-length" => !self.layered_is_transparent(),
                "vary" | "content-encoding" => self.layered.has(Kind::Compress),
                "cache-control" => self.ask.field("x-no-compression").is_some(),
                "age" | "cache-status" => self.layered.has(Kind::Cache),
                _ => self.layered.has(Kind::SecurityHeaders) && ADDED.contains(&name),
            };
            ensure(fine, &format!("{name} was added: {:?}", layered.values(name)))?;
        }
        Ok(())
    }

    /// Returns `true` if the layers have no reason to change how a message is framed.
    fn layered_is_transparent(&self) -> bool {
        !self.layered.has(Kind::Cache) && !self.layered.has(Kind::Compress)
    }

    /// Returns `true` if the response, or the one to `GET`, may be compressed.
    fn compresses(&self) -> bool {
        self.layered.has(Kind::Compress)
    }
}

fn ensure(fine: bool, fault: &str) -> Result<(), String> {
    if fine { Ok(()) } else { Err(fault.to_owned()) }
}

/// The members of a list, in lower case.
fn tokens(seen: &Seen, name: &str) -> BTreeSet<String> {
    let lines = seen.values(name).join(",").to_ascii_lowercase();
    lines
        .split(',')
        .map(|token| token.trim().to_owned())
        .filter(|token| !token.is_empty())
        .collect()
}

/// Returns `true` if `accept-encoding` names a coding with a weight that is not zero
/// (RFC 9110 §12.5.3); a malformed weight refuses.
fn accepts(list: &str, coding: &str) -> bool {
    let weight = |wanted: &str| {
        let members = list.split(',').map(|member| member.split_once(';').unwrap_or((member, "")));
        let mut found = members.filter(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
        found.next().map(|(_, weight)| is_positive(weight.trim()))
    };
    weight(coding).or_else(|| weight("*")).unwrap_or(false)
}

fn is_positive(weight: &str) -> bool {
    let Some(value) = weight.strip_prefix("q=") else { return weight.is_empty() };
    value.len() <= 5 && value.parse::<f32>().is_ok_and(|value| value > 0.0)
}

/// Headers of a 200 that its 304 has too.
const NOT_MODIFIED: [&str; 5] = ["cache-control", "content-location", "etag", "expires", "vary"];

/// Headers that [`SecurityHeadersLayer`](tower_kit::SecurityHeadersLayer) adds.
const ADDED: [&str; 12] = [
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "origin-agent-cluster",
    "referrer-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-dns-prefetch-control",
    "x-download-options",
    "x-frame-options",
    "x-permitted-cross-domain-policies",
    "x-xss-protection",
];
