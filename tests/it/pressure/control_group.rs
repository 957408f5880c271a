//! Control groups for tests that run a process in one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A control group with a memory limit, removed on drop.
pub(super) struct ControlGroup(pub(super) PathBuf);

impl ControlGroup {
    /// Creates a group. Returns `None` if this process may not, as in most containers.
    pub(super) fn create(limit: u64) -> Option<Self> {
        parents().iter().find_map(|(parent, file)| {
            let number = CREATED.fetch_add(1, Ordering::Relaxed);
            let name = format!("tower-kit-{}-{number}", std::process::id());
            let group = Self(parent.join(name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join(file), limit.to_string()).ok()?;
            let joins = group.command(Path::new("true")).output();
            joins.is_ok_and(|ran| ran.status.success()).then_some(group)
        })
    }

    /// Returns a command that runs `program` in the group.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        let join = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        command.args(["-c", join]).arg(&self.0).arg(program);
        command
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Fails if the group was not created. Processes in the group have ended by now.
        drop(fs::remove_dir(&self.0));
    }
}

/// Returns the directories that may allow a new group, with the name of the limit file: the root of
/// the hierarchy, and for a user other than root the parent of this process's group.
fn parents() -> Vec<(PathBuf, &'static str)> {
    let text = |name| fs::read_to_string(Path::new("/proc/self").join(name)).unwrap_or_default();
    let mut parents = Vec::new();
    for line in text("mountinfo").lines() {
        let words: Vec<_> = line.split(' ').collect();
        let mount = Path::new(words[4]);
        if line.contains(" - cgroup2 ") {
            parents.push((mount.to_owned(), "memory.max"));
            let own = text("cgroup");
            let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
            let beside = own.and_then(|own| Some(mount.join(own).parent()?.to_owned()));
            parents.extend(beside.map(|beside| (beside, "memory.max")));
        } else if line.contains(" - cgroup ") && words.last().unwrap().contains("memory") {
            parents.push((mount.to_owned(), "memory.limit_in_bytes"));
        }
    }
    parents
}

/// The number of groups so far, for unique names in one process.
static CREATED: AtomicU32 = AtomicU32::new(0);
