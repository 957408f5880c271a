//! Entries as bytes. Numbers are big-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 4 | [`MAGIC`] |
//! | 1 | [`VERSION`] |
//! | 1 | the kind: 0 for a response, 1 for a list of variants, 2 for a value |
//! | 4, 4, 8 | the lengths of the key, the head and the body |
//! | as many | the key, the head and the body |
//! | 4 | the CRC-32 of everything before |
//!
//! The head has everything but the body, in the order in which [`Reader`] reads it. **A change of
//! these bytes requires another version.**

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::vary::{Codings, Negotiated, Variant};
use super::freshness::Freshness;
use super::headers::{PLACES, add_places};
use super::links::Links;
use super::response::{EntryKind, StoredResponse};
use super::value::StoredValue;
use super::watermark::Watermark;

/// An error for bytes that are not the entry of a key; see
/// [`Entry::from_bytes`](super::Entry::from_bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidEntry(Reason);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Version,
    Key,
    /// The part that is not what the encoder writes.
    Damaged(&'static str),
}

/// Writes a head.
#[derive(Default)]
struct Writer(Vec<u8>);

/// The part of a head that is not read yet.
struct Reader(Bytes);

/// Encodes an entry together with its key.
pub(super) fn encode(kind: &EntryKind, key: &str) -> Bytes {
    let mut head = Writer::default();
    let (kind, body) = match kind {
        EntryKind::Response(stored) => {
            head.response(stored);
            (RESPONSE, &*stored.body)
        }
        EntryKind::Variants(variants) => {
            head.variants(variants);
            (VARIANTS, &[][..])
        }
        EntryKind::Value(value) => {
            head.value(value);
            (VALUE, &*value.bytes)
        }
    };
    let length = FIXED + key.len() + head.0.len() + body.len() + SUM;
    let mut frame = Vec::with_capacity(length);
    frame.put_slice(MAGIC);
    frame.put_u8(VERSION);
    frame.put_u8(kind);
    frame.put_u32(length32(key.len()));
    frame.put_u32(length32(head.0.len()));
    frame.put_u64(body.len() as u64);
    frame.put_slice(key.as_bytes());
    frame.put_slice(&head.0);
    frame.put_slice(body);
    // Against damage, not against forgery: whoever can write to the store is trusted.
    frame.put_u32(crc32fast::hash(&frame));
    frame.into()
}

/// Decodes the entry of a key; see [`Entry::from_bytes`](super::Entry::from_bytes).
pub(super) fn decode(mut bytes: Bytes, key: &str) -> Result<EntryKind, InvalidEntry> {
    let sum = bytes.len().checked_sub(FIXED + SUM).ok_or(SHORT)? + FIXED;
    let mut fixed = Reader(bytes.slice(..FIXED));
    // The version comes before the checksum: another version may compute that otherwise.
    if fixed.array()? != *MAGIC {
        return Err(damaged("the beginning"));
    }
    if fixed.byte()? != VERSION {
        return Err(InvalidEntry(Reason::Version));
    }
    let (kind, key_length, head, body) = (fixed.byte()?, fixed.u32()?, fixed.u32()?, fixed.u64()?);
    let rest = u64::from(key_length) + u64::from(head);
    if rest.checked_add(body) != Some((sum - FIXED) as u64) {
        return Err(damaged("the length"));
    }
    // The checksum comes first: nothing is allocated for damaged bytes.
    if Reader(bytes.split_off(sum)).u32()? != crc32fast::hash(&bytes) {
        return Err(damaged("the checksum"));
    }
    let mut rest = Reader(bytes.slice(FIXED..));
    if rest.take(key_length as usize)? != key.as_bytes() {
        return Err(InvalidEntry(Reason::Key));
    }
    if head > MAX_HEAD {
        return Err(damaged("the length of the head"));
    }
    let (mut head, body) = (Reader(rest.take(head as usize)?), rest.0);
    let kept = match kind {
        RESPONSE => EntryKind::Response(head.response(body)?),
        VARIANTS if body.is_empty() => EntryKind::Variants(head.variants()?),
        VALUE => EntryKind::Value(head.value(body)?),
        _ => return Err(damaged("the kind")),
    };
    // Nothing may hide behind the last field: equal entries have equal bytes.
    if head.0.is_empty() { Ok(kept) } else { Err(damaged("the end of the head")) }
}

impl InvalidEntry {
    /// Returns `true` if another version of this crate, with another format, may have made the bytes.
    #[must_use]
    pub fn is_other_version(&self) -> bool {
        self.0 == Reason::Version
    }

    /// Returns `true` if the bytes are an entry of another key.
    #[must_use]
    pub fn is_other_key(&self) -> bool {
        self.0 == Reason::Key
    }
}

impl fmt::Display for InvalidEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reason::Version => {
                f.write_str("the cache entry has the format of another version of tower-kit")
            }
            Reason::Key => f.write_str("the cache entry belongs to another key"),
            Reason::Damaged(what) => write!(f, "the cache entry is damaged: {what} is invalid"),
        }
    }
}

