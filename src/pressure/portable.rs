//! Where there is no `/proc`: what the crate `sysinfo` gives. There are no control groups to see.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, get_current_pid};

use super::reading::Reading;

#[derive(Default)]
pub(super) struct System {
    system: Mutex<sysinfo::System>,
}

impl System {
    pub(super) fn read(&self, limit: Option<u64>) -> io::Result<Reading> {
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        let own = get_current_pid().map_err(unsupported)?;
        let kind = ProcessRefreshKind::nothing().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, kind);
        system.refresh_memory();
        let process = system.process(own).ok_or_else(|| unsupported("the process is not there"))?;
        Ok(Reading::new(process.memory(), system.total_memory()).within(limit))
    }
}

fn unsupported(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::Unsupported, why)
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_takes_is_seen() {
        let system = System::default();
        let taken = vec![1_u8; 96 << 20];
        let reading = system.read(None).unwrap();
        assert!(reading.used() >= taken.len() as u64, "{reading:?}");
        assert!(reading.limit() > reading.used(), "{reading:?}");
        assert_eq!(system.read(Some(1)).unwrap().limit(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_agrees_with_what_the_kernel_says() {
        const TOLERANCE: u64 = 256 << 20;
        let portable = System::default().read(None).unwrap();
        let status = std::fs::read("/proc/self/status").unwrap();
        let kernel = super::super::cgroup::field(&status, "VmRSS").unwrap();
        // Other tests take and free memory meanwhile.
        assert!(portable.used().abs_diff(kernel) < TOLERANCE, "{portable:?}, {kernel}");
        let machine = std::fs::read("/proc/meminfo").unwrap();
        let total = super::super::cgroup::field(&machine, "MemTotal").unwrap();
        assert_eq!(portable.limit(), total);
    }
}
