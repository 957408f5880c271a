//! The corpora of the fuzz targets, each file through what its target checks.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use arbitrary::{Arbitrary, Unstructured};

#[path = "../../fuzz/cases/cache_entry.rs"]
mod cache_entry;
#[path = "../../fuzz/cases/cache_heads.rs"]
mod cache_heads;
#[path = "../../fuzz/cases/cache_keys.rs"]
mod cache_keys;
#[path = "../../fuzz/cases/compress_dictionaries.rs"]
mod compress_dictionaries;
#[path = "../../fuzz/cases/compress_frames.rs"]
mod compress_frames;
#[path = "../../fuzz/cases/compress_heads.rs"]
mod compress_heads;
#[path = "../../fuzz/cases/config_texts.rs"]
mod config_texts;
#[path = "../../fuzz/cases/csp_text.rs"]
mod csp_text;
#[path = "../../fuzz/cases/limit_heads.rs"]
mod limit_heads;
#[path = "../../fuzz/cases/stack_heads.rs"]
mod stack_heads;

/// Makes a target's input of a file's bytes, as its `main` does, and checks it; false where the
/// bytes make none.
type Case = fn(&[u8]) -> bool;

const CASES: [(&str, Case); 10] = [
    ("cache_entry", |bytes| with(bytes, cache_entry::check)),
    ("cache_heads", |bytes| with(bytes, |input| cache_heads::check(&input))),
    ("cache_keys", |bytes| with(bytes, |input| cache_keys::check(&input))),
    ("compress_dictionaries", |bytes| with(bytes, |input| compress_dictionaries::check(&input))),
    ("compress_frames", |bytes| with(bytes, |input| compress_frames::check(&input))),
    ("compress_heads", |bytes| with(bytes, |input| compress_heads::check(&input))),
    ("config_texts", |bytes| with(bytes, config_texts::check)),
    ("csp_text", |bytes| with(bytes, csp_text::check)),
    ("limit_heads", |bytes| with(bytes, |input| limit_heads::check(&input))),
    ("stack_heads", |bytes| with(bytes, |input| stack_heads::check(&input))),
];

fn with<'a, T: Arbitrary<'a>>(bytes: &'a [u8], check: impl FnOnce(T)) -> bool {
    let input = T::arbitrary_take_rest(Unstructured::new(bytes));
    input.map(check).is_ok()
}

#[test]
fn every_file_of_the_corpora_passes() {
    let mut failed = Vec::new();
    for (target, case) in CASES {
        let files = files(&folder("corpus").join(target));
        let mut inputs = 0;
        for file in &files {
            let bytes = fs::read(file).unwrap();
            match catch_unwind(|| case(&bytes)) {
                Ok(input) => inputs += usize::from(input),
                Err(_) => failed.push(file.clone()),
            }
        }
        assert!(2 * inputs >= files.len().max(1), "{target}: {inputs} inputs of {files:?}");
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn every_fuzz_target_has_its_case_and_its_corpus() {
    let names = |path: &str| -> Vec<String> {
        let stem = |file: PathBuf| file.file_stem().unwrap().to_str().unwrap().to_owned();
        files(&folder(path)).into_iter().map(stem).collect()
    };
    let cases = CASES.map(|(target, _)| target);
    for path in ["fuzz_targets", "cases", "corpus"] {
        assert_eq!(names(path), cases, "fuzz/{path}");
    }
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    let targets =
        manifest.split("[[bin]]\nname = \"").skip(1).map(|it| it.split('"').next().unwrap());
    assert_eq!(targets.collect::<Vec<_>>(), cases);
}

fn folder(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(path)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}
