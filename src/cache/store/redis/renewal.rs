use std::time::Duration;

use tokio::time::Instant;

/// The rule by which the background task replaces a client.
///
/// A client that got no reply for [`PATIENCE`] is replaced, since a library may be unable to recover:
/// its map of a cluster may be out of date, or its task may be stuck, while a new client works. After
/// each replacement the store waits twice as long, up to [`MAX_PATIENCE`], until a client gets a reply.
// A probe by a connection of its own, to tell a stuck client from a server that is away, would need the
// configuration of the library a second time. A client that is replaced in vain costs a few attempts to
// connect, which it would have made anyway.
#[derive(Debug)]
pub(super) struct Renewal {
    /// The creation of the client.
    created: Instant,
    /// The last reply, or the creation of the client before the first one.
    replied: Instant,
    /// A command has got no reply since then. A process that was suspended has sent none.
    failed: bool,
    patience: Duration,
}

impl Renewal {
    pub(super) fn new(now: Instant) -> Self {
        Self { created: now, replied: now, failed: false, patience: PATIENCE }
    }

    /// Records a reply.
    pub(super) fn replied(&mut self, now: Instant) {
        self.replied = now;
        self.failed = false;
        self.patience = PATIENCE;
    }

    /// Records a command without a reply.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    /// Returns `true` if the client is to be replaced.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.failed && now.saturating_duration_since(self.replied) >= self.patience
    }

    /// Returns the time from which a client that has ended by itself may be replaced. A client that
    /// ends as soon as it starts is replaced once in [`MIN_LIFE`].
    pub(super) fn earliest(&self) -> Instant {
        self.created + MIN_LIFE
    }

    /// Records a replacement.
    pub(super) fn replaced(&mut self, now: Instant) {
        let patience = (self.patience * 2).min(MAX_PATIENCE);
        *self = Self { patience, ..Self::new(now) };
    }
}

/// The time without a reply after which a client is replaced: longer than the pauses between the
/// attempts of a library to connect, and than the failover of a server on its way back.
const PATIENCE: Duration = Duration::from_secs(3);

const MAX_PATIENCE: Duration = Duration::from_secs(60);

const MIN_LIFE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::timer_now;

    #[test]
    fn silent_client_is_replaced_less_and_less_often() {
        let start = timer_now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut renewal = Renewal::new(start);
        renewal.replied(at(10));
        assert!(!renewal.is_due(at(100)), "nothing was sent");
        let mut replaced = Vec::new();
        for second in 10..200 {
            renewal.failed();
            if renewal.is_due(at(second)) {
                renewal.replaced(at(second));
                replaced.push(second);
            }
        }
        assert_eq!(replaced, [13, 19, 31, 55, 103, 163]);
        renewal.replied(at(200));
        renewal.failed();
        assert!(!renewal.is_due(at(202)));
        assert!(renewal.is_due(at(203)));
        assert!(!renewal.is_due(start), "the clock of another thread may be behind");
    }

    #[test]
    fn ended_client_is_replaced_once_a_second() {
        let start = timer_now();
        let mut renewal = Renewal::new(start);
        assert_eq!(renewal.earliest(), start + MIN_LIFE);
        let later = start + Duration::from_secs(60);
        assert!(renewal.earliest() < later, "at once");
        renewal.replaced(later);
        assert_eq!(renewal.earliest(), later + MIN_LIFE);
    }
}
