use std::sync::{Mutex, MutexGuard, PoisonError};

use super::client::CommandError;

/// The state of a [`RedisStore`](super::RedisStore), for display and for alerts.
///
/// Alert if `synced` is `false` for longer than a few seconds. A service is no less ready for it:
/// requests are answered without Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStatus {
    /// `true` while this process learns of purges by others.
    pub synced: bool,
    /// `true` while no command is sent, since Redis has stopped responding.
    pub breaker_open: bool,
    /// The last error of the client, unless Redis has responded since.
    pub error: Option<String>,
}

/// The last error.
// A lock, since errors are rare and their text is read by people.
#[derive(Debug, Default)]
pub(super) struct LastError(Mutex<Option<String>>);

impl LastError {
    pub(super) fn get(&self) -> Option<String> {
        self.text().clone()
    }

    pub(super) fn clear(&self) {
        *self.text() = None;
    }

    /// Records the reason why the connection ended or cannot be made.
    pub(super) fn set_connection(&self, error: &CommandError) {
        *self.text() = Some(error.to_string());
    }

    /// Records the reason why a command failed. A command without a connection does not know why
    /// there is none, and keeps the reason that is known.
    pub(super) fn set_command(&self, error: &CommandError) {
        let mut text = self.text();
        if text.is_none() || !matches!(error, CommandError::Unavailable(_)) {
            *text = Some(error.to_string());
        }
    }

    fn text(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