impl Error for InvalidEntry {}

impl Writer {
    fn response(&mut self, stored: &StoredResponse) {
        self.0.put_u16(stored.status.as_u16());
        self.times(&stored.freshness, &stored.watermark);
        self.variant(&stored.variant);
        self.tags(&stored.tags);
        self.list(stored.links.names(), |head, name| head.text(name.as_bytes()));
        self.tags(stored.links.tags());
        // The places for the headers of each response are no part of what was stored.
        let names = || stored.headers.keys().filter(|name| !PLACES.contains(name));
        self.0.put_u32(length32(names().count()));
        for name in names() {
            self.name(name);
            let lines = stored.headers.get_all(name);
            self.0.put_u32(length32(lines.iter().count()));
            for line in lines {
                self.0.put_u8(line.is_sensitive().into());
                self.text(line.as_bytes());
            }
        }
    }

    fn variants(&mut self, variants: &[Variant]) {
        self.list(variants, Self::variant);
    }

    fn value(&mut self, value: &StoredValue) {
        self.times(&value.freshness, &value.watermark);
        self.tags(&value.tags);
        self.text(&value.codec);
        self.0.put_u32(value.decoded_size);
    }

    fn times(&mut self, freshness: &Freshness, watermark: &Watermark) {
        let Freshness { received, age, lifetime, while_revalidate, if_error, took, .. } =
            *freshness;
        let Freshness { validate, strict, shared, stated, soft_limit, .. } = *freshness;
        for millis in [received, age, lifetime, while_revalidate, if_error, took] {
            self.0.put_u64(millis);
        }
        let flags = [validate, strict, shared, stated, soft_limit.is_some()].map(u8::from);
        let flags = flags.iter().rev().fold(0, |byte, flag| byte << 1 | flag);
        self.0.put_u8(flags);
        soft_limit.into_iter().for_each(|millis| self.0.put_u64(millis));
        self.0.put_u64(watermark.get());
    }

    fn tags(&mut self, tags: &[String]) {
        self.list(tags, |head, tag| head.text(tag.as_bytes()));
    }

    fn variant(&mut self, variant: &Variant) {
        self.list(&variant.fields, |head, (name, value)| {
            head.name(name);
            head.0.put_u8(value.is_some().into());
            if let Some(value) = value {
                head.text(value);
            }
        });
        self.0.put_u8(variant.coding.is_some().into());
        if let Some(Negotiated { heaviest, answer }) = variant.coding {
            self.0.put_slice(&[heaviest.0, answer.0]);
        }
    }

    fn list<T>(&mut self, items: &[T], put: impl Fn(&mut Self, &T)) {
        self.0.put_u32(length32(items.len()));
        items.iter().for_each(|item| put(self, item));
    }

    fn name(&mut self, name: &HeaderName) {
        self.text(name.as_str().as_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.0.put_u32(length32(text.len()));
        self.0.put_slice(text);
    }
}

impl Reader {
    fn response(&mut self, body: Bytes) -> Result<StoredResponse, InvalidEntry> {
        let status = self.array().map(u16::from_be_bytes)?;
        let status = StatusCode::from_u16(status).map_err(|_| damaged("the status"))?;
        let (freshness, watermark) = self.times()?;
        let variant = self.variant()?;
        let tags = self.tags()?;
        let names = self.tags()?.into_iter().map(Arc::from).collect();
        let links = Links::new(names, self.tags()?);
        let headers = self.headers()?;
        Ok(StoredResponse { status, headers, body, freshness, variant, tags, links, watermark })
    }

    fn value(&mut self, bytes: Bytes) -> Result<StoredValue, InvalidEntry> {
        let (freshness, watermark) = self.times()?;
        let tags = self.tags()?;
        let codec = self.text()?;
        let (decoded_size, decoded) = (self.u32()?, OnceLock::new());
        Ok(StoredValue { codec, bytes, freshness, tags, watermark, decoded_size, decoded })
    }

    fn times(&mut self) -> Result<(Freshness, Watermark), InvalidEntry> {
        let mut freshness = Freshness {
            received: self.u64()?,
            age: self.u64()?,
            lifetime: self.u64()?,
            while_revalidate: self.u64()?,
            if_error: self.u64()?,
            took: self.u64()?,
            ..Freshness::default()
        };
        let flags = self.byte()?;
        if flags > 0b1_1111 {
            return Err(damaged("the flags"));
        }
        freshness.validate = flags & 1 != 0;
        freshness.strict = flags & 2 != 0;
        freshness.shared = flags & 4 != 0;
        freshness.stated = flags & 8 != 0;
        freshness.soft_limit = if flags & 16 != 0 { Some(self.u64()?) } else { None };
        Ok((freshness, Watermark::at(self.u64()?)))
    }

    fn tags(&mut self) -> Result<Vec<String>, InvalidEntry> {
        let tag = |tag: &mut Self| String::from_utf8(tag.text()?.into()).map_err(|_| TAG);
        self.list(TEXT, tag)
    }

