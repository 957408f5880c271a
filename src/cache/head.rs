//! The head of an entry's [`frame`](super::frame): all but the body.

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::entry::{Freshness, Stored, Watermark};
use super::frame::Fault;
use super::vary::{Codings, Negotiated, Variant};

/// A head that is written.
#[derive(Default)]
pub(crate) struct Head(pub(crate) Vec<u8>);

/// What is left of a head that is read, in the same order.
pub(crate) struct Reader(pub(crate) Bytes);

impl Head {
    pub(crate) fn response(&mut self, stored: &Stored) {
        let Freshness { received, age, lifetime, while_revalidate, if_error, took, .. } =
            stored.freshness;
        let Freshness { validate, strict, shared, stated, .. } = stored.freshness;
        self.0.put_u16(stored.status.as_u16());
        for millis in [received, age, lifetime, while_revalidate, if_error, took] {
            self.0.put_u64(millis);
        }
        let flags = [validate, strict, shared, stated].map(u8::from);
        self.0.put_u8(flags[0] | flags[1] << 1 | flags[2] << 2 | flags[3] << 3);
        self.0.put_u64(stored.watermark.get());
        self.variant(&stored.variant);
        self.list(&stored.tags, |head, tag| head.text(tag.as_bytes()));
        self.0.put_u32(length32(stored.headers.keys_len()));
        for name in stored.headers.keys() {
            self.name(name);
            let lines = stored.headers.get_all(name);
            self.0.put_u32(length32(lines.iter().count()));
            for line in lines {
                self.0.put_u8(line.is_sensitive().into());
                self.text(line.as_bytes());
            }
        }
    }

    pub(crate) fn variants(&mut self, variants: &[Variant]) {
        self.list(variants, Self::variant);
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
    pub(crate) fn response(&mut self, body: Bytes) -> Result<Stored, Fault> {
        let status = self.array().map(u16::from_be_bytes)?;
        let status = StatusCode::from_u16(status).map_err(|_| Fault::Damaged("the status"))?;
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
        if flags > 0b1111 {
            return Err(Fault::Damaged("the flags"));
        }
        freshness.validate = flags & 1 != 0;
        freshness.strict = flags & 2 != 0;
        freshness.shared = flags & 4 != 0;
        freshness.stated = flags & 8 != 0;
        let watermark = Watermark::at(self.u64()?);
        let variant = self.variant()?;
        let tag = |tag: &mut Self| String::from_utf8(tag.text()?.into()).map_err(|_| TAG);
        let tags = self.list(TEXT, tag)?;
        let headers = self.headers()?;
        Ok(Stored { status, headers, body, freshness, variant, tags, watermark })
    }

    fn headers(&mut self) -> Result<HeaderMap, Fault> {
        let names = self.count(TEXT + LIST)?;
        let mut headers = HeaderMap::try_with_capacity(names).map_err(|_| FIELDS)?;
        let mut all = 0;
        for _ in 0..names {
            let name = self.name()?;
            let lines = self.count(FLAG + TEXT)?;
            all += lines;
            if lines == 0 || all > MOST {
                return Err(FIELDS);
            }
            for at in 0..lines {
                let line = self.line()?;
                let known = headers.try_append(&name, line).map_err(|_| FIELDS)?;
                // A name has all of its lines in one place.
                if known != (at > 0) {
                    return Err(FIELDS);
                }
            }
        }
        Ok(headers)
    }

    fn line(&mut self) -> Result<HeaderValue, Fault> {
        let sensitive = self.flag()?;
        let mut line = HeaderValue::from_maybe_shared(self.text()?).map_err(|_| FIELDS)?;
        line.set_sensitive(sensitive);
        Ok(line)
    }

    pub(crate) fn variants(&mut self) -> Result<Vec<Variant>, Fault> {
        self.list(LIST + FLAG, Self::variant)
    }

    fn variant(&mut self) -> Result<Variant, Fault> {
        let fields = self.list(TEXT + FLAG, |field| {
            let name = field.name()?;
            let value = if field.flag()? { Some(field.text()?.into()) } else { None };
            Ok((name, value))
        })?;
        let coding = if self.flag()? {
            let [heaviest, answer] = self.array()?.map(Codings::from_bits);
            let (Some(heaviest), Some(answer)) = (heaviest, answer) else {
                return Err(Fault::Damaged("the codings"));
            };
            Some(Negotiated { heaviest, answer })
        } else {
            None
        };
        Ok(Variant { fields, coding })
    }

    /// `least` is how many bytes an item has at least.
    fn list<T>(
        &mut self,
        least: usize,
        item: impl Fn(&mut Self) -> Result<T, Fault>,
    ) -> Result<Vec<T>, Fault> {
        let count = self.count(least)?;
        (0..count).map(|_| item(self)).collect()
    }

    /// How many items follow, of at least so many bytes each.
    fn count(&mut self, least: usize) -> Result<usize, Fault> {
        let count = self.u32()? as usize;
        if count > MOST {
            return Err(Fault::Damaged("a number"));
        }
        if count * least > self.0.len() { Err(SHORT) } else { Ok(count) }
    }

    fn name(&mut self) -> Result<HeaderName, Fault> {
        let length = self.u32()? as usize;
        let text = self.0.get(..length).ok_or(SHORT)?;
        let name = HeaderName::from_lowercase(text);
        self.0.advance(length);
        name.map_err(|_| Fault::Damaged("the name of a field"))
    }

    fn text(&mut self) -> Result<Bytes, Fault> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    fn flag(&mut self) -> Result<bool, Fault> {
        match self.byte()? {
            flag @ 0..=1 => Ok(flag == 1),
            _ => Err(Fault::Damaged("a flag")),
        }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Fault> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let array = *self.0.first_chunk().ok_or(SHORT)?;
        self.0.advance(N);
        Ok(array)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<Bytes, Fault> {
        if length > self.0.len() { Err(SHORT) } else { Ok(self.0.split_to(length)) }
    }
}

/// What is longer than 4 GiB is beyond what a reader takes anyway.
pub(crate) fn length32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Bytes that each of these has at least.
const FLAG: usize = 1;
const LIST: usize = 4;
const TEXT: usize = 4;

/// The most of what a head has several of.
const MOST: usize = 4096;

pub(crate) const SHORT: Fault = Fault::Damaged("a length");
const FIELDS: Fault = Fault::Damaged("a field");
const TAG: Fault = Fault::Damaged("a tag");
