use std::fs::{File, read_to_string};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::cgroup::{
    Cgroup, CgroupVersion, MachineMemory, parse_limit, parse_number, process_memory,
};
use super::usage::MemoryUsage;

/// A reader of the kernel's files about this process, its control groups and the machine.
///
/// The files stay open after the first reading, so that memory can still be read when the process
/// has run out of file descriptors. They are reopened once the process is moved to another group.
#[derive(Debug, Default)]
pub(in crate::pressure) struct SystemMemory {
    files: Mutex<Option<KernelFiles>>,
}

#[derive(Debug)]
struct KernelFiles {
    /// `/proc/self/status`.
    process: File,
    /// `/proc/meminfo`.
    machine: File,
    /// `/proc/self/cgroup`, with its text when the groups were looked up. `None` on a kernel without
    /// control groups.
    membership: Option<(File, Vec<u8>)>,
    version: CgroupVersion,
    /// The group of the process and its ancestors, from the group up to the root.
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    directory: PathBuf,
    /// `None` until the files exist: the memory controller can be enabled while the process runs.
    files: Option<GroupFiles>,
}

#[derive(Debug)]
struct GroupFiles {
    version: CgroupVersion,
    limits: Vec<File>,
    /// `None` unless this process may read both the usage and `memory.stat`: without the latter,
    /// cached files could not be told from memory in use.
    usage: Option<UsageFiles>,
}

#[derive(Debug)]
struct UsageFiles {
    current: File,
    stat: File,
    kernel_memory: Option<File>,
}

// The largest files, `memory.stat` and `/proc/meminfo`, are a few KiB.
type Buffer = [u8; 8 * 1024];

impl SystemMemory {
    pub(super) fn read(&self, memory_limit: Option<u64>) -> io::Result<MemoryUsage> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let proc = Path::new("/proc");
        let mut open = match files.take() {
            Some(open) if open.is_current() => open,
            // The process may have run out of file descriptors; the old files still work.
            Some(old) => KernelFiles::open(proc).unwrap_or(old),
            None => KernelFiles::open(proc)?,
        };
        // After a failure the files stay closed, and the next reading looks up the groups anew.
        let usage = open.read(memory_limit)?;
        *files = Some(open);
        Ok(usage)
    }
}

impl KernelFiles {
    fn open(proc: &Path) -> io::Result<Self> {
        let own = proc.join("self");
        let [process, machine] = [own.join("status"), proc.join("meminfo")].map(File::open);
        let mut files = Self {
            process: process?,
            machine: machine?,
            membership: None,
            version: CgroupVersion::V2,
            groups: Vec::new(),
        };
        let Some(file) = accessible(File::open(own.join("cgroup")))? else { return Ok(files) };
        let text = read_once(&file, &mut [0; size_of::<Buffer>()])?.to_owned();
        let mounts = accessible(read_to_string(own.join("mountinfo")))?.unwrap_or_default();
        if let Some(cgroup) = Cgroup::parse(&String::from_utf8_lossy(&text), &mounts) {
            let group = |directory| Group { directory, files: None };
            files.version = cgroup.version;
            files.groups = cgroup.directories.into_iter().map(group).collect();
        }
        files.membership = Some((file, text));
        Ok(files)
    }

    /// Returns `true` if the process is still in the groups that were looked up.
    fn is_current(&self) -> bool {
        let buffer = &mut [0; size_of::<Buffer>()];
        self.membership.as_ref().is_none_or(|(file, text)| {
            read_once(file, buffer).is_ok_and(|current| current == text.as_slice())
        })
    }

