use std::sync::{Mutex, MutexGuard, PoisonError};

use super::client::Failure;

/// How a [`RedisStore`](super::RedisStore) is. Something is wrong when it is not in step for longer
/// than a few seconds. Requests are answered all the same, so that a service is no less ready for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStatus {
    /// True while this process hears what others purge.
    pub synced: bool,
    /// True while Redis is not asked, since it stopped answering.
    pub breaker_open: bool,
    /// What went wrong last, if nothing has gone well since, as the client says it.
    pub error: Option<String>,
}

/// What went wrong last.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    pub(super) fn get(&self) -> Option<String> {
        self.text().clone()
    }

    pub(super) fn clear(&self) {
        *self.text() = None;
    }

    /// Why the connection ended, or cannot be made.
    pub(super) fn of_connection(&self, failure: &Failure) {
        *self.text() = Some(failure.to_string());
    }

    /// Why a command was not done. One that finds no connection does not know why there is none,
    /// which may have been told.
    pub(super) fn of_command(&self, failure: &Failure) {
        let mut text = self.text();
        if text.is_none() || !matches!(failure, Failure::Down(_)) {
            *text = Some(failure.to_string());
        }
    }

    fn text(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
