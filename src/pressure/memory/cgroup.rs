//! Parsers for kernel files about control groups and memory. Nothing here does I/O.

use std::path::PathBuf;

/// The memory control group of a process.
#[derive(Debug, PartialEq)]
pub(super) struct Cgroup {
    pub(super) version: CgroupVersion,
    /// The directories of the group and its ancestors, from the group up to the mount point.
    pub(super) directories: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum CgroupVersion {
    V1,
    V2,
}

/// The memory of the machine, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MachineMemory {
    /// Memory available to processes. Excludes pages reserved for `hugetlbfs`: they are neither part
    /// of a process's `RssAnon` nor usable for anything else.
    pub(super) total: u64,
    /// Reclaimable slab of all control groups together.
    pub(super) reclaimable_slab: u64,
}

impl Cgroup {
    /// Parses `/proc/self/cgroup` and `/proc/self/mountinfo`.
    pub(super) fn parse(cgroup: &str, mountinfo: &str) -> Option<Self> {
        let (version, path) = memory_cgroup(cgroup)?;
        let mounts: Vec<_> =
            mountinfo.lines().filter_map(|line| parse_mount(line, version)).collect();
        // A hierarchy can be mounted more than once, from different roots. The mount with the
        // shortest root that contains the group shows the most ancestors.
        let containing = mounts
            .iter()
            .filter_map(|mount| Some((relative_path(path, &mount.root)?, &mount.point)));
        let shown = containing.max_by_key(|(relative, _)| relative.len());
        // A container without a cgroup namespace sees a path that is not below any mount: its own
        // group is then what is mounted.
        let (relative, point) = shown.or_else(|| Some(("", &mounts.first()?.point)))?;
        let names: Vec<_> = relative.split('/').filter(|name| !name.is_empty()).collect();
        // `/../elsewhere` is a group outside of the cgroup namespace.
        let names = if names.contains(&"..") { &[][..] } else { &names[..] };
        let directory = |depth| {
            let mut directory = PathBuf::from(point);
            directory.extend(&names[..depth]);
            directory
        };
        Some(Self { version, directories: (0..=names.len()).rev().map(directory).collect() })
    }
}

impl CgroupVersion {
    /// Returns the names of the files that hold a limit each.
    pub(super) fn limit_files(self) -> &'static [&'static str] {
        match self {
            // `memory.stat` has the limit, combined with those of the ancestors.
            Self::V1 => &[],
            Self::V2 => &["memory.max", "memory.high"],
        }
    }

    pub(super) fn usage_file(self) -> &'static str {
        match self {
            Self::V1 => "memory.usage_in_bytes",
            Self::V2 => "memory.current",
        }
    }

    /// Returns the limit in `memory.stat`, which only version 1 has.
    pub(super) fn limit_in_stat(self, stat: &[u8]) -> Option<u64> {
        match self {
            Self::V1 => field(stat, "hierarchical_memory_limit").filter(is_limit),
            Self::V2 => None,
        }
    }

    /// Returns the part of the usage that the kernel reclaims before it kills: file pages, and slab
    /// of directory entries and inodes.
    ///
    /// `shmem`, tmpfs and locked pages are not part of these counters, and cannot be reclaimed.
    ///
    /// `kernel_memory` is the kernel memory of a version 1 group, whose `memory.stat` lacks the slab.
    /// It counts as reclaimable up to `machine_slab`, the reclaimable slab of the machine. This errs
    /// towards admitting requests. The opposite would shed requests for as long as the kernel caches
    /// names, and any client that asks for absent files fills that cache.
    pub(super) fn reclaimable(self, stat: &[u8], kernel_memory: u64, machine_slab: u64) -> u64 {
        let (names, slab) = match self {
            Self::V1 => {
                (["total_inactive_file", "total_active_file"], kernel_memory.min(machine_slab))
            }
            Self::V2 => (
                ["inactive_file", "active_file"],
                field(stat, "slab_reclaimable").unwrap_or_default(),
            ),
        };
        names.iter().filter_map(|name| field(stat, name)).fold(slab, u64::saturating_add)
    }

    /// Returns the name of the kernel memory file, if the version needs it to estimate the slab.
    pub(super) fn kernel_memory_file(self) -> Option<&'static str> {
        (self == Self::V1).then_some("memory.kmem.usage_in_bytes")
    }
}

impl MachineMemory {
    /// Parses `/proc/meminfo`.
    pub(super) fn parse(meminfo: &[u8]) -> Option<Self> {
        let reserved = field(meminfo, "Hugetlb").unwrap_or_default();
        Some(Self {
            total: field(meminfo, "MemTotal")?.saturating_sub(reserved),
            reclaimable_slab: field(meminfo, "SReclaimable").unwrap_or_default(),
        })
    }
}

