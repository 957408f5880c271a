//! The shape of the README. Its `main` is compiled as a doctest.

const README: &str = include_str!("../../README.md");

#[test]
fn readme_is_short_before_its_measurements() {
    let words = before_measured().split_whitespace().count();
    assert!(words < 900, "{words} words");
}

#[test]
fn readme_opens_with_the_words_of_a_search() {
    let (first_screen, _) = README.split_once("\n## ").unwrap();
    let first_screen = first_screen.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in [
        "cache stampede",
        "request coalescing",
        "brotli",
        "TTL",
        "body limit",
        "load shedding",
        "helmet",
        "Prometheus",
    ] {
        assert!(first_screen.contains(word), "{word}");
    }
}

#[test]
fn readme_adds_each_crate_that_its_main_names() {
    let blocks = |language: &str| -> Vec<&str> {
        let fence = format!("```{language}\n");
        let after = before_measured().split(fence.as_str()).skip(1);
        after.map(|rest| rest.split("```").next().unwrap()).collect()
    };
    let [main] = blocks("rust,no_run")[..] else { panic!("there is one program") };
    assert!(main.contains("fn main()") && !main.contains("\n# "), "it is to be pasted as it is");
    let shell = blocks("sh").concat();
    let added: Vec<_> = shell
        .lines()
        .filter_map(|line| line.strip_prefix("cargo add ")?.split(' ').next())
        .map(|name| name.replace('-', "_"))
        .collect();
    let used = main.lines().filter_map(|line| line.strip_prefix("use ")?.split("::").next());
    let used: Vec<_> = used.filter(|name| *name != "std").collect();
    assert!(used.len() > 3, "{used:?}");
    for name in used {
        assert!(added.iter().any(|added| added == name), "`cargo add` of {name} is missing");
    }
}

/// The part that is there to be read at once.
fn before_measured() -> &'static str {
    README.split_once("\n## Measured\n").unwrap().0
}
