//! Memory usage and its sources: the operating system, or a function of the user's.
//!
//! The only place that selects by operating system.

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;
mod source;
mod usage;

#[cfg(target_os = "linux")]
pub(super) use linux::SystemMemory;
#[cfg(not(target_os = "linux"))]
pub(super) use portable::SystemMemory;

pub(super) use source::MemorySource;
pub use usage::MemoryUsage;