/// Parses a limit file. `max` means no limit.
pub(super) fn parse_limit(text: &[u8]) -> Option<u64> {
    parse_number(text).filter(is_limit)
}

pub(super) fn parse_number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// Returns the value of a named line in bytes: `active_file 4096`, `RssAnon:     4096 kB`.
pub(super) fn field(text: &[u8], name: &str) -> Option<u64> {
    let value = text.split(|&byte| byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(name.as_bytes())?;
        // Otherwise `MemTotal` would match `MemTotalX`.
        rest.first().is_some_and(|byte| b": \t".contains(byte)).then_some(rest)
    })?;
    let mut words = value.split(|byte| b": \t".contains(byte)).filter(|word| !word.is_empty());
    let number = parse_number(words.next()?)?;
    match words.next() {
        None => Some(number),
        Some(b"kB") => number.checked_mul(1024),
        Some(_) => None,
    }
}

/// Parses the memory of a process from `/proc/self/status`, without its file pages, which the kernel
/// can reclaim. Older kernels report only the whole resident set.
pub(super) fn process_memory(status: &[u8]) -> Option<u64> {
    match field(status, "RssAnon").zip(field(status, "RssShmem")) {
        Some((anonymous, shared)) => Some(anonymous.saturating_add(shared)),
        None => field(status, "VmRSS"),
    }
}

/// Parses the version and path of the memory group: `0::/a/b`, or in version 1 `4:memory:/a/b`.
///
/// In a hybrid setup both lines exist; the version 1 line is the one with the memory controller.
fn memory_cgroup(cgroup: &str) -> Option<(CgroupVersion, &str)> {
    let mut found = None;
    for line in cgroup.lines() {
        // Three parts at most: the path may contain colons.
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next(), parts.next());
        let Some((controllers, path)) = controllers.zip(path) else { continue };
        if controllers.split(',').any(|name| name == "memory") {
            return Some((CgroupVersion::V1, path));
        }
        if id == "0" && controllers.is_empty() {
            found = Some((CgroupVersion::V2, path));
        }
    }
    found
}

/// Returns the part of `path` below `root`.
fn relative_path<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let relative = path.strip_prefix(root.trim_end_matches('/'))?;
    (relative.is_empty() || relative.starts_with('/')).then_some(relative)
}

/// A mount of the memory hierarchy.
struct Mount {
    /// The path within the hierarchy that is mounted.
    root: String,
    /// The path in the file system where it is mounted.
    point: String,
}

/// Parses a line of `mountinfo`, such as
/// `35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory`. Returns `None` for other
/// hierarchies and file systems.
fn parse_mount(line: &str, version: CgroupVersion) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let is_memory = match (after.next()?, version) {
        ("cgroup2", CgroupVersion::V2) => true,
        ("cgroup", CgroupVersion::V1) => after.nth(1)?.split(',').any(|option| option == "memory"),
        _ => false,
    };
    // The optional fields between the mount options and the separator do not matter here.
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    is_memory.then(|| Mount { root: unescape(root), point: unescape(point) })
}

