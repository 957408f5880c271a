//! Control groups of the kernel's, for tests that run a process in one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A control group with a limit of memory, which is removed when this is dropped.
pub(crate) struct ControlGroup(pub(crate) PathBuf);

impl ControlGroup {
    /// `None` where this process may not make one, as in most containers.
    pub(crate) fn make(limit: u64) -> Option<Self> {
        let places = places();
        places.iter().find_map(|(parent, file)| {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let name = format!("tower-kit-{}-{number}", std::process::id());
            let group = Self(parent.join(name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join(file), limit.to_string()).ok()?;
            let joins = group.command(Path::new("true")).output();
            joins.is_ok_and(|ran| ran.status.success()).then_some(group)
        })
    }

    /// Returns a command that runs `program` in the group.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        let join = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        command.args(["-c", join]).arg(&self.0).arg(program);
        command
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // What ran in it has ended. One that could not be made is not there.
        drop(fs::remove_dir(&self.0));
    }
}

/// Where a group could be made, and its file for the limit: beside all others, and beside this
/// process's own, which is where one may be made that is not root's.
fn places() -> Vec<(PathBuf, &'static str)> {
    let text = |name| fs::read_to_string(Path::new("/proc/self").join(name)).unwrap_or_default();
    let mut places = Vec::new();
    for line in text("mountinfo").lines() {
        let words: Vec<_> = line.split(' ').collect();
        let mount = Path::new(words[4]);
        if line.contains(" - cgroup2 ") {
            places.push((mount.to_owned(), "memory.max"));
            let own = text("cgroup");
            let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
            let beside = own.and_then(|own| Some(mount.join(own).parent()?.to_owned()));
            places.extend(beside.map(|beside| (beside, "memory.max")));
        } else if line.contains(" - cgroup ") && words.last().unwrap().contains("memory") {
            places.push((mount.to_owned(), "memory.limit_in_bytes"));
        }
    }
    places
}

/// Tests of one process run at the same time.
static MADE: AtomicU32 = AtomicU32::new(0);
