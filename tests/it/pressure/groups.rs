//! Readings in a real control group with a memory limit, if one can be created. The test program runs
//! itself in the group.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tower_kit::MIB;
use tower_kit::pressure::PressureLayer;

use super::control_group::ControlGroup;
use super::say;

/// The environment variable that marks the process in the group.
const IN_GROUP: &str = "TOWER_KIT_IN_GROUP";

const LIMIT: u64 = 256 * MIB;

#[test]
fn names_of_absent_files_do_not_count() {
    let Some(read) = in_group("names_of_absent_files_do_not_count") else { return };
    let used = read();
    let folder = scratch("names");
    let usage = &files_of_group()["usage"];
    let usage = || fs::read_to_string(usage).unwrap().trim().parse::<u64>().unwrap();
    // The kernel caches each name, and drops some as the group comes near its limit.
    let mut names = (0..3_000_000).map(|name| format!("a-name-of-which-there-is-no-file-{name}"));
    while usage() < 128 * MIB {
        let some: Vec<_> = names.by_ref().take(4096).collect();
        assert!(!some.is_empty(), "the kernel caches too few names: {} bytes", usage());
        assert!(some.iter().all(|name| !folder.join(name).exists()));
    }
    let usage = usage();
    let now = read();
    assert!(now < used + 8 * MIB, "{used} bytes, then {now} of {usage} bytes");
}

#[test]
fn cached_files_do_not_count_but_shmem_does() {
    let Some(read) = in_group("cached_files_do_not_count_but_shmem_does") else { return };
    let used = read();
    let file = scratch("file").join("file");
    write(&file, 96 * MIB);
    let cached = read();
    fs::remove_file(file).unwrap();
    assert!(cached < used + 16 * MIB, "{used}, and {cached} bytes with a cached file");
    let memory = Path::new("/dev/shm").join(format!("tower-kit-{}", std::process::id()));
    if !memory.parent().unwrap().exists() {
        return;
    }
    write(&memory, 96 * MIB);
    let shared = read();
    fs::remove_file(memory).unwrap();
    assert!(shared >= used + 90 * MIB, "{used}, and {shared} bytes with a file in memory");
}

#[test]
fn changed_limit_applies() {
    let Some(read) = in_group("changed_limit_applies") else { return };
    read();
    let files = files_of_group();
    let lower = 128 * MIB;
    fs::write(&files["limit"], lower.to_string()).unwrap();
    let usage = PressureLayer::new().memory_limit(LIMIT).memory_usage().unwrap();
    assert_eq!(usage.limit(), lower);
}

/// Returns a function that reads the memory in use, if this process runs in the group. Otherwise runs
/// `test` in a group and returns `None`.
fn in_group(test: &str) -> Option<impl Fn() -> u64> {
    if std::env::var_os(IN_GROUP).is_some() {
        // The limit is low enough for the group to have the highest ratio.
        let layer = PressureLayer::new();
        return Some(move || {
            let usage = layer.memory_usage().unwrap();
            assert_eq!(usage.limit(), LIMIT, "{usage:?}");
            usage.used()
        });
    }
    let Some(group) = ControlGroup::create(LIMIT) else {
        say("SKIPPED: no control group with a memory limit can be created here");
        return None;
    };
    let own = std::env::current_exe().unwrap();
    let mut command: Command = group.command(&own);
    command.args(["--exact", &format!("pressure::groups::{test}")]).env(IN_GROUP, "1");
    let ran = command.output().unwrap();
    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && text.contains("1 passed"), "{text}");
    None
}

/// Returns the usage file and the limit file of this process's group.
fn files_of_group() -> BTreeMap<&'static str, PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let one = groups.lines().find_map(|line| line.split_once(":memory:"));
    let (kind, path) = match one {
        Some((_, path)) => ("rw,memory", path),
        None => ("cgroup2", groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap()),
    };
    let mount = mounts.lines().find(|line| line.contains(" - cgroup") && line.contains(kind));
    let mount = mount.unwrap().split(' ').nth(4).unwrap();
    let folder = Path::new(mount).join(path.trim_start_matches('/'));
    let names = if one.is_some() {
        [("usage", "memory.usage_in_bytes"), ("limit", "memory.limit_in_bytes")]
    } else {
        [("usage", "memory.current"), ("limit", "memory.max")]
    };
    names.into_iter().map(|(kind, name)| (kind, folder.join(name))).collect()
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn write(path: &Path, bytes: u64) {
    let mut file = File::create(path).unwrap();
    let chunk = vec![1; usize::try_from(MIB).unwrap()];
    for _ in 0..bytes / MIB {
        file.write_all(&chunk).unwrap();
    }
    // The kernel cannot reclaim dirty pages.
    file.sync_all().unwrap();
}