    /// Returns the usage with the highest ratio: that of the process on the machine, or that of one
    /// of its groups.
    fn read(&mut self, memory_limit: Option<u64>) -> io::Result<MemoryUsage> {
        let buffer = &mut [0; size_of::<Buffer>()];
        let process = process_memory(read_once(&self.process, buffer)?)
            .ok_or_else(|| malformed("/proc/self/status"))?;
        let machine = MachineMemory::parse(read_once(&self.machine, buffer)?)
            .ok_or_else(|| malformed("/proc/meminfo"))?;
        let mut tightest = MemoryUsage::new(process, machine.total).with_max_limit(memory_limit);
        for Group { directory, files } in &mut self.groups {
            // Not there yet, or not readable: retried at each reading.
            if files.is_none() {
                *files = accessible(GroupFiles::open(self.version, directory))?;
            }
            let Some(group) = files else { continue };
            match group.read(buffer, process, machine)? {
                Some(usage) => {
                    // A group may have a limit above the memory of the machine.
                    let usage = usage.with_max_limit(Some(machine.total));
                    if usage.ratio() > tightest.ratio() {
                        tightest = usage;
                    }
                }
                // In version 1 the limit of a group includes those of its ancestors.
                None if group.version == CgroupVersion::V1 => break,
                None => {}
            }
        }
        Ok(tightest)
    }
}

impl GroupFiles {
    /// Opens the files in `directory`.
    ///
    /// # Errors
    ///
    /// `NotFound` if the group has no memory files, as is true of the root group.
    fn open(version: CgroupVersion, directory: &Path) -> io::Result<Self> {
        let open = |name: &str| accessible(File::open(directory.join(name)));
        let mut limits = Vec::new();
        for name in version.limit_files() {
            limits.extend(open(name)?);
        }
        let usage = match open(version.usage_file())?.zip(open("memory.stat")?) {
            Some((current, stat)) => {
                let kernel_memory = version.kernel_memory_file().map(open).transpose()?.flatten();
                Some(UsageFiles { current, stat, kernel_memory })
            }
            None => None,
        };
        // The limit of version 1 is in `memory.stat`. In version 2 a usage alone says nothing.
        if limits.is_empty() && (usage.is_none() || version == CgroupVersion::V2) {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(Self { version, limits, usage })
    }

    /// Returns the usage of the group, or `None` if it has no limit.
    ///
    /// If the usage of the group is not readable, the memory of the process stands in for it.
    fn read(
        &self,
        buffer: &mut Buffer,
        process: u64,
        machine: MachineMemory,
    ) -> io::Result<Option<MemoryUsage>> {
        let mut limit = None;
        for file in &self.limits {
            limit = min_limit(limit, parse_limit(read_once(file, buffer)?));
        }
        if limit.is_none() && !self.limits.is_empty() {
            // Skips `memory.stat`, the slowest file to read.
            return Ok(None);
        }
        let Some(UsageFiles { current, stat, kernel_memory }) = &self.usage else {
            return Ok(limit.map(|limit| MemoryUsage::new(process, limit)));
        };
        let kernel_memory = match kernel_memory {
            Some(file) => parse_number(read_once(file, buffer)?).unwrap_or_default(),
            None => 0,
        };
        let stat = read_once(stat, buffer)?;
        let limit = min_limit(limit, self.version.limit_in_stat(stat));
        let reclaimable = self.version.reclaimable(stat, kernel_memory, machine.reclaimable_slab);
        let Some(limit) = limit else { return Ok(None) };
        let used = parse_number(read_once(current, buffer)?)
            .ok_or_else(|| malformed(self.version.usage_file()))?;
        Ok(Some(MemoryUsage::new(used.saturating_sub(reclaimable), limit)))
    }
}

/// Turns "not found" and "permission denied" into `None`.
fn accessible<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a kernel file with one system call: the kernel may generate the whole text for each call.
fn read_once<'a>(file: &File, buffer: &'a mut Buffer) -> io::Result<&'a [u8]> {
    let length = file.read_at(buffer, 0)?;
    let text = &buffer[..length];
    if length < buffer.len() {
        return Ok(text);
    }
    // The file is longer. Drop the last line: a truncated number would be a wrong one.
    let end = text.iter().rposition(|&byte| byte == b'\n').unwrap_or_default();
    Ok(&text[..end])
}

fn min_limit(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a.into_iter().chain(b).min()
}

fn malformed(file: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("unexpected content in {file}"))
}

#[cfg(test)]
mod tests;