    fn headers(&mut self) -> Result<HeaderMap, InvalidEntry> {
        let names = self.count(TEXT + LIST)?;
        let mut headers = HeaderMap::try_with_capacity(PLACES.len() + names).map_err(|_| HEADER)?;
        if names > 0 {
            add_places(&mut headers);
        }
        let mut all = 0;
        for _ in 0..names {
            let name = self.name()?;
            let lines = self.count(FLAG + TEXT)?;
            all += lines;
            if lines == 0 || all > MAX_ITEMS {
                return Err(HEADER);
            }
            for at in 0..lines {
                let line = self.line()?;
                let known = headers.try_append(&name, line).map_err(|_| HEADER)?;
                // Each name occurs once, with all of its lines: an entry has one encoding.
                if known != (at > 0) {
                    return Err(HEADER);
                }
            }
        }
        Ok(headers)
    }

    fn line(&mut self) -> Result<HeaderValue, InvalidEntry> {
        // A layer outside may rely on the flag, for example to keep a nonce out of a log.
        let sensitive = self.flag()?;
        let mut line = HeaderValue::from_maybe_shared(self.text()?).map_err(|_| HEADER)?;
        line.set_sensitive(sensitive);
        Ok(line)
    }

    fn variants(&mut self) -> Result<Vec<Variant>, InvalidEntry> {
        self.list(LIST + FLAG, Self::variant)
    }

    fn variant(&mut self) -> Result<Variant, InvalidEntry> {
        let fields = self.list(TEXT + FLAG, |field| {
            let name = field.name()?;
            let value = if field.flag()? { Some(field.text()?.into()) } else { None };
            Ok((name, value))
        })?;
        let coding = if self.flag()? {
            let [heaviest, answer] = self.array()?.map(Codings::from_bits);
            let (Some(heaviest), Some(answer)) = (heaviest, answer) else {
                return Err(damaged("the codings"));
            };
            Some(Negotiated { heaviest, answer })
        } else {
            None
        };
        Ok(Variant { fields, coding })
    }

    /// Reads a list whose items have at least `least` bytes each.
    fn list<T>(
        &mut self,
        least: usize,
        item: impl Fn(&mut Self) -> Result<T, InvalidEntry>,
    ) -> Result<Vec<T>, InvalidEntry> {
        let count = self.count(least)?;
        (0..count).map(|_| item(self)).collect()
    }

    /// Reads the number of the items that follow, of at least `least` bytes each. A forged number
    /// allocates no more memory than the bytes that came could fill.
    fn count(&mut self, least: usize) -> Result<usize, InvalidEntry> {
        let count = self.u32()? as usize;
        if count > MAX_ITEMS {
            return Err(damaged("a number"));
        }
        if count * least > self.0.len() { Err(SHORT) } else { Ok(count) }
    }

    fn name(&mut self) -> Result<HeaderName, InvalidEntry> {
        let length = self.u32()? as usize;
        let text = self.0.get(..length).ok_or(SHORT)?;
        // An upper case letter would be a second spelling of the same entry.
        let name = HeaderName::from_lowercase(text);
        self.0.advance(length);
        name.map_err(|_| damaged("the name of a header"))
    }

    fn text(&mut self) -> Result<Bytes, InvalidEntry> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    fn flag(&mut self) -> Result<bool, InvalidEntry> {
        match self.byte()? {
            flag @ 0..=1 => Ok(flag == 1),
            _ => Err(damaged("a flag")),
        }
    }

    fn byte(&mut self) -> Result<u8, InvalidEntry> {
        self.array().map(u8::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, InvalidEntry> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, InvalidEntry> {
        self.array().map(u64::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidEntry> {
        let array = *self.0.first_chunk().ok_or(SHORT)?;
        self.0.advance(N);
        Ok(array)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, InvalidEntry> {
        if length > self.0.len() { Err(SHORT) } else { Ok(self.0.split_to(length)) }
    }
}

const fn damaged(what: &'static str) -> InvalidEntry {
    InvalidEntry(Reason::Damaged(what))
}

/// Returns a length as it is written. One over 4 GiB is beyond what the reader accepts.
fn length32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

const MAGIC: &[u8; 4] = b"tkce";
const VERSION: u8 = 4;

const RESPONSE: u8 = 0;
const VARIANTS: u8 = 1;
const VALUE: u8 = 2;

/// The length of everything before the key, in bytes.
const FIXED: usize = 4 + 1 + 1 + 4 + 4 + 8;
/// The length of the checksum, in bytes.
const SUM: usize = 4;

/// The maximum length of a head, in bytes.
const MAX_HEAD: u32 = 1024 * 1024;

/// The least bytes of a flag, of a list, and of a text in a head.
const FLAG: usize = 1;
const LIST: usize = 4;
const TEXT: usize = 4;

/// The maximum number of items in each list of a head.
const MAX_ITEMS: usize = 4096;

const SHORT: InvalidEntry = damaged("a length");
const HEADER: InvalidEntry = damaged("a header");
const TAG: InvalidEntry = damaged("a tag");

#[cfg(test)]
mod tests;
