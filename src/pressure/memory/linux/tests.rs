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
const V2: (&str, &str) = ("proc/self/mountinfo", "30 23 0:26 / MOUNT rw - cgroup2 cgroup2 rw\n");
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
    for (directory, limit, usage) in [("inner", "1000000", "300000"), ("", "1000000", "800000")] {
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
