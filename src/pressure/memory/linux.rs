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
mod tests {
    use std::fs;

    use super::super::cgroup::field;
    use super::*;

    /// A temporary directory with kernel files, removed on drop.
    struct Fixture(PathBuf);

    impl Fixture {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let directory = format!("tower-kit-{name}-{}", std::process::id());
            let machine = Self(std::env::temp_dir().join(directory));
            files.iter().for_each(|(name, text)| machine.write(name, text));
            machine
        }

        /// Writes a file. `MOUNT` in `text` becomes the path of the groups.
        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let groups = self.0.join("groups");
            fs::write(path, text.replace("MOUNT", groups.to_str().unwrap())).unwrap();
        }

        fn open(&self) -> io::Result<KernelFiles> {
            KernelFiles::open(&self.0.join("proc"))
        }

        fn read(&self, limit: Option<u64>) -> Option<(u64, u64)> {
            let usage = self.open().unwrap().read(limit).ok()?;
            Some((usage.used(), usage.limit()))
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    const STATUS: (&str, &str) =
        ("proc/self/status", "VmRSS:\t3000 kB\nRssAnon:\t 2000 kB\nRssShmem:\t 0 kB\n");
    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:    8000 kB\nMemFree: 1 kB\n");
    const V2: (&str, &str) =
        ("proc/self/mountinfo", "30 23 0:26 / MOUNT rw - cgroup2 cgroup2 rw\n");
    const V1: (&str, &str) =
        ("proc/self/mountinfo", "35 31 0:32 / MOUNT rw - cgroup cgroup rw,memory\n");
    const K: u64 = 1024;

    #[test]
    fn process_counts_without_a_group() {
        let machine = Fixture::new("alone", &[STATUS, MEMINFO]);
        assert_eq!(machine.read(None), Some((2000 * K, 8000 * K)));
        assert_eq!(machine.read(Some(4000 * K)), Some((2000 * K, 4000 * K)));
        assert_eq!(machine.read(Some(9000 * K)), Some((2000 * K, 8000 * K)));
    }

    #[test]
    fn v2_tightest_group_counts() {
        let membership = ("proc/self/cgroup", "0::/outer/inner\n");
        let machine = Fixture::new("v2", &[STATUS, MEMINFO, V2, membership]);
        for (directory, max, high, current) in
            [("inner", "max", "max", "900000"), ("", "4000000", "2000000", "1500000")]
        {
            let file = |name| format!("groups/outer/{directory}/{name}");
            machine.write(&file("memory.max"), max);
            machine.write(&file("memory.high"), high);
            machine.write(&file("memory.current"), current);
            machine.write(&file("memory.stat"), "inactive_file 300000\nactive_file 100000\n");
        }
        // The root has no such files.
        assert_eq!(machine.read(None), Some((1_100_000, 2_000_000)));
        // A later change of a limit applies too.
        let mut files = machine.open().unwrap();
        machine.write("groups/outer/inner/memory.max", "1000000\n");
        machine.write("groups/outer/inner/memory.current", "1250000\n");
        assert_eq!(files.read(None).unwrap(), MemoryUsage::new(850_000, 1_000_000));
        assert_eq!(files.read(Some(2001 * K)).unwrap(), MemoryUsage::new(2000 * K, 2001 * K));
    }

    #[test]
    fn v1_limit_is_in_memory_stat() {
        let membership = ("proc/self/cgroup", "4:memory:/job\n0::/\n");
        let machine = Fixture::new("v1", &[STATUS, MEMINFO, V1, membership]);
        let none = "9223372036854771712";
        for (directory, limit, usage) in
            [("job", "1000000", "900000"), ("free", none, "900000"), (".", none, "999999999")]
        {
            machine.write(&format!("groups/{directory}/memory.usage_in_bytes"), usage);
            let stat = format!(
                "hierarchical_memory_limit {limit}\ntotal_inactive_file 100000\n\
                 total_active_file 200000\n"
            );
            machine.write(&format!("groups/{directory}/memory.stat"), &stat);
        }
        assert_eq!(machine.read(None), Some((600_000, 1_000_000)));
        machine.write("proc/self/cgroup", "4:memory:/free\n");
        assert_eq!(machine.read(None), Some((2000 * K, 8000 * K)));
    }

    #[test]
    fn v1_ancestor_may_be_tightest() {
        let membership = ("proc/self/cgroup", "4:memory:/outer/inner\n");
        let machine = Fixture::new("v1-above", &[STATUS, MEMINFO, V1, membership]);
        for (directory, limit, usage) in [("inner", "1000000", "300000"), ("", "1000000", "800000")]
        {
            let file = |name| format!("groups/outer/{directory}/{name}");
            machine.write(&file("memory.usage_in_bytes"), usage);
            let stat = format!("hierarchical_memory_limit {limit}\n");
            machine.write(&file("memory.stat"), &stat);
        }
        assert_eq!(machine.read(None), Some((800_000, 1_000_000)));
    }

    /// Creates a version 2 group with a limit of 6 MB and the given `files`.
    fn v2_group(name: &str, files: &[(&str, &str)]) -> Fixture {
        let membership = ("proc/self/cgroup", "0::/job\n");
        let machine = Fixture::new(name, &[STATUS, MEMINFO, V2, membership]);
        for (name, text) in [("max", "6000000"), ("high", "max"), ("current", "0"), ("stat", "")] {
            machine.write(&format!("groups/job/memory.{name}"), text);
        }
        files.iter().for_each(|(name, text)| machine.write(&format!("groups/job/{name}"), text));
        machine
    }

    #[test]
    fn reclaimable_slab_does_not_count() {
        let stat = "anon 800000\nfile 4096\nkernel 5200000\nshmem 300000\ninactive_file 100000\n\
                          slab_reclaimable 4500000\nslab_unreclaimable 200000\n";
        let files = [("memory.current", "5800000"), ("memory.stat", stat)];
        let machine = v2_group("slab", &files);
        // RssAnon of 2000 kB is 25% of the machine, and would be 34% of the group.
        assert_eq!(machine.read(None), Some((2000 * K, 8000 * K)));
        machine.write("groups/job/memory.current", "9000000");
        assert_eq!(machine.read(None), Some((4_400_000, 6_000_000)));
    }

    #[test]
    fn v1_kernel_memory_beyond_slab_counts() {
        let membership = ("proc/self/cgroup", "4:memory:/job\n");
        let machine = Fixture::new("v1-slab", &[STATUS, MEMINFO, V1, membership]);
        machine.write("groups/job/memory.usage_in_bytes", "900000");
        machine.write("groups/job/memory.stat", "hierarchical_memory_limit 1000000\n");
        // Kernel memory counts in full without its file, or without a slab size of the machine.
        assert_eq!(machine.read(None), Some((900_000, 1_000_000)));
        machine.write("groups/job/memory.kmem.usage_in_bytes", "300000");
        assert_eq!(machine.read(None), Some((900_000, 1_000_000)));
        machine.write("proc/meminfo", "MemTotal: 8000 kB\nSReclaimable: 10 kB\n");
        assert_eq!(machine.read(None), Some((900_000 - 10 * K, 1_000_000)));
        machine.write("proc/meminfo", "MemTotal: 8000 kB\nSReclaimable: 7000 kB\n");
        assert_eq!(machine.read(None), Some((600_000, 1_000_000)));
    }

    #[test]
    fn group_limit_is_capped_by_the_machine() {
        let files = [("memory.max", "99999999999"), ("memory.current", "7000000")];
        let machine = v2_group("clamped", &files);
        assert_eq!(machine.read(None), Some((7_000_000, 8000 * K)));
        // Huge pages are not available to the group either.
        machine.write("proc/meminfo", "MemTotal: 8000 kB\nHugetlb: 1000 kB\n");
        assert_eq!(machine.read(None), Some((7_000_000, 7000 * K)));
    }

    #[test]
    fn changed_limit_applies() {
        let files = [("memory.max", "max"), ("memory.current", "900000")];
        let machine = v2_group("changes", &files);
        let mut files = machine.open().unwrap();
        let mut read = |limits: &[(&str, &str)]| {
            for (name, text) in limits {
                machine.write(&format!("groups/job/{name}"), text);
            }
            files.read(None).unwrap()
        };
        let process = MemoryUsage::new(2000 * K, 8000 * K);
        assert_eq!(read(&[]), process);
        assert_eq!(read(&[("memory.max", "1000000\n")]), MemoryUsage::new(900_000, 1_000_000));
        assert_eq!(read(&[("memory.high", "950000\n")]), MemoryUsage::new(900_000, 950_000));
        assert_eq!(read(&[("memory.max", "max\n"), ("memory.high", "max\n")]), process);
    }

    #[test]
    fn controller_enabled_later_is_seen() {
        let membership = ("proc/self/cgroup", "0::/job\n");
        let machine = Fixture::new("later", &[STATUS, MEMINFO, V2, membership]);
        let mut files = machine.open().unwrap();
        assert_eq!(files.read(None).unwrap(), MemoryUsage::new(2000 * K, 8000 * K));
        for (name, text) in [("max", "1000000"), ("current", "900000"), ("stat", "")] {
            machine.write(&format!("groups/job/memory.{name}"), text);
        }
        assert_eq!(files.read(None).unwrap(), MemoryUsage::new(900_000, 1_000_000));
        assert!(files.is_current());
        machine.write("proc/self/cgroup", "0::/other\n");
        assert!(!files.is_current(), "the process is in another group");
    }

    #[test]
    fn unreadable_group_files_are_skipped() {
        let files = [("memory.max", "3000000"), ("memory.current", "2900000")];
        let machine = v2_group("partial", &files);
        let remove = |name: &str| fs::remove_file(machine.0.join("groups/job").join(name)).unwrap();
        remove("memory.high");
        assert_eq!(machine.read(None), Some((2_900_000, 3_000_000)));
        remove("memory.stat");
        assert_eq!(machine.read(None), Some((2000 * K, 3_000_000)));
        machine.write("groups/job/memory.stat", "");
        remove("memory.current");
        assert_eq!(machine.read(None), Some((2000 * K, 3_000_000)));
        remove("memory.max");
        assert_eq!(machine.read(None), Some((2000 * K, 8000 * K)));
    }

    #[test]
    fn malformed_kernel_files_are_errors() {
        let membership = ("proc/self/cgroup", "0::/\n");
        let machine = Fixture::new("strange", &[STATUS, MEMINFO, V2, membership]);
        for name in ["memory.max", "memory.high", "memory.current", "memory.stat"] {
            machine.write(&format!("groups/{name}"), "100000\n");
        }
        assert_eq!(machine.read(None), Some((100_000, 100_000)));
        machine.write("groups/memory.current", "many\n");
        assert_eq!(machine.read(None), None);
        machine.write("groups/memory.current", "100000\n");
        machine.write("proc/meminfo", "nothing\n");
        assert_eq!(machine.read(None), None);
        fs::remove_file(machine.0.join("proc/meminfo")).unwrap();
        assert_eq!(machine.open().unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn truncated_line_is_ignored() {
        let machine = Fixture::new("long", &[STATUS]);
        let mut text = "x 1\n".repeat(size_of::<Buffer>() / 4 - 1);
        text += "active_file 4096\n";
        machine.write("long", &text);
        let file = File::open(machine.0.join("long")).unwrap();
        let mut buffer = [0; size_of::<Buffer>()];
        let read = read_once(&file, &mut buffer).unwrap();
        assert_eq!(read.len(), size_of::<Buffer>() - 5);
        assert_eq!(field(read, "act"), None);
    }

    #[test]
    fn readings_reuse_open_files() {
        let system = SystemMemory::default();
        let first = system.read(None).unwrap();
        assert!(first.used() > 0 && first.limit() > 0, "{first:?}");
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for _ in 0..100 {
            system.read(None).unwrap();
        }
        // Other tests open files in parallel.
        assert!(open() < before + 50);
        assert!(system.files.lock().unwrap().is_some());
    }

    #[test]
    fn memory_of_this_process_is_read() {
        let allocated = vec![1_u8; 96 << 20];
        let files = KernelFiles::open(Path::new("/proc")).unwrap();
        let mut buffer = [0; size_of::<Buffer>()];
        let used = process_memory(read_once(&files.process, &mut buffer).unwrap()).unwrap();
        assert!(used >= allocated.len() as u64, "{used} bytes");
    }

    #[test]
    fn portable_reader_agrees_with_the_kernel() {
        const TOLERANCE: u64 = 256 << 20;
        let portable = super::super::portable::SystemMemory::default().read(None).unwrap();
        let status = fs::read("/proc/self/status").unwrap();
        let kernel = field(&status, "VmRSS").unwrap();
        // Other tests allocate in parallel.
        assert!(portable.used().abs_diff(kernel) < TOLERANCE, "{portable:?}, {kernel}");
        let meminfo = fs::read("/proc/meminfo").unwrap();
        assert_eq!(portable.limit(), field(&meminfo, "MemTotal").unwrap());
    }
}
