use std::sync::{Mutex, MutexGuard, PoisonError};

use super::client::Failure;

/// How a [`RedisStore`](super::RedisStore) is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStatus {
    /// Whether it is known what other processes have purged.
    pub in_step: bool,
    /// Whether Redis is not asked, since it did not answer.
    pub open: bool,
    /// What went wrong last, if nothing has gone well since.
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
