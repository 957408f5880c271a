//! What the kernel's files say, as they are in memory: nothing here opens one.

use std::path::PathBuf;

/// Where a process's control group for memory is, and how its files are called.
#[derive(Debug, PartialEq)]
pub(super) struct Group {
    pub(super) version: Version,
    /// The group's folder and those above it, up to where the hierarchy is mounted.
    pub(super) folders: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Version {
    One,
    Two,
}

/// The machine's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Machine {
    /// Memory that processes can use. Pages reserved for `hugetlbfs` are not part of it: they are
    /// neither in a process's `RssAnon` nor free for anything else.
    pub(super) total: u64,
    /// Slab that the kernel can take back, of all control groups together.
    pub(super) reclaimable_slab: u64,
}

impl Group {
    /// From `/proc/self/cgroup` and `/proc/self/mountinfo`.
    pub(super) fn find(cgroup: &str, mountinfo: &str) -> Option<Self> {
        let (version, path) = place(cgroup)?;
        let mounts: Vec<_> = mountinfo.lines().filter_map(|line| mount(line, version)).collect();
        // A hierarchy can be mounted more than once, from different roots. The mount with the
        // shortest root that contains the group shows the most of the groups above it.
        let containing =
            mounts.iter().filter_map(|(root, mount)| Some((below(path, root)?, mount)));
        let shown = containing.max_by_key(|(inside, _)| inside.len());
        // The path may not be seen from here at all: a container may have neither a namespace of
        // its own nor the folders above its group, which is then what is mounted.
        let (inside, mount) = shown.or_else(|| Some(("", &mounts.first()?.1)))?;
        let names: Vec<_> = inside.split('/').filter(|name| !name.is_empty()).collect();
        // Outside of the namespace: /../elsewhere.
        let names = if names.contains(&"..") { &[][..] } else { &names[..] };
        let folder = |depth| {
            let mut folder = PathBuf::from(mount);
            folder.extend(&names[..depth]);
            folder
        };
        Some(Self { version, folders: (0..=names.len()).rev().map(folder).collect() })
    }
}

impl Version {
    /// The files that may have a limit each.
    pub(super) fn limits(self) -> &'static [&'static str] {
        match self {
            // Its limit is in its statistics, with those of the groups above.
            Self::One => &[],
            Self::Two => &["memory.max", "memory.high"],
        }
    }

    pub(super) fn usage(self) -> &'static str {
        match self {
            Self::One => "memory.usage_in_bytes",
            Self::Two => "memory.current",
        }
    }

    /// The limit in the statistics, where that is where it is.
    pub(super) fn limit_in(self, statistics: &[u8]) -> Option<u64> {
        match self {
            Self::One => field(statistics, "hierarchical_memory_limit").filter(is_limit),
            Self::Two => None,
        }
    }

    /// Returns how much of the usage the kernel takes back before it kills: pages of files, and
    /// slab of directory entries and inodes. Pages in `shmem` and tmpfs have no file to go back to,
    /// and locked pages stay; neither is on these lists.
    ///
    /// `kernel` is the kernel memory of a group of version 1, whose statistics do not say how much
    /// of it is slab. At most `machine_slab`, the reclaimable slab of the whole machine, can be.
    /// Assuming that all of it is errs towards admitting requests. The opposite would shed requests
    /// for as long as the kernel caches names, which any client that asks for absent files can fill.
    pub(super) fn reclaimable_in(self, statistics: &[u8], kernel: u64, machine_slab: u64) -> u64 {
        let (names, slab) = match self {
            Self::One => (["total_inactive_file", "total_active_file"], kernel.min(machine_slab)),
            Self::Two => (
                ["inactive_file", "active_file"],
                field(statistics, "slab_reclaimable").unwrap_or_default(),
            ),
        };
        names.iter().filter_map(|name| field(statistics, name)).fold(slab, u64::saturating_add)
    }

    /// The file with a group's kernel memory, where the reclaimable part of it has to be estimated.
    pub(super) fn kernel(self) -> Option<&'static str> {
        (self == Self::One).then_some("memory.kmem.usage_in_bytes")
    }
}

impl Machine {
    /// Reads `/proc/meminfo`.
    pub(super) fn of(meminfo: &[u8]) -> Option<Self> {
        let reserved = field(meminfo, "Hugetlb").unwrap_or_default();
        Some(Self {
            total: field(meminfo, "MemTotal")?.saturating_sub(reserved),
            reclaimable_slab: field(meminfo, "SReclaimable").unwrap_or_default(),
        })
    }
}

/// A limit as a file of its own: none is `max`.
pub(super) fn limit(text: &[u8]) -> Option<u64> {
    number(text).filter(is_limit)
}

