use std::fs::{File, read_to_string};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::cgroup::{Group, Version, field, limit, number, resident};
use super::reading::Reading;

/// What the kernel says of this process, of its control groups and of the machine.
///
/// The files are opened for the first reading and stay open, so that memory can still be read where
/// there are no file descriptors left.
#[derive(Debug, Default)]
pub(super) struct System {
    files: Mutex<Option<Files>>,
}

#[derive(Debug)]
struct Files {
    process: File,
    machine: File,
    groups: Vec<GroupFiles>,
}

#[derive(Debug)]
struct GroupFiles {
    version: Version,
    limits: Vec<File>,
    usage: File,
    statistics: File,
}

/// A file of the kernel is read whole or not at all.
type Buffer = [u8; 8 * 1024];

impl System {
    pub(super) fn read(&self, limit: Option<u64>) -> io::Result<Reading> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match files.take() {
            Some(open) => open,
            None => Files::open(Path::new("/proc"))?,
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
        let text = |name| there(read_to_string(own.join(name))).map(Option::unwrap_or_default);
        let mut groups = Vec::new();
        if let Some(group) = Group::find(&text("cgroup")?, &text("mountinfo")?) {
            for folder in &group.folders {
                groups.extend(there(GroupFiles::open(group.version, folder))?);
            }
        }
        let [process, machine] = [own.join("status"), proc.join("meminfo")].map(File::open);
        Ok(Self { process: process?, machine: machine?, groups })
    }

    /// The reading that is nearest to its limit: the process's, of what the machine and the user
    /// give it, or that of a group that it is in.
    fn read(&self, limit: Option<u64>) -> io::Result<Reading> {
        let buffer = &mut [0; size_of::<Buffer>()];
        let used = resident(read(&self.process, buffer)?).ok_or_else(strange)?;
        let machine = field(read(&self.machine, buffer)?, "MemTotal").ok_or_else(strange)?;
        let mut tightest = Reading::new(used, machine).within(limit);
        for group in &self.groups {
            match group.read(buffer)? {
                Some(reading) if reading.ratio() > tightest.ratio() => tightest = reading,
                // Its limit would be that of a group above it, if one of those had any.
                None if group.version == Version::One => break,
                _ => {}
            }
        }
        Ok(tightest)
    }
}

impl GroupFiles {
    /// Fails with `NotFound` at the root of all groups, which has no limits.
    fn open(version: Version, folder: &Path) -> io::Result<Self> {
        let open = |name: &str| File::open(folder.join(name));
        let limits = version.limits().iter().map(|name| open(name)).collect::<io::Result<_>>()?;
        Ok(Self {
            version,
            limits,
            usage: open(version.usage())?,
            statistics: open("memory.stat")?,
        })
    }

    /// None without a limit.
    fn read(&self, buffer: &mut Buffer) -> io::Result<Option<Reading>> {
        let mut lowest = None;
        for file in &self.limits {
            lowest = lower(lowest, limit(read(file, buffer)?));
        }
        if lowest.is_none() && !self.limits.is_empty() {
            // The statistics are what takes longest.
            return Ok(None);
        }
        let statistics = read(&self.statistics, buffer)?;
        let lowest = lower(lowest, self.version.limit_in(statistics));
        let cached = self.version.cached_in(statistics);
        let Some(lowest) = lowest else { return Ok(None) };
        let used = number(read(&self.usage, buffer)?).ok_or_else(strange)?;
        Ok(Some(Reading::new(used.saturating_sub(cached), lowest)))
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
    use std::path::PathBuf;

    use super::*;

    /// A folder with files of these texts, which is removed when this is dropped.
    struct Machine(PathBuf);

    impl Machine {
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

    impl Drop for Machine {
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
        let machine = Machine::new("alone", &[STATUS, MEMINFO]);
        assert_eq!(machine.read(None), Some((2000 * K, 8000 * K)));
        assert_eq!(machine.read(Some(4000 * K)), Some((2000 * K, 4000 * K)));
        assert_eq!(machine.read(Some(9000 * K)), Some((2000 * K, 8000 * K)));
    }

    #[test]
    fn of_version_2_the_tightest_group_counts_with_its_lower_limit() {
        let place = ("proc/self/cgroup", "0::/outer/inner\n");
        let machine = Machine::new("v2", &[STATUS, MEMINFO, V2, place]);
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
        let files = machine.open().unwrap();
        machine.write("groups/outer/inner/memory.max", "1000000\n");
        machine.write("groups/outer/inner/memory.current", "1250000\n");
        assert_eq!(files.read(None).unwrap(), Reading::new(850_000, 1_000_000));
        assert_eq!(files.read(Some(2001 * K)).unwrap(), Reading::new(2000 * K, 2001 * K));
    }

    #[test]
    fn of_version_1_the_limit_is_in_the_statistics() {
        let place = ("proc/self/cgroup", "4:memory:/job\n0::/\n");
        let machine = Machine::new("v1", &[STATUS, MEMINFO, V1, place]);
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
        let machine = Machine::new("v1-above", &[STATUS, MEMINFO, V1, place]);
        for (folder, limit, usage) in [("inner", "1000000", "300000"), ("", "1000000", "800000")] {
            let file = |name| format!("groups/outer/{folder}/{name}");
            machine.write(&file("memory.usage_in_bytes"), usage);
            let statistics = format!("hierarchical_memory_limit {limit}\n");
            machine.write(&file("memory.stat"), &statistics);
        }
        assert_eq!(machine.read(None), Some((800_000, 1_000_000)));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let place = ("proc/self/cgroup", "0::/\n");
        let machine = Machine::new("strange", &[STATUS, MEMINFO, V2, place]);
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
        let machine = Machine::new("long", &[STATUS]);
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
