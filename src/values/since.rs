use crate::cache::purge::Stamp;

/// The last purge and the last insert when a load started.
#[derive(Clone, Copy)]
pub(super) struct Since {
    pub(super) purged: Stamp,
    pub(super) inserted: Stamp,
}