/// A number, and nothing else.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// The number behind a name: `active_file 4096`, `RssAnon:     4096 kB`.
pub(super) fn field(text: &[u8], name: &str) -> Option<u64> {
    let value = text.split(|&byte| byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(name.as_bytes())?;
        rest.first().is_some_and(|byte| b": \t".contains(byte)).then_some(rest)
    })?;
    let mut words = value.split(|byte| b": \t".contains(byte)).filter(|word| !word.is_empty());
    let number = number(words.next()?)?;
    match words.next() {
        None => Some(number),
        Some(b"kB") => number.checked_mul(1024),
        Some(_) => None,
    }
}

/// What a process takes, by its `/proc/self/status`: what is not of files, whose pages the kernel
/// takes back, or all of it where the kernel does not tell them apart.
pub(super) fn resident(status: &[u8]) -> Option<u64> {
    let apart = field(status, "RssAnon").zip(field(status, "RssShmem"));
    match apart {
        Some((anonymous, shared)) => Some(anonymous.saturating_add(shared)),
        None => field(status, "VmRSS"),
    }
}

/// `0::/a/b`, or of version 1 `4:memory:/a/b`, which wins where there are both: then the other has no
/// say in memory.
fn place(cgroup: &str) -> Option<(Version, &str)> {
    let mut found = None;
    for line in cgroup.lines() {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next(), parts.next());
        let Some((controllers, path)) = controllers.zip(path) else { continue };
        if controllers.split(',').any(|name| name == "memory") {
            return Some((Version::One, path));
        }
        if id == "0" && controllers.is_empty() {
            found = Some((Version::Two, path));
        }
    }
    found
}

/// Returns the part of a group's path that is below `root`.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let inside = path.strip_prefix(root.trim_end_matches('/'))?;
    (inside.is_empty() || inside.starts_with('/')).then_some(inside)
}

/// The root within the hierarchy and the point where it is mounted, if that is the one of memory:
/// `35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory`.
fn mount(line: &str, version: Version) -> Option<(String, String)> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let is_ours = match (after.next()?, version) {
        ("cgroup2", Version::Two) => true,
        ("cgroup", Version::One) => after.nth(1)?.split(',').any(|option| option == "memory"),
        _ => false,
    };
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    is_ours.then(|| (unescape(root), unescape(point)))
}

