use std::error::Error;
use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{Formatter, Serializer};

use super::finite::FiniteCheck;

/// A format for the values of a [`TypedCache`](super::TypedCache): how a value becomes bytes for a
/// store, and a value again. [`Json`] is the default.
///
/// A codec of another format, such as postcard, bincode or MessagePack, is one call in each direction.
/// It need not use `serde`: this one writes a number as its bytes, and would suit messages of protobuf
/// in the same way.
///
/// ```
/// use std::error::Error;
///
/// use tower_kit::cache::MemoryStore;
/// use tower_kit::values::{Codec, TypedCache};
/// use tower_kit::{MIB, ValueCache};
///
/// struct BigEndian;
///
/// impl Codec<u64> for BigEndian {
///     fn name(&self) -> &'static str {
///         "big-endian/1"
///     }
///
///     fn encode(&self, value: &u64) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
///         Ok(value.to_be_bytes().into())
///     }
///
///     fn decode(&self, bytes: &[u8]) -> Result<u64, Box<dyn Error + Send + Sync>> {
///         Ok(u64::from_be_bytes(bytes.try_into()?))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn Error>> {
/// let cache = ValueCache::new(MemoryStore::new(64 * MIB)).namespace("views");
/// let views: TypedCache<u64> = cache.typed_with(BigEndian);
/// views.insert("page:7", 1_000, None).await?;
/// assert_eq!(views.get("page:7").await.as_deref(), Some(&1_000));
/// # Ok(())
/// # }
/// ```
///
/// With `serde`, a codec is for all types:
///
/// ```
/// # use std::error::Error;
/// # use serde::Serialize;
/// # use serde::de::DeserializeOwned;
/// # use tower_kit::values::Codec;
/// # mod postcard {
/// #     pub use serde_json::{from_slice as from_bytes, to_vec as to_allocvec};
/// # }
/// struct Postcard;
///
/// impl<T: Serialize + DeserializeOwned> Codec<T> for Postcard {
///     fn name(&self) -> &'static str {
///         "postcard/1"
///     }
///
///     fn encode(&self, value: &T) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
///         Ok(postcard::to_allocvec(value)?)
///     }
///
///     fn decode(&self, bytes: &[u8]) -> Result<T, Box<dyn Error + Send + Sync>> {
///         Ok(postcard::from_bytes(bytes)?)
///     }
/// }
/// # let _: &dyn Codec<u64> = &Postcard;
/// ```
pub trait Codec<T>: Send + Sync + 'static {
    /// Returns the name of the format, which each entry has in it: the bytes of one name are never
    /// decoded by a codec of another, but count as a miss.
    ///
    /// A format that does not describe itself (postcard, bincode) may decode the bytes of an older type
    /// without an error, as other values. A number in the name tells the two apart: change it with the
    /// type.
    fn name(&self) -> &'static str;

    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// Returns an error if the format cannot express the value. The value is then not stored, and what
    /// was fetched is returned all the same.
    fn encode(&self, value: &T) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>>;

    /// Decodes a value.
    ///
    /// # Errors
    ///
    /// Returns an error if the bytes are not a value of this type, which counts as a miss.
    fn decode(&self, bytes: &[u8]) -> Result<T, Box<dyn Error + Send + Sync>>;

    /// Returns `true` if the bytes stand for an absent value, which is stored for at most
    /// [`negative_ttl`](super::ValueCache::negative_ttl). The default returns `false`; [`Json`] returns
    /// `true` for `null`.
    fn is_absent(&self, bytes: &[u8]) -> bool {
        let _ = bytes;
        false
    }

    /// Returns the bytes of memory that the decoded value counts in a
    /// [`MemoryStore`](crate::cache::MemoryStore), beside its encoded bytes, of which there are
    /// `encoded`. With 0 the value is not kept, and each caller decodes it.
    ///
    /// The default is the size of `T` and four times the encoded bytes, which covers structs with
    /// texts and numbers. A type with large maps, or one that its bytes compress, takes more.
    fn decoded_size(&self, value: &T, encoded: usize) -> usize {
        let _ = value;
        size_of::<T>().saturating_add(encoded.saturating_mul(DECODED_FACTOR))
    }
}

/// The [`Codec`] of JSON, for all types of `serde`.
///
/// NaN and infinity have no JSON, and are errors, also inside of structs, maps and options.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "a codec is named as a value, and has no settings")]
pub struct Json;

/// A formatter of compact JSON that notes whether it wrote `null`.
struct NoteNull<'a>(&'a mut bool);

impl Json {
    /// Encodes a value of any type that is serialized.
    pub(super) fn to_vec<T>(value: &T) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>>
    where
        T: Serialize + ?Sized,
    {
        let (mut json, mut has_null) = (Vec::with_capacity(128), false);
        let formatter = NoteNull(&mut has_null);
        value.serialize(&mut Serializer::with_formatter(&mut json, formatter))?;
        // `serde_json` writes NaN and infinity as `null`, which does not decode as a number, and as
        // `None` in an option. No other value has to be looked at twice.
        if has_null {
            value.serialize(FiniteCheck)?;
        }
        Ok(json)
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn name(&self) -> &'static str {
        JSON
    }

    fn encode(&self, value: &T) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Self::to_vec(value)
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, Box<dyn Error + Send + Sync>> {
        Ok(serde_json::from_slice(bytes)?)
    }

    fn is_absent(&self, bytes: &[u8]) -> bool {
        bytes == NULL
    }
}

impl Formatter for NoteNull<'_> {
    fn write_null<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        *self.0 = true;
        writer.write_all(NULL)
    }
}

/// The name of the codec of [`Json`].
pub(super) const JSON: &str = "json";

/// The JSON of an absent value.
pub(super) const NULL: &[u8] = b"null";

/// The memory of a decoded value, in multiples of its encoded bytes: a text has an allocation and a
/// length, and a short number the full width of its type.
const DECODED_FACTOR: usize = 4;

#[cfg(test)]
mod tests;
