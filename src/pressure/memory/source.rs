use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::SystemMemory;
use super::usage::MemoryUsage;

/// The source of readings. Clones share it.
#[derive(Clone)]
pub(in crate::pressure) enum MemorySource {
    System(Arc<SystemMemory>),
    Custom(Arc<ReadFn>),
}

type ReadFn = dyn Fn() -> io::Result<MemoryUsage> + Send + Sync;

impl MemorySource {
    /// Reads memory usage, against the lower of the source's own limit and `memory_limit`.
    pub(in crate::pressure) fn read(&self, memory_limit: Option<u64>) -> io::Result<MemoryUsage> {
        match self {
            Self::System(system) => system.read(memory_limit),
            // The request that happens to read memory must not fail for a panic of the function.
            Self::Custom(read) => catch_unwind(AssertUnwindSafe(|| read()))
                .unwrap_or_else(|_| Err(io::Error::other("the custom memory source panicked")))
                .map(|usage| usage.with_max_limit(memory_limit)),
        }
    }
}

impl Default for MemorySource {
    fn default() -> Self {
        Self::System(Arc::default())
    }
}

impl fmt::Debug for MemorySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System(_) => "System",
            Self::Custom(_) => "Custom",
        })
    }
}
