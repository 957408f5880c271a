//! Memory usage on systems without `/proc`. Control groups do not exist there.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, get_current_pid};

use super::usage::MemoryUsage;

/// A reader of the resident set of this process and the memory of the machine.
#[derive(Default)]
pub(in crate::pressure) struct SystemMemory {
    system: Mutex<sysinfo::System>,
}

impl SystemMemory {
    pub(super) fn read(&self, memory_limit: Option<u64>) -> io::Result<MemoryUsage> {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = get_current_pid().map_err(unsupported)?;
        let kind = ProcessRefreshKind::nothing().with_memory();
        // Without the list of all processes, which takes much longer to read.
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
        system.refresh_memory();
        let process =
            system.process(pid).ok_or_else(|| unsupported("this process is not in the list"))?;
        let usage = MemoryUsage::new(process.memory(), system.total_memory());
        Ok(usage.with_max_limit(memory_limit))
    }
}

fn unsupported(reason: &'static str) -> io::Error {
    let message = format!("cannot read the memory usage of this process: {reason}");
    io::Error::new(ErrorKind::Unsupported, message)
}

impl fmt::Debug for SystemMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SystemMemory").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process_is_read() {
        let system = SystemMemory::default();
        let allocated = vec![1_u8; 96 << 20];
        let usage = system.read(None).unwrap();
        assert!(usage.used() >= allocated.len() as u64, "{usage:?}");
        assert!(usage.limit() > usage.used(), "{usage:?}");
        assert_eq!(system.read(Some(1)).unwrap().limit(), 1);
    }
}
