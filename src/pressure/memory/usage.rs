/// Memory usage and the limit that applies to it.
///
/// [`PressureLayer`](crate::PressureLayer) reads both from the operating system, unless it has a
/// [`memory_source`](crate::PressureLayer::memory_source).
///
/// # Linux
///
/// The layer compares several pairs of usage and limit, and keeps the one with the highest
/// [`ratio`](Self::ratio):
///
/// - The control group of the process, and each of its ancestors that has a limit. The usage includes
///   other processes in the group. In version 2 it is `memory.current`, and the limit is the lower one
///   of `memory.max` and `memory.high`. In version 1 they are `memory.usage_in_bytes` and
///   `hierarchical_memory_limit`. A limit above the memory of the machine is lowered to it.
/// - The process: `RssAnon` and `RssShmem`, with a limit of `MemTotal` without the pages reserved for
///   `hugetlbfs`, or of [`memory_limit`](crate::PressureLayer::memory_limit) if that is lower.
///
/// Memory that the kernel reclaims before it kills a process is subtracted from the usage of a group:
/// file pages (`inactive_file`, `active_file`) and reclaimable slab (`slab_reclaimable`), which holds
/// names of files, absent ones included. `shmem` and tmpfs count as used. The result is lower than
/// what `docker stats` and Kubernetes show, which subtract `inactive_file` only.
///
/// Version 1 does not report the reclaimable slab of a group. The smaller one of
/// `memory.kmem.usage_in_bytes` and the machine's `SReclaimable` is subtracted instead, so a group with
/// much other kernel memory (pipe buffers, page tables) reads too low.
///
/// If the usage of a group is not readable, the usage of the process is compared with the limit of the
/// group. Limits above the root of a cgroup namespace are not visible. Each reading applies changed
/// limits, a move of the process to another group, and a memory controller that was enabled since.
///
/// Swap and address space limits (`ulimit -v`) are ignored: a service that swaps is slow already.
///
/// # Other systems
///
/// The usage is the resident set of the process, and the limit is the memory of the machine or
/// [`memory_limit`](crate::PressureLayer::memory_limit). The limit of a container is visible only if
/// the container is a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias("cgroup", "RSS", "memory.max", "memory.current", "Reading"))]
pub struct MemoryUsage {
    used: u64,
    limit: u64,
}

impl MemoryUsage {
    /// Creates a usage of `used` out of `limit` bytes.
    ///
    /// A limit of 0 means that there is no limit: the [`ratio`](Self::ratio) is then 0.
    #[must_use]
    pub const fn new(used: u64, limit: u64) -> Self {
        Self { used, limit }
    }

    /// Returns the memory in use, in bytes.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Returns the memory limit, in bytes, or 0 if there is none.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the memory in use as a fraction of the limit: 1.0 if the limit is reached.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 53 bits")]
    pub fn ratio(&self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.used as f64 / self.limit as f64 }
    }

    /// Lowers the limit to `max`, if it is higher or absent.
    pub(super) fn with_max_limit(self, max: Option<u64>) -> Self {
        match max {
            Some(max) if self.limit == 0 || max < self.limit => Self { limit: max, ..self },
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_a_fraction_of_the_limit() {
        assert_eq!(MemoryUsage::new(9, 10).ratio(), 0.9);
        assert_eq!(MemoryUsage::new(15, 10).ratio(), 1.5);
        assert_eq!(MemoryUsage::new(9, 0).ratio(), 0.0);
    }

    #[test]
    fn lower_limit_applies() {
        let usage = MemoryUsage::new(5, 10);
        assert_eq!(usage.with_max_limit(None), usage);
        assert_eq!(usage.with_max_limit(Some(20)), usage);
        assert_eq!(usage.with_max_limit(Some(6)), MemoryUsage::new(5, 6));
        assert_eq!(MemoryUsage::new(5, 0).with_max_limit(Some(6)), MemoryUsage::new(5, 6));
    }
}
