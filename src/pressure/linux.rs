use std::fs::{File, read_to_string};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::cgroup::{Group, Machine, Version, limit, number, resident};
use super::reading::Reading;

/// What the kernel says of this process, of its control groups and of the machine.
///
/// The files are opened for the first reading and stay open, so that memory can still be read where
/// there are no file descriptors left. They are opened again once the process is in another group.
#[derive(Debug, Default)]
pub(super) struct System {
    files: Mutex<Option<Files>>,
}

#[derive(Debug)]
struct Files {
    process: File,
    machine: File,
    /// `/proc/self/cgroup` with the text that the groups were found by. `None` where the kernel has
    /// no control groups.
    place: Option<(File, Vec<u8>)>,
    version: Version,
    /// The folder of each group, and its files once they are there: the controller of memory can be
    /// turned on while the process runs.
    groups: Vec<(PathBuf, Option<GroupFiles>)>,
}

#[derive(Debug)]
struct GroupFiles {
    version: Version,
    limits: Vec<File>,
    /// The usage and the statistics, where this process may read both.
    usage: Option<[File; 2]>,
    kernel: Option<File>,
}

/// A file of the kernel is read whole or not at all.
type Buffer = [u8; 8 * 1024];

impl System {
    pub(super) fn read(&self, limit: Option<u64>) -> io::Result<Reading> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let proc = Path::new("/proc");
        let mut open = match files.take() {
            Some(open) if open.is_current() => open,
            // Without file descriptors for others, the old ones are better than nothing.
            Some(old) => Files::open(proc).unwrap_or(old),
            None => Files::open(proc)?,
        };
        let reading = open.read(limit)?;
        // Where it fails, they are opened anew the next time: the group may be another one by then.
        *files = Some(open);
        Ok(reading)
    }
}

impl Files {
    fn open(proc: &Path) -> io::Result<Self> {
        let own = proc.join("self");
        let [process, machine] = [own.join("status"), proc.join("meminfo")].map(File::open);
        let mut files = Self {
            process: process?,
            machine: machine?,
            place: None,
            version: Version::Two,
            groups: Vec::new(),
        };
        let Some(file) = there(File::open(own.join("cgroup")))? else { return Ok(files) };
        let place = read(&file, &mut [0; size_of::<Buffer>()])?.to_owned();
        let mounts = there(read_to_string(own.join("mountinfo")))?.unwrap_or_default();
        if let Some(group) = Group::find(&String::from_utf8_lossy(&place), &mounts) {
            files.version = group.version;
            files.groups = group.folders.into_iter().map(|folder| (folder, None)).collect();
        }
        files.place = Some((file, place));
        Ok(files)
    }

    /// Returns `true` if the process is still in the groups that were found.
    fn is_current(&self) -> bool {
        let buffer = &mut [0; size_of::<Buffer>()];
        self.place.as_ref().is_none_or(|(file, place)| {
            read(file, buffer).is_ok_and(|text| text == place.as_slice())
        })
    }

    /// The reading that is nearest to its limit: the process's, of what the machine and the user
    /// give it, or that of a group that it is in.
    fn read(&mut self, limit: Option<u64>) -> io::Result<Reading> {
        let buffer = &mut [0; size_of::<Buffer>()];
        let used = resident(read(&self.process, buffer)?).ok_or_else(strange)?;
        let machine = Machine::of(read(&self.machine, buffer)?).ok_or_else(strange)?;
        let mut tightest = Reading::new(used, machine.total).within(limit);
        for (folder, files) in &mut self.groups {
            if files.is_none() {
                *files = there(GroupFiles::open(self.version, folder))?;
            }
            let Some(group) = files else { continue };
            match group.read(buffer, used, machine)? {
                // A group may be given more than there is.
                Some(reading) => {
                    let reading = reading.within(Some(machine.total));
                    if reading.ratio() > tightest.ratio() {
                        tightest = reading;
                    }
                }
                // Its limit would be that of a group above it, if one of those had any.
                None if group.version == Version::One => break,
                None => {}
            }
        }
        Ok(tightest)
    }
}

impl GroupFiles {
    /// Fails with `NotFound` where the group has no files of memory, such as at the root of all
    /// groups.
    fn open(version: Version, folder: &Path) -> io::Result<Self> {
        let open = |name: &str| there(File::open(folder.join(name)));
        let mut limits = Vec::new();
        for name in version.limits() {
            limits.extend(open(name)?);
        }
        let usage = open(version.usage())?.zip(open("memory.stat")?);
        if limits.is_empty() && (usage.is_none() || version == Version::Two) {
            return Err(ErrorKind::NotFound.into());
        }
        let kernel = version.kernel().map(open).transpose()?.flatten();
        Ok(Self { version, limits, usage: usage.map(<[File; 2]>::from), kernel })
    }

