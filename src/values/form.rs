use std::any::Any;
use std::error::Error;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Codec, JSON, Json, NULL};
use crate::cache::entry::value::StoredValue;

/// The form in which callers read values.
pub(super) trait Read {
    type Value;

    /// Returns the value of an entry, or an error if the entry is of another codec or type.
    fn decode(&self, stored: &StoredValue) -> Result<Self::Value, Box<dyn Error + Send + Sync>>;
}

/// The form in which callers read and store values.
pub(super) trait Form: Read + Clone {
    fn encode(&self, value: &Self::Value) -> Result<Encoded, Box<dyn Error + Send + Sync>>;
}

/// Values that each caller owns, decoded from JSON for each of them.
pub(super) struct OwnedForm<T>(PhantomData<fn() -> T>);

/// Values that callers share, decoded once for each entry in memory.
pub(super) struct SharedForm<T>(Arc<dyn Codec<T>>);

/// The bytes of a value, with what its codec tells about them.
pub(super) struct Encoded {
    pub(super) codec: &'static str,
    pub(super) bytes: Bytes,
    pub(super) is_absent: bool,
    pub(super) decoded_size: u32,
    pub(super) decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl<T> OwnedForm<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> SharedForm<T> {
    pub(super) fn new(codec: impl Codec<T>) -> Self {
        Self(Arc::new(codec))
    }
}

impl Encoded {
    /// Encodes a value as JSON, to be decoded for each caller.
    pub(super) fn json<T>(value: &T) -> Result<Self, Box<dyn Error + Send + Sync>>
    where
        T: Serialize + ?Sized,
    {
        // Not by the form, whose value is sized: a text may be inserted as a `str`.
        let bytes = Json::to_vec(value)?;
        let is_absent = bytes == NULL;
        Ok(Self::new(JSON, bytes, is_absent))
    }

    fn new(codec: &'static str, bytes: Vec<u8>, is_absent: bool) -> Self {
        // The box drops the unused capacity of the vector.
        let bytes = bytes.into_boxed_slice().into();
        Self { codec, bytes, is_absent, decoded_size: 0, decoded: OnceLock::new() }
    }
}

impl<T: DeserializeOwned> Read for OwnedForm<T> {
    type Value = T;

    fn decode(&self, stored: &StoredValue) -> Result<T, Box<dyn Error + Send + Sync>> {
        check_codec(stored, JSON)?;
        Ok(serde_json::from_slice(&stored.bytes)?)
    }
}

impl<T: Serialize + DeserializeOwned> Form for OwnedForm<T> {
    fn encode(&self, value: &T) -> Result<Encoded, Box<dyn Error + Send + Sync>> {
        Encoded::json(value)
    }
}

impl<T: Send + Sync + 'static> Read for SharedForm<T> {
    type Value = Arc<T>;

    fn decode(&self, stored: &StoredValue) -> Result<Arc<T>, Box<dyn Error + Send + Sync>> {
        check_codec(stored, self.0.name())?;
        if let Some(value) = stored.decoded.get().and_then(shared_as) {
            return Ok(value);
        }
        let value = Arc::new(self.0.decode(&stored.bytes)?);
        if stored.decoded_size > 0 {
            // The first one stays: an entry has one decoded value in memory, as it is weighed. Of two
            // callers that decode at the same time, the other keeps its own to itself.
            drop(stored.decoded.set(Arc::clone(&value) as _));
        }
        Ok(value)
    }
}

impl<T: Send + Sync + 'static> Form for SharedForm<T> {
    fn encode(&self, value: &Arc<T>) -> Result<Encoded, Box<dyn Error + Send + Sync>> {
        let bytes = self.0.encode(value)?;
        let is_absent = self.0.is_absent(&bytes);
        let decoded_size = self.0.decoded_size(value, bytes.len());
        let decoded_size = u32::try_from(decoded_size).unwrap_or(u32::MAX);
        let encoded = Encoded::new(self.0.name(), bytes, is_absent);
        let decoded = OnceLock::new();
        if decoded_size > 0 {
            // Whoever reads the entry in this process gets the same value.
            drop(decoded.set(Arc::clone(value) as _));
        }
        Ok(Encoded { decoded_size, decoded, ..encoded })
    }
}

impl<T> Clone for OwnedForm<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> Clone for SharedForm<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Returns a clone of a decoded value if it is of this type: another codec of the same name may have
/// decoded another one.
fn shared_as<T: Send + Sync + 'static>(value: &Arc<dyn Any + Send + Sync>) -> Option<Arc<T>> {
    // Looked at before it is cloned, since most hits come this way.
    if value.is::<T>() { Arc::clone(value).downcast().ok() } else { None }
}

/// Returns an error unless a codec of this name has made the bytes of a value.
fn check_codec(stored: &StoredValue, name: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    if stored.codec == name.as_bytes() {
        return Ok(());
    }
    let other = String::from_utf8_lossy(&stored.codec);
    Err(format!("the value was encoded by {other:?}, not by {name:?}").into())
}
