use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request;

use super::super::body::budget::Budget;
use crate::{KIB, MIB};

/// The settings of a layer, and the memory that its services share.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) max_content: u64,
    pub(super) max_buffered: u64,
    pub(super) read_timeout: Duration,
    pub(super) post: Option<Arc<PostIf>>,
    pub(super) budget: Arc<Budget>,
}

/// The callback of [`post_if`](super::ContentKeyLayer::post_if).
pub(super) type PostIf = dyn Fn(&request::Parts, &[u8]) -> bool + Send + Sync;

impl Default for Config {
    fn default() -> Self {
        Self {
            max_content: 64 * KIB,
            max_buffered: 16 * MIB,
            read_timeout: Duration::from_secs(5),
            post: None,
            budget: Arc::default(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("max_content", &self.max_content)
            .field("max_buffered", &self.max_buffered)
            .field("read_timeout", &self.read_timeout)
            .field("post", &self.post.is_some())
            .finish_non_exhaustive()
    }
}
