use std::time::Duration;

/// The ttl and the tags of one value: an argument of [`ValueCache::insert`](super::ValueCache::insert)
/// and of the methods that load.
///
/// A `Duration` converts into options with that ttl, and `None` into options that leave the ttl to
/// the cache.
///
/// ```
/// use std::time::Duration;
///
/// use tower_kit::values::ValueOptions;
/// # use tower_kit::ValueCache;
/// # use tower_kit::cache::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = ValueCache::new(MemoryStore::new(tower_kit::MIB));
/// let options = ValueOptions::new().ttl(Duration::from_secs(60)).tag("rates");
/// cache.insert("rate:EUR", &1.08, options).await?;
/// cache.remove_by_tag("rates").await?;
/// assert_eq!(cache.get::<f64>("rate:EUR").await, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[doc(alias = "FusionCacheEntryOptions")]
#[must_use = "options do nothing by themselves"]
pub struct ValueOptions {
    pub(super) ttl: Option<Duration>,
    pub(super) tags: Vec<String>,
}

impl ValueOptions {
    /// Creates options without tags, that leave the ttl to the [cache](super::ValueCache::ttl).
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time for which the value is fresh.
    #[doc(alias = "duration")]
    #[doc(alias = "expiration")]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Adds a tag. [`ValueCache::remove_by_tag`](super::ValueCache::remove_by_tag) removes all values
    /// that have the tag. A value has at most 64 tags of 1 KiB each, or else is not stored.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}

impl From<Duration> for ValueOptions {
    fn from(ttl: Duration) -> Self {
        Self::new().ttl(ttl)
    }
}

impl From<Option<Duration>> for ValueOptions {
    fn from(ttl: Option<Duration>) -> Self {
        Self { ttl, ..Self::default() }
    }
}