/// Spaces, tabs, line breaks and backslashes are three octal digits there.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .into_iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// What is more than any machine has is how version 1 says that there is none.
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

    fn find(cgroup: &str, mountinfo: &str) -> Option<(Version, Vec<String>)> {
        let group = Group::find(cgroup, mountinfo)?;
        let folders = group.folders.iter().map(|folder| folder.to_str().unwrap().to_owned());
        Some((group.version, folders.collect()))
    }

    #[test]
    fn a_group_is_found_with_those_above_it() {
        let in_container = "30 23 0:26 /docker/7f /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let in_old_container =
            "35 31 0:32 /docker/7f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let elsewhere = "30 23 0:26 / /my\\040groups\\134x rw - cgroup2 none rw\n";
        let (one, two) = (Version::One, Version::Two);
        let v1 = "/sys/fs/cgroup/memory";
        let v2 = "/sys/fs/cgroup";
        let table: &[(&str, &str, Version, &[&str])] = &[
            (
                V1,
                V1_MOUNTS,
                one,
                &["/sys/fs/cgroup/memory/jobs/one", "/sys/fs/cgroup/memory/jobs", v1],
            ),
            ("4:memory:/\n", V1_MOUNTS, one, &[v1]),
            ("4:cpu,memory:/", V1_MOUNTS, one, &[v1]),
            // In a namespace of its own, and not.
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
        for (cgroup, mountinfo, version, folders) in table {
            let folders = folders.iter().map(|folder| (*folder).to_owned()).collect();
            assert_eq!(find(cgroup, mountinfo), Some((*version, folders)), "{cgroup}");
        }
    }

    #[test]
    fn there_may_be_no_group() {
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
    fn a_limit_is_a_number_that_a_machine_could_have() {
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
            assert_eq!(limit(text), *expected, "{text:?}");
        }
    }

    #[test]
    fn statistics_tell_what_is_of_files_and_what_the_limit_is() {
        let v1 = b"cache 9\ninactive_file 1\nactive_file 2\nhierarchical_memory_limit 536870912\n\
                   total_cache 900\ntotal_inactive_file 100\ntotal_active_file 200\n";
        assert_eq!(Version::One.limit_in(v1), Some(536_870_912));
        assert_eq!(Version::One.reclaimable_in(v1, 0, 0), 300);
        let v2 = b"anon 5\nfile 900\ninactive_file 100\nactive_file 200\nshmem 600\n";
        assert_eq!(Version::Two.limit_in(v2), None);
        assert_eq!(Version::Two.reclaimable_in(v2, 0, 0), 300);
        let unlimited = b"hierarchical_memory_limit 9223372036854771712\n";
        assert_eq!(Version::One.limit_in(unlimited), None);
        assert_eq!(Version::One.reclaimable_in(b"", 0, 0), 0);
        let most = format!("inactive_file {0}\nactive_file {0}\n", u64::MAX);
        assert_eq!(Version::Two.reclaimable_in(most.as_bytes(), 0, 0), u64::MAX);
    }

    #[test]
    fn reclaimable_slab_is_given_back() {
        let v2 =
            b"anon 800000\nfile 4096\nkernel 240000000\nkernel_stack 65536\npagetables 131072\n\
                   percpu 7\nsock 5\nvmalloc 6\nshmem 9\nfile_mapped 1\ninactive_file 4000\n\
                   active_file 96\nunevictable 11\nslab_reclaimable 230000000\n\
                   slab_unreclaimable 300000\nslab 230300000\n";
        assert_eq!(Version::Two.reclaimable_in(v2, 0, 0), 230_004_096);
        // The numbers of version 1 are the kernel memory and the machine's slab.
        assert_eq!(Version::Two.reclaimable_in(v2, 99, 99), 230_004_096);
        let v1 = b"total_inactive_file 4000\ntotal_active_file 96\nslab_reclaimable 7\n";
        for (kernel, machine, expected) in [
            (500, 900, 500),
            (900, 500, 500),
            (900, 0, 0),
            (0, 900, 0),
            (u64::MAX, u64::MAX, u64::MAX),
        ] {
            let reclaimable = Version::One.reclaimable_in(v1, kernel, machine);
            assert_eq!(reclaimable, expected.saturating_add(4096), "{kernel} {machine}");
        }
    }

    #[test]
    fn huge_pages_are_not_memory_for_all() {
        let meminfo =
            b"MemTotal:  8000 kB\nSReclaimable: 70 kB\nSUnreclaim: 9 kB\nHugetlb: 6000 kB\n";
        let machine = Machine { total: 2000 * 1024, reclaimable_slab: 70 * 1024 };
        assert_eq!(Machine::of(meminfo), Some(machine));
        let bare = Machine { total: 8000 * 1024, reclaimable_slab: 0 };
        assert_eq!(Machine::of(b"MemTotal: 8000 kB\n"), Some(bare));
        assert_eq!(Machine::of(b"SReclaimable: 70 kB\n"), None);
    }

    #[test]
    fn the_mount_that_contains_the_group_is_taken() {
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
    fn a_process_takes_what_is_not_of_files() {
        let status = b"Name:\tRssAnon: 1 kB\xff\nVmRSS:\t    1760 kB\nRssAnon:\t     112 kB\n\
                       RssFile:\t    1600 kB\nRssShmem:\t      48 kB\n";
        assert_eq!(resident(status), Some(160 * 1024));
        assert_eq!(resident(b"Name:\tx\nVmRSS:\t    1760 kB\n"), Some(1760 * 1024));
        assert_eq!(resident(b"Name:\tx\n"), None);
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = b"MemTotal:       24684168 kB\nMemTotalX: 1 kB\nodd: 1 MB\nbare\nlarge: \
                     18446744073709551615 kB\n";
        assert_eq!(field(text, "MemTotal"), Some(24_684_168 * 1024));
        for none in ["Mem", "odd", "bare", "large", "absent"] {
            assert_eq!(field(text, none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".*", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Group::find(&text, &text));
            drop(Group::find(V1, &text));
            drop(Group::find(&text, V1_MOUNTS));
            limit(&bytes);
            field(&bytes, "a");
            resident(&bytes);
            for version in [Version::One, Version::Two] {
                version.limit_in(&bytes);
                version.reclaimable_in(&bytes, 1, 1);
                Machine::of(&bytes);
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_the_kernel_writes_them(value in any::<u64>(), space in "[ \t]{1,9}") {
            let text = format!("before {value}1\nname{space}{value}\nname 1\nlarge:{space}{value} kB\n");
            prop_assert_eq!(field(text.as_bytes(), "name"), Some(value));
            prop_assert_eq!(field(text.as_bytes(), "large"), value.checked_mul(1024));
            prop_assert_eq!(number(format!("{value}\n").as_bytes()), Some(value));
        }

        #[test]
        fn a_mount_is_found_whatever_its_name(point in "/[a-z \t\n\\\\0-4]{0,12}", group in "(/[a-z0-4 \\\\]{1,5}){0,3}") {
            let mut escaped = String::new();
            for letter in point.chars() {
                match letter {
                    ' ' | '\t' | '\n' | '\\' => escaped += &format!("\\{:03o}", u32::from(letter)),
                    plain => escaped.push(plain),
                }
            }
            let mounts = format!("30 23 0:26 / {escaped} rw - cgroup2 cgroup2 rw\n");
            let found = Group::find(&format!("0::{group}/\n"), &mounts).unwrap();
            prop_assert_eq!(&found.folders[0], &PathBuf::from(format!("{point}{group}")));
            prop_assert_eq!(found.folders.last(), Some(&PathBuf::from(point)));
            prop_assert_eq!(found.folders.len(), group.matches('/').count() + 1);
        }
    }
}