    /// Returns `None` where the group has no limit.
    ///
    /// `process` is what the process itself uses: all that can be compared with the limit of a group
    /// whose usage may not be read.
    fn read(
        &self,
        buffer: &mut Buffer,
        process: u64,
        machine: Machine,
    ) -> io::Result<Option<Reading>> {
        let mut lowest = None;
        for file in &self.limits {
            lowest = lower(lowest, limit(read(file, buffer)?));
        }
        if lowest.is_none() && !self.limits.is_empty() {
            // The statistics are what takes longest.
            return Ok(None);
        }
        let Some([usage, statistics]) = &self.usage else {
            return Ok(lowest.map(|lowest| Reading::new(process, lowest)));
        };
        let kernel = match &self.kernel {
            Some(kernel) => number(read(kernel, buffer)?).unwrap_or_default(),
            None => 0,
        };
        let statistics = read(statistics, buffer)?;
        let lowest = lower(lowest, self.version.limit_in(statistics));
        let slab = machine.reclaimable_slab;
        let reclaimable = self.version.reclaimable_in(statistics, kernel, slab);
        let Some(lowest) = lowest else { return Ok(None) };
        let used = number(read(usage, buffer)?).ok_or_else(strange)?;
        Ok(Some(Reading::new(used.saturating_sub(reclaimable), lowest)))
    }
}

/// Takes what is not there, or not for this process to see, for none.
fn there<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(error),
    }
}

/// One call, since each one past the first may write the whole file again.
fn read<'a>(file: &File, buffer: &'a mut Buffer) -> io::Result<&'a [u8]> {
    let length = file.read_at(buffer, 0)?;
    let text = &buffer[..length];
    if length < buffer.len() {
        return Ok(text);
    }
    // It is longer: the last line is cut off, and half a number is a wrong one.
    let whole = text.iter().rposition(|&byte| byte == b'\n').unwrap_or_default();
    Ok(&text[..whole])
}

