//! The mechanical guards over the sources: ARCHITECTURE.md, "The shape of a layer".

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::assert_none;

/// The parts of paths by which policies and parsers are known: they neither wait nor read a clock.
const PURE: [&str; 9] = [
    "/policy.rs",
    "/policy/",
    "/headers/",
    "/key/",
    "/entry/",
    "/structured.rs",
    "/vary.rs",
    "/vary_value.rs",
    "/cgroup.rs",
];

#[test]
fn policies_neither_wait_nor_read_the_clock() {
    let pure = module_files().into_iter().filter(|file| is_pure(&file.path));
    let all = pure.flat_map(|file| waiting_faults(&file.path, &file.text));
    assert_none(&all.collect::<Vec<_>>());
}

#[test]
fn mod_files_have_no_code() {
    let mods = module_files().into_iter().filter(|file| file.path.ends_with("mod.rs"));
    let all = mods.flat_map(|file| code_faults(&file.path, &file.text));
    assert_none(&all.collect::<Vec<_>>());
}

#[test]
fn guards_find_the_modules() {
    let files = module_files();
    for module in ["latency", "limit", "security_headers"] {
        for name in ["mod", "layer", "service", "policy"] {
            let found = files.iter().any(|file| file.module == module && file.name == name);
            assert!(found, "src/{module}/{name}.rs was not looked at");
        }
    }
}

#[test]
fn waiting_and_clocks_are_named_with_their_lines() {
    let bad = "\
//! Never async, and no .await; now() is an argument.
fn fine(asynchronous: bool, now: Instant) { known() }
pub(super) async fn one() {}
fn two() { other.await; }
fn three() { let at = Instant::now(); }
fn more() { at.unwrap_or_else(Instant::now); }
fn four() { /* async */ let awaited = text; } // now()
#[cfg(test)]
mod tests { fn clock() { Instant::now(); } }
";
    let faults = waiting_faults("src/limit/policy.rs", bad);
    let starts: Vec<_> = faults.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
    assert_eq!(starts, [3, 4, 5, 6].map(|line| format!("src/limit/policy.rs:{line}")));
}

#[test]
fn code_in_a_mod_file_is_named_with_its_line() {
    let fine = "\
//! Docs.

// Why.
#[cfg(feature = \"x\")]
mod body;
pub mod store;
pub use body::RequestBody;
pub use policy::{
    InvalidMediaType, Reason,
    Refusal,
};
";
    assert_eq!(code_faults("src/limit/mod.rs", fine), Vec::<String>::new());
    let bad = format!("{fine}use std::fmt;\nconst A: u8 = 1;\nmod inline {{\n}}\n");
    let faults = code_faults("src/limit/mod.rs", &bad);
    let starts: Vec<_> = faults.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
    let expected = [12, 13, 14, 15].map(|line| format!("src/limit/mod.rs:{line}"));
    assert_eq!(starts, expected);
}

struct Source {
    /// The path from the root of the package.
    path: String,
    module: String,
    /// The name without its ending, or the name of the folder.
    name: String,
    text: String,
}

/// Every file below `src`.
fn source_files() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join("src"), &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let inside: Vec<_> = path.strip_prefix(root).unwrap().iter().collect();
        let inside: Vec<_> = inside.into_iter().map(|part| part.to_str().unwrap()).collect();
        let (module, name) = match inside[..] {
            [_, module, name, ..] => (module, name.trim_end_matches(".rs")),
            _ => ("", inside[1].trim_end_matches(".rs")),
        };
        Source {
            path: inside.join("/"),
            module: module.to_owned(),
            name: name.to_owned(),
            text: fs::read_to_string(&path).unwrap(),
        }
    };
    paths.into_iter().map(read).collect()
}

/// The files of modules.
fn module_files() -> Vec<Source> {
    source_files().into_iter().filter(|file| !file.module.is_empty()).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else {
            into.push(path);
        }
    }
}

fn is_pure(path: &str) -> bool {
    PURE.iter().any(|part| path.contains(part))
}

fn waiting_faults(path: &str, text: &str) -> Vec<String> {
    let lines = without_tests(text).map(without_comment).zip(1..);
    let faults = lines.filter_map(|(line, number)| {
        let words: Vec<_> = line
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .filter(|w| !w.is_empty())
            .collect();
        let found = if words.contains(&"async") {
            "async"
        } else if words.contains(&"await") {
            ".await"
        } else if line.contains("::now") || words.contains(&"now") && line.contains("now()") {
            "now()"
        } else {
            return None;
        };
        Some(format!("{path}:{number}: `{found}` in a policy or a parser; time is an argument"))
    });
    faults.collect()
}

fn code_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut in_use = false;
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        let declares =
            (line.starts_with("mod ") || line.starts_with("pub mod ")) && line.ends_with(';');
        let exports = in_use
            || line.starts_with("pub use ")
            || line.starts_with("pub(super) use ")
            || line.starts_with("pub(crate) use ");
        if exports {
            in_use = !line.ends_with(';');
        }
        let declares = declares || line.starts_with("pub(crate) mod ");
        let silent = line.is_empty() || line.starts_with("//") || line.starts_with("#[");
        if !(declares || exports || silent) {
            faults.push(format!(
                "{path}:{number}: code in a mod.rs, which has docs, `mod` and `pub use` only"
            ));
        }
    }
    faults
}

fn without_tests(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]")
}

/// Good enough for our sources: `//` to the end of the line, and `/* .. */` within one.
fn without_comment(line: &str) -> String {
    let line = line.split("//").next().unwrap_or_default();
    match (line.find("/*"), line.rfind("*/")) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &line[..from], &line[to + 2..]),
        _ => line.to_owned(),
    }
}
