use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::options::ValueOptions;

/// A loaded value, with the ttl and the tags that its loader chooses. A loader returns either a plain
/// value or this type.
///
/// ```
/// use std::time::Duration;
///
/// use tower_kit::values::Loaded;
/// # use tower_kit::ValueCache;
/// # use tower_kit::cache::MemoryStore;
/// # async fn request_token() -> Result<(String, u64), std::io::Error> { Ok(("t".into(), 60)) }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = ValueCache::new(MemoryStore::new(tower_kit::MIB));
/// // The token tells how long it is valid.
/// let load = || async {
///     let (token, seconds) = request_token().await?;
///     Ok::<_, std::io::Error>(Loaded::new(token).ttl(Duration::from_secs(seconds)).tag("tokens"))
/// };
/// let token: String = cache.get_or_insert_with("token", None, load).await?;
/// # assert_eq!(token, "t");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "adaptive caching")]
#[doc(alias = "setOptions")]
#[must_use = "a loader returns the value"]
pub struct Loaded<T> {
    pub(super) value: T,
    pub(super) options: ValueOptions,
    pub(super) is_uncached: bool,
}

/// A stored value with its age, ttl and tags: the result of
/// [`ValueCache::get_entry`](super::ValueCache::get_entry), and the argument of a loader that
/// [revalidates](super::ValueCache::get_or_revalidate_with).
#[derive(Clone, Debug)]
pub struct ValueEntry<T> {
    pub(super) value: T,
    pub(super) age: Duration,
    pub(super) ttl: Duration,
    pub(super) tags: Vec<String>,
}

impl<T> Loaded<T> {
    /// Creates a loaded value that leaves ttl and tags to the caller of the loader.
    pub fn new(value: T) -> Self {
        Self { value, options: ValueOptions::new(), is_uncached: false }
    }

    /// Sets the time for which the value is fresh, in place of the ttl that the caller asks for.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options = self.options.ttl(ttl);
        self
    }

    /// Adds a tag to those that the caller gives: see [`ValueOptions::tag`].
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.options = self.options.tag(tag);
        self
    }

    /// Keeps the value out of the store. Only the callers that wait for this load get it. A stale
    /// value that the store has is removed.
    #[doc(alias = "skip")]
    #[doc(alias = "no-store")]
    pub fn uncached(mut self) -> Self {
        self.is_uncached = true;
        self
    }

    /// Returns the same for a value that callers share.
    pub(super) fn into_shared(self) -> Loaded<Arc<T>> {
        let Self { value, options, is_uncached } = self;
        Loaded { value: Arc::new(value), options, is_uncached }
    }
}

/// `Loaded` does not implement `Serialize`: the type of the value is therefore known from the loader.
impl<T: Serialize> From<T> for Loaded<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T> ValueEntry<T> {
    /// Returns a reference to the value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Returns the value, without its age, ttl and tags.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Returns the time since the value was loaded or inserted.
    pub fn age(&self) -> Duration {
        self.age
    }

    /// Returns the time until the value is stale; 0 for a stale value.
    #[doc(alias = "expiration")]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Returns `true` if the value is past its ttl, or has been
    /// [expired](super::ValueCache::expire).
    pub fn is_stale(&self) -> bool {
        self.ttl.is_zero()
    }

    /// Returns the tags of the value.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(String::as_str)
    }

    /// Returns the value as the result of a loader that found it to be up to date: fresh again, for
    /// the ttl that the caller asks for, and with the same tags.
    #[doc(alias = "NotModified")]
    #[doc(alias = "304")]
    pub fn unchanged(self) -> Loaded<T> {
        let options = ValueOptions { ttl: None, tags: self.tags };
        Loaded { value: self.value, options, is_uncached: false }
    }
}
