//! What a process reads in a real control group with a limit of memory, where one can be made. This
//! test program runs itself in the group.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tower_kit::MIB;
use tower_kit::pressure::PressureLayer;

use super::control_group::ControlGroup;

/// Set in the process that runs in the group.
const IN_GROUP: &str = "TOWER_KIT_IN_GROUP";

const LIMIT: u64 = 256 * MIB;

#[test]
fn names_of_absent_files_are_not_memory_in_use() {
    let Some(read) = in_group("names_of_absent_files_are_not_memory_in_use") else { return };
    let used = read();
    let folder = scratch("names");
    let usage = &files_of_group()["usage"];
    let usage = || fs::read_to_string(usage).unwrap().trim().parse::<u64>().unwrap();
    // The kernel remembers each name, and forgets some as the group comes near its limit.
    let mut names = (0..3_000_000).map(|name| format!("a-name-of-which-there-is-no-file-{name}"));
    while usage() < 128 * MIB {
        let some: Vec<_> = names.by_ref().take(4096).collect();
        assert!(!some.is_empty(), "the kernel remembers too few names: {} bytes", usage());
        assert!(some.iter().all(|name| !folder.join(name).exists()));
    }
    let usage = usage();
    let now = read();
    assert!(now < used + 8 * MIB, "{used} bytes, then {now} of {usage} bytes");
}

#[test]
fn cached_files_do_not_count_and_files_in_memory_do() {
    let Some(read) = in_group("cached_files_do_not_count_and_files_in_memory_do") else { return };
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
fn a_limit_is_seen_that_a_running_process_gets() {
    let Some(read) = in_group("a_limit_is_seen_that_a_running_process_gets") else { return };
    read();
    let files = files_of_group();
    let lower = 128 * MIB;
    fs::write(&files["limit"], lower.to_string()).unwrap();
    let reading = PressureLayer::new().limit(LIMIT).memory_usage().unwrap();
    assert_eq!(reading.limit(), lower);
}

/// In the group, returns a function that reads how much memory is in use. Outside of it, runs the
/// test in a group and returns `None`.
fn in_group(test: &str) -> Option<impl Fn() -> u64> {
    if std::env::var_os(IN_GROUP).is_some() {
        // Its limit is so low that the group's reading is the nearest to its limit.
        let layer = PressureLayer::new();
        return Some(move || {
            let reading = layer.memory_usage().unwrap();
            assert_eq!(reading.limit(), LIMIT, "{reading:?}");
            reading.used()
        });
    }
    let Some(group) = ControlGroup::make(LIMIT) else {
        say("SKIPPED: no control group with a limit of memory can be made here");
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

/// The files of this process's group, by what they are.
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
    // Dirty pages are given back once they are written.
    file.sync_all().unwrap();
}

#[expect(clippy::explicit_write, reason = "what tests print that pass is not shown")]
fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").unwrap();
}