/// Decodes the characters that the kernel writes as octal escapes: space, tab, newline, backslash.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .into_iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// Returns `true` for a real limit. cgroup v1 reports "no limit" as a huge number.
fn is_limit(limit: &u64) -> bool {
    (1..1 << 60).contains(limit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V1: &str = "\
9:name=systemd:/
4:memory:/jobs/one
2:cpuacct,cpu:/
0::/
";
    const V1_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const V2_MOUNTS: &str = "\
24 1 0:22 / /proc rw - proc proc rw
30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate
";

    fn find(cgroup: &str, mountinfo: &str) -> Option<(CgroupVersion, Vec<String>)> {
        let group = Cgroup::parse(cgroup, mountinfo)?;
        let directories = group.directories.iter().map(|path| path.to_str().unwrap().to_owned());
        Some((group.version, directories.collect()))
    }

    #[test]
    fn group_is_found_with_its_ancestors() {
        let in_container = "30 23 0:26 /docker/7f /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let in_old_container =
            "35 31 0:32 /docker/7f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let elsewhere = "30 23 0:26 / /my\\040groups\\134x rw - cgroup2 none rw\n";
        let (one, two) = (CgroupVersion::V1, CgroupVersion::V2);
        let v1 = "/sys/fs/cgroup/memory";
        let v2 = "/sys/fs/cgroup";
        let table: &[(&str, &str, CgroupVersion, &[&str])] = &[
            (
                V1,
                V1_MOUNTS,
                one,
                &["/sys/fs/cgroup/memory/jobs/one", "/sys/fs/cgroup/memory/jobs", v1],
            ),
            ("4:memory:/\n", V1_MOUNTS, one, &[v1]),
            ("4:cpu,memory:/", V1_MOUNTS, one, &[v1]),
            // With and without a cgroup namespace.
            ("0::/\n", V2_MOUNTS, two, &[v2]),
            ("0::/a/b:c\n", V2_MOUNTS, two, &["/sys/fs/cgroup/a/b:c", "/sys/fs/cgroup/a", v2]),
            ("0::/docker/7f\n", in_container, two, &[v2]),
            ("0::/docker/7f/in\n", in_container, two, &["/sys/fs/cgroup/in", v2]),
            ("0::/docker/7fa\n", in_container, two, &[v2]),
            ("0::/\n", in_container, two, &[v2]),
            ("4:memory:/docker/7f\n", in_old_container, one, &[v1]),
            ("0::/../elsewhere\n", V2_MOUNTS, two, &[v2]),
            ("0::/a\n", elsewhere, two, &["/my groups\\x/a", "/my groups\\x"]),
        ];
        for (cgroup, mountinfo, version, directories) in table {
            let directories = directories.iter().map(|path| (*path).to_owned()).collect();
            assert_eq!(find(cgroup, mountinfo), Some((*version, directories)), "{cgroup}");
        }
    }

    #[test]
    fn malformed_files_give_no_group() {
        for (cgroup, mountinfo) in [
            ("", V2_MOUNTS),
            ("nonsense\n1\n:\n", V2_MOUNTS),
            ("0::/a", ""),
            ("0::/a", "24 1 0:22 / /proc rw - proc proc rw"),
            ("4:memory:/a", V2_MOUNTS),
            ("0::/a", "30 23 0:26 - cgroup2"),
            ("4:memory:/a", "35 31 0:32 / /x rw - cgroup cgroup"),
            ("9:name=systemd:/\n3:memory-ish:/", V1_MOUNTS),
        ] {
            assert_eq!(find(cgroup, mountinfo), None, "{cgroup:?} {mountinfo:?}");
        }
    }

    #[test]
    fn limits_are_plausible_numbers() {
        let table: &[(&[u8], Option<u64>)] = &[
            (b"134217728\n", Some(134_217_728)),
            (b"max\n", None),
            (b"9223372036854771712\n", None),
            (b"18446744073709551615\n", None),
            (b"18446744073709551616\n", None),
            (b"0\n", None),
            (b"-1\n", None),
            (b"", None),
            (b"12 34\n", None),
            (b"\xff\xfe", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_limit(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn stat_has_file_pages_and_the_v1_limit() {
        let v1 = b"cache 9\ninactive_file 1\nactive_file 2\nhierarchical_memory_limit 536870912\n\
                   total_cache 900\ntotal_inactive_file 100\ntotal_active_file 200\n";
        assert_eq!(CgroupVersion::V1.limit_in_stat(v1), Some(536_870_912));
        assert_eq!(CgroupVersion::V1.reclaimable(v1, 0, 0), 300);
        let v2 = b"anon 5\nfile 900\ninactive_file 100\nactive_file 200\nshmem 600\n";
        assert_eq!(CgroupVersion::V2.limit_in_stat(v2), None);
        assert_eq!(CgroupVersion::V2.reclaimable(v2, 0, 0), 300);
        let unlimited = b"hierarchical_memory_limit 9223372036854771712\n";
        assert_eq!(CgroupVersion::V1.limit_in_stat(unlimited), None);
        assert_eq!(CgroupVersion::V1.reclaimable(b"", 0, 0), 0);
        let most = format!("inactive_file {0}\nactive_file {0}\n", u64::MAX);
        assert_eq!(CgroupVersion::V2.reclaimable(most.as_bytes(), 0, 0), u64::MAX);
    }

    #[test]
    fn reclaimable_slab_is_subtracted() {
        let v2 =
            b"anon 800000\nfile 4096\nkernel 240000000\nkernel_stack 65536\npagetables 131072\n\
                   percpu 7\nsock 5\nvmalloc 6\nshmem 9\nfile_mapped 1\ninactive_file 4000\n\
                   active_file 96\nunevictable 11\nslab_reclaimable 230000000\n\
                   slab_unreclaimable 300000\nslab 230300000\n";
        assert_eq!(CgroupVersion::V2.reclaimable(v2, 0, 0), 230_004_096);
        // Only version 1 uses the kernel memory and the slab of the machine.
        assert_eq!(CgroupVersion::V2.reclaimable(v2, 99, 99), 230_004_096);
        let v1 = b"total_inactive_file 4000\ntotal_active_file 96\nslab_reclaimable 7\n";
        for (kernel, machine, expected) in [
            (500, 900, 500),
            (900, 500, 500),
            (900, 0, 0),
            (0, 900, 0),
            (u64::MAX, u64::MAX, u64::MAX),
        ] {
            let reclaimable = CgroupVersion::V1.reclaimable(v1, kernel, machine);
            assert_eq!(reclaimable, expected.saturating_add(4096), "{kernel} {machine}");
        }
    }

    #[test]
    fn huge_pages_are_not_available() {
        let meminfo =
            b"MemTotal:  8000 kB\nSReclaimable: 70 kB\nSUnreclaim: 9 kB\nHugetlb: 6000 kB\n";
        let machine = MachineMemory { total: 2000 * 1024, reclaimable_slab: 70 * 1024 };
        assert_eq!(MachineMemory::parse(meminfo), Some(machine));
        let bare = MachineMemory { total: 8000 * 1024, reclaimable_slab: 0 };
        assert_eq!(MachineMemory::parse(b"MemTotal: 8000 kB\n"), Some(bare));
        assert_eq!(MachineMemory::parse(b"SReclaimable: 70 kB\n"), None);
    }

    #[test]
    fn mount_with_the_most_ancestors_is_used() {
        let mounts = "\
30 23 0:26 /other /mnt/other rw - cgroup2 cgroup2 rw
31 23 0:26 /jobs/one /mnt/one rw - cgroup2 cgroup2 rw
32 23 0:26 /jobs /mnt/jobs rw - cgroup2 cgroup2 rw
";
        let expected = ["/mnt/jobs/one/in", "/mnt/jobs/one", "/mnt/jobs"];
        let found = find("0::/jobs/one/in\n", mounts).unwrap().1;
        assert_eq!(found, expected);
        assert_eq!(find("0::/elsewhere\n", mounts).unwrap().1, ["/mnt/other"]);
    }

    #[test]
    fn process_memory_excludes_file_pages() {
        let status = b"Name:\tRssAnon: 1 kB\xff\nVmRSS:\t    1760 kB\nRssAnon:\t     112 kB\n\
                       RssFile:\t    1600 kB\nRssShmem:\t      48 kB\n";
        assert_eq!(process_memory(status), Some(160 * 1024));
        assert_eq!(process_memory(b"Name:\tx\nVmRSS:\t    1760 kB\n"), Some(1760 * 1024));
        assert_eq!(process_memory(b"Name:\tx\n"), None);
    }

    #[test]
    fn field_is_found_by_its_whole_name() {
        let text = b"MemTotal:       24684168 kB\nMemTotalX: 1 kB\nodd: 1 MB\nbare\nlarge: \
                     18446744073709551615 kB\n";
        assert_eq!(field(text, "MemTotal"), Some(24_684_168 * 1024));
        for none in ["Mem", "odd", "bare", "large", "absent"] {
            assert_eq!(field(text, none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn parsers_do_not_panic(text in ".*", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Cgroup::parse(&text, &text));
            drop(Cgroup::parse(V1, &text));
            drop(Cgroup::parse(&text, V1_MOUNTS));
            parse_limit(&bytes);
            field(&bytes, "a");
            process_memory(&bytes);
            for version in [CgroupVersion::V1, CgroupVersion::V2] {
                version.limit_in_stat(&bytes);
                version.reclaimable(&bytes, 1, 1);
                MachineMemory::parse(&bytes);
            }
        }
    }

    proptest! {
        #[test]
        fn kernel_numbers_round_trip(value in any::<u64>(), space in "[ \t]{1,9}") {
            let text = format!("before {value}1\nname{space}{value}\nname 1\nlarge:{space}{value} kB\n");
            prop_assert_eq!(field(text.as_bytes(), "name"), Some(value));
            prop_assert_eq!(field(text.as_bytes(), "large"), value.checked_mul(1024));
            prop_assert_eq!(parse_number(format!("{value}\n").as_bytes()), Some(value));
        }

        #[test]
        fn mount_points_are_unescaped(point in "/[a-z \t\n\\\\0-4]{0,12}", group in "(/[a-z0-4 \\\\]{1,5}){0,3}") {
            let mut escaped = String::new();
            for letter in point.chars() {
                match letter {
                    ' ' | '\t' | '\n' | '\\' => escaped += &format!("\\{:03o}", u32::from(letter)),
                    plain => escaped.push(plain),
                }
            }
            let mounts = format!("30 23 0:26 / {escaped} rw - cgroup2 cgroup2 rw\n");
            let found = Cgroup::parse(&format!("0::{group}/\n"), &mounts).unwrap();
            prop_assert_eq!(&found.directories[0], &PathBuf::from(format!("{point}{group}")));
            prop_assert_eq!(found.directories.last(), Some(&PathBuf::from(point)));
            prop_assert_eq!(found.directories.len(), group.matches('/').count() + 1);
        }
    }
}
