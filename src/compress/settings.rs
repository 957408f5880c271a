use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{request, response};
use tokio::sync::Semaphore;

use super::codec::CodecKind;
use super::dictionary_source::DictionarySource;
use super::encoding::Encoding;
use super::metrics::Counters;
use super::policy::Rules;

/// The configuration and the state of a layer, shared by its services.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) rules: Rules,
    pub(super) only_if: Option<Arc<OnlyIf>>,
    /// Returns the kind of codec for whole bodies in an encoding.
    pub(super) whole_codec: fn(Encoding) -> &'static CodecKind,
    /// Bounds the streams that hold a codec: clients choose how long a stream is open.
    pub(super) streams: Arc<Semaphore>,
    /// Bounds event streams, which are open for long, without taking permits from other streams.
    pub(super) event_streams: Arc<Semaphore>,
    pub(super) flush_delay: Duration,
    pub(super) counters: Arc<Counters>,
    /// The dictionaries that bodies are compressed with, if the layer has any.
    pub(super) dictionaries: Option<Arc<dyn DictionarySource>>,
}

/// The callback of [`only_if`](super::CompressLayer::only_if).
pub(super) type OnlyIf = dyn Fn(&request::Parts, &response::Parts) -> bool + Send + Sync;

impl Settings {
    pub(super) fn set_max_streams(&mut self, max: usize) {
        // A larger semaphore would panic.
        let max = max.min(Semaphore::MAX_PERMITS);
        self.streams = Arc::new(Semaphore::new(max));
        self.event_streams = Arc::new(Semaphore::new(max));
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            only_if: None,
            whole_codec: Encoding::codec,
            streams: Arc::new(Semaphore::new(DEFAULT_MAX_STREAMS)),
            event_streams: Arc::new(Semaphore::new(DEFAULT_MAX_STREAMS)),
            flush_delay: DEFAULT_FLUSH_DELAY,
            counters: Arc::default(),
            dictionaries: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// 100 MB of codecs for gzip.
const DEFAULT_MAX_STREAMS: usize = 256;

/// Long enough that the packets of one burst are compressed together, too short to be seen.
const DEFAULT_FLUSH_DELAY: Duration = Duration::from_millis(10);