fn lower(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

fn strange() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "a file of the kernel does not say what it should")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::cgroup::field;
    use super::*;

    /// A folder with files of these texts, which is removed when this is dropped.
    struct Fixture(PathBuf);

    impl Fixture {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let folder = format!("tower-kit-{name}-{}", std::process::id());
            let machine = Self(std::env::temp_dir().join(folder));
            files.iter().for_each(|(name, text)| machine.write(name, text));
            machine
        }

        /// `MOUNT` stands for where the groups are.
        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let groups = self.0.join("groups");
            fs::write(path, text.replace("MOUNT", groups.to_str().unwrap())).unwrap();
        }

        fn open(&self) -> io::Result<Files> {
            Files::open(&self.0.join("proc"))
        }

        fn read(&self, limit: Option<u64>) -> Option<(u64, u64)> {
            let reading = self.open().unwrap().read(limit).ok()?;
            Some((reading.used(), reading.limit()))
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
    fn without_a_group_it_is_the_process_on_the_machine() {
        let machine = Fixture::new("alone", &[STATUS, MEMINFO]);
        assert_eq!(machine.read(None), Some((2000 * K, 8000 * K)));
        assert_eq!(machine.read(Some(4000 * K)), Some((2000 * K, 4000 * K)));
        assert_eq!(machine.read(Some(9000 * K)), Some((2000 * K, 8000 * K)));
    }

    #[test]
    fn of_version_2_the_tightest_group_counts_with_its_lower_limit() {
        let place = ("proc/self/cgroup", "0::/outer/inner\n");
        let machine = Fixture::new("v2", &[STATUS, MEMINFO, V2, place]);
        for (folder, max, high, current) in
            [("inner", "max", "max", "900000"), ("", "4000000", "2000000", "1500000")]
        {
            let file = |name| format!("groups/outer/{folder}/{name}");
            machine.write(&file("memory.max"), max);
            machine.write(&file("memory.high"), high);
            machine.write(&file("memory.current"), current);
            machine.write(&file("memory.stat"), "inactive_file 300000\nactive_file 100000\n");
        }
        // The root has no such files.
        assert_eq!(machine.read(None), Some((1_100_000, 2_000_000)));
        // What is set later is seen too.
        let mut files = machine.open().unwrap();
        machine.write("groups/outer/inner/memory.max", "1000000\n");
        machine.write("groups/outer/inner/memory.current", "1250000\n");
        assert_eq!(files.read(None).unwrap(), Reading::new(850_000, 1_000_000));
        assert_eq!(files.read(Some(2001 * K)).unwrap(), Reading::new(2000 * K, 2001 * K));
    }

    #[test]
    fn of_version_1_the_limit_is_in_the_statistics() {
        let place = ("proc/self/cgroup", "4:memory:/job\n0::/\n");
        let machine = Fixture::new("v1", &[STATUS, MEMINFO, V1, place]);
        let none = "9223372036854771712";
        for (folder, limit, usage) in
            [("job", "1000000", "900000"), ("free", none, "900000"), (".", none, "999999999")]
        {
            machine.write(&format!("groups/{folder}/memory.usage_in_bytes"), usage);
            let statistics = format!(
                "hierarchical_memory_limit {limit}\ntotal_inactive_file 100000\n\
                 total_active_file 200000\n"
            );
            machine.write(&format!("groups/{folder}/memory.stat"), &statistics);
        }
        assert_eq!(machine.read(None), Some((600_000, 1_000_000)));
        machine.write("proc/self/cgroup", "4:memory:/free\n");
        assert_eq!(machine.read(None), Some((2000 * K, 8000 * K)));
    }

    #[test]
    fn of_version_1_a_group_above_may_be_the_tightest() {
        let place = ("proc/self/cgroup", "4:memory:/outer/inner\n");
        let machine = Fixture::new("v1-above", &[STATUS, MEMINFO, V1, place]);
        for (folder, limit, usage) in [("inner", "1000000", "300000"), ("", "1000000", "800000")] {
            let file = |name| format!("groups/outer/{folder}/{name}");
            machine.write(&file("memory.usage_in_bytes"), usage);
            let statistics = format!("hierarchical_memory_limit {limit}\n");
            machine.write(&file("memory.stat"), &statistics);
        }
        assert_eq!(machine.read(None), Some((800_000, 1_000_000)));
    }

    /// A group of version 2 with a limit of 256 MiB, and files of these texts beside.
    fn group_of_version_2(name: &str, files: &[(&str, &str)]) -> Fixture {
        let place = ("proc/self/cgroup", "0::/job\n");
        let machine = Fixture::new(name, &[STATUS, MEMINFO, V2, place]);
        for (name, text) in [("max", "6000000"), ("high", "max"), ("current", "0"), ("stat", "")] {
            machine.write(&format!("groups/job/memory.{name}"), text);
        }
        files.iter().for_each(|(name, text)| machine.write(&format!("groups/job/{name}"), text));
        machine
    }

    #[test]
    fn reclaimable_slab_does_not_count() {
        let statistics = "anon 800000\nfile 4096\nkernel 5200000\nshmem 300000\ninactive_file 100000\n\
                          slab_reclaimable 4500000\nslab_unreclaimable 200000\n";
        let files = [("memory.current", "5800000"), ("memory.stat", statistics)];
        let machine = group_of_version_2("slab", &files);
        // RssAnon of 2000 kB is 25% of the machine, and would be 34% of the group.
        assert_eq!(machine.read(None), Some((2000 * K, 8000 * K)));
        machine.write("groups/job/memory.current", "9000000");
        assert_eq!(machine.read(None), Some((4_400_000, 6_000_000)));
    }

    #[test]
    fn of_version_1_kernel_memory_counts_beyond_the_machines_slab() {
        let place = ("proc/self/cgroup", "4:memory:/job\n");
        let machine = Fixture::new("v1-slab", &[STATUS, MEMINFO, V1, place]);
        machine.write("groups/job/memory.usage_in_bytes", "900000");
        machine.write("groups/job/memory.stat", "hierarchical_memory_limit 1000000\n");
        // Without the file there is nothing to tell it from other memory.
        assert_eq!(machine.read(None), Some((900_000, 1_000_000)));
        machine.write("groups/job/memory.kmem.usage_in_bytes", "300000");
        assert_eq!(machine.read(None), Some((900_000, 1_000_000)));
        machine.write("proc/meminfo", "MemTotal: 8000 kB\nSReclaimable: 10 kB\n");
        assert_eq!(machine.read(None), Some((900_000 - 10 * K, 1_000_000)));
        machine.write("proc/meminfo", "MemTotal: 8000 kB\nSReclaimable: 7000 kB\n");
        assert_eq!(machine.read(None), Some((600_000, 1_000_000)));
    }

    #[test]
    fn a_limit_above_the_machines_memory_is_the_machines() {
        let files = [("memory.max", "99999999999"), ("memory.current", "7000000")];
        let machine = group_of_version_2("clamped", &files);
        assert_eq!(machine.read(None), Some((7_000_000, 8000 * K)));
        // The pages that are reserved for others are not there for it either.
        machine.write("proc/meminfo", "MemTotal: 8000 kB\nHugetlb: 1000 kB\n");
        assert_eq!(machine.read(None), Some((7_000_000, 7000 * K)));
    }

    #[test]
    fn a_limit_that_changes_is_seen() {
        let files = [("memory.max", "max"), ("memory.current", "900000")];
        let machine = group_of_version_2("changes", &files);
        let mut files = machine.open().unwrap();
        let mut read = |limits: &[(&str, &str)]| {
            for (name, text) in limits {
                machine.write(&format!("groups/job/{name}"), text);
            }
            files.read(None).unwrap()
        };
        let process = Reading::new(2000 * K, 8000 * K);
        assert_eq!(read(&[]), process);
        assert_eq!(read(&[("memory.max", "1000000\n")]), Reading::new(900_000, 1_000_000));
        assert_eq!(read(&[("memory.high", "950000\n")]), Reading::new(900_000, 950_000));
        assert_eq!(read(&[("memory.max", "max\n"), ("memory.high", "max\n")]), process);
    }

    #[test]
    fn a_controller_that_is_turned_on_later_is_seen() {
        let place = ("proc/self/cgroup", "0::/job\n");
        let machine = Fixture::new("later", &[STATUS, MEMINFO, V2, place]);
        let mut files = machine.open().unwrap();
        assert_eq!(files.read(None).unwrap(), Reading::new(2000 * K, 8000 * K));
        for (name, text) in [("max", "1000000"), ("current", "900000"), ("stat", "")] {
            machine.write(&format!("groups/job/memory.{name}"), text);
        }
        assert_eq!(files.read(None).unwrap(), Reading::new(900_000, 1_000_000));
        assert!(files.is_current());
        machine.write("proc/self/cgroup", "0::/other\n");
        assert!(!files.is_current(), "the process was moved");
    }

    #[test]
    fn a_group_is_read_by_the_files_that_may_be_read() {
        let files = [("memory.max", "3000000"), ("memory.current", "2900000")];
        let machine = group_of_version_2("partial", &files);
        let remove = |name: &str| fs::remove_file(machine.0.join("groups/job").join(name)).unwrap();
        remove("memory.high");
        assert_eq!(machine.read(None), Some((2_900_000, 3_000_000)));
        // Without the statistics, cached files could not be told from memory that is in use.
        remove("memory.stat");
        assert_eq!(machine.read(None), Some((2000 * K, 3_000_000)));
        machine.write("groups/job/memory.stat", "");
        remove("memory.current");
        assert_eq!(machine.read(None), Some((2000 * K, 3_000_000)));
        remove("memory.max");
        assert_eq!(machine.read(None), Some((2000 * K, 8000 * K)));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let place = ("proc/self/cgroup", "0::/\n");
        let machine = Fixture::new("strange", &[STATUS, MEMINFO, V2, place]);
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
    fn a_line_that_is_cut_off_is_not_read() {
        let machine = Fixture::new("long", &[STATUS]);
        let mut text = "x 1\n".repeat(size_of::<Buffer>() / 4 - 1);
        text += "active_file 4096\n";
        machine.write("long", &text);
        let file = File::open(machine.0.join("long")).unwrap();
        let mut buffer = [0; size_of::<Buffer>()];
        let read = read(&file, &mut buffer).unwrap();
        assert_eq!(read.len(), size_of::<Buffer>() - 5);
        assert_eq!(field(read, "act"), None);
    }

    #[test]
    fn this_machine_is_read_again_and_again_with_the_same_files() {
        let system = System::default();
        let first = system.read(None).unwrap();
        assert!(first.used() > 0 && first.limit() > 0, "{first:?}");
        let open = || fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for _ in 0..100 {
            system.read(None).unwrap();
        }
        // Other tests open files meanwhile.
        assert!(open() < before + 50);
        assert!(system.files.lock().unwrap().is_some());
    }

    #[test]
    fn what_this_process_takes_is_seen() {
        let taken = vec![1_u8; 96 << 20];
        let files = Files::open(Path::new("/proc")).unwrap();
        let mut buffer = [0; size_of::<Buffer>()];
        let resident = resident(read(&files.process, &mut buffer).unwrap()).unwrap();
        assert!(resident >= taken.len() as u64, "{resident} bytes");
    }
}
