//! Properties that hold for generated policies and texts.

use content_security_policy::{CspList, PolicyDisposition, PolicySource};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Directive, Endpoint, Source};

use super::{Action, Handler, Page, actions, csp, governs, meant};
use crate::directives::DIRECTIVES;

/// A change to a policy.
#[derive(Clone, Debug)]
enum Edit {
    Set(Directive, Vec<String>),
    Append(Directive, Vec<String>),
    Remove(Directive),
    Merge(Csp),
}

/// Directives whose sources apply independently of each other.
const FETCH: [Directive; 12] = [
    Directive::DEFAULT_SRC,
    Directive::SCRIPT_SRC,
    Directive::SCRIPT_SRC_ELEM,
    Directive::SCRIPT_SRC_ATTR,
    Directive::STYLE_SRC,
    Directive::STYLE_SRC_ELEM,
    Directive::STYLE_SRC_ATTR,
    Directive::CHILD_SRC,
    Directive::FRAME_SRC,
    Directive::WORKER_SRC,
    Directive::IMG_SRC,
    Directive::CONNECT_SRC,
];
const SOURCES: [&str; 10] = [
    "'self'",
    "https://a.example",
    "https://b.example",
    "http://c.example",
    "https:",
    "data:",
    "*",
    "'unsafe-inline'",
    "'unsafe-eval'",
    "'wasm-unsafe-eval'",
];

/// Generates words that a directive may have together.
fn words(directive: Directive) -> BoxedStrategy<Vec<String>> {
    let some = |words: &[&str], least: usize| {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        let most = words.len();
        subsequence(words, least..=most).prop_shuffle().boxed()
    };
    match directive {
        Directive::REPORT_TO => Just(vec!["reports".to_owned()]).boxed(),
        Directive::REPORT_URI => some(&["/reports", "https://r.example/a?b=c%2Cd"], 1),
        Directive::REQUIRE_TRUSTED_TYPES_FOR => some(&["'script'"], 1),
        Directive::SANDBOX => some(&["allow-forms", "allow-scripts", "allow-same-origin"], 0),
        Directive::TRUSTED_TYPES => some(&["one", "a#=_/@.%-", "*", "'allow-duplicates'"], 0),
        Directive::UPGRADE_INSECURE_REQUESTS => some(&[], 0),
        Directive::WEBRTC => Just(vec!["'block'".to_owned()]).boxed(),
        Directive::FRAME_ANCESTORS => prop_oneof![
            1 => some(&["'none'"], 1),
            4 => some(&["'self'", "https:", "*.a.example", "https://b.example:8443"], 1),
        ]
        .boxed(),
        _ => prop_oneof![
            1 => some(&["'none'"], 1),
            9 => prop::collection::hash_set(source(), 1..5).prop_map(Vec::from_iter),
        ]
        .boxed(),
    }
}

fn source() -> impl Strategy<Value = String> {
    let keywords = [
        "'self'",
        "'nonce'",
        "'unsafe-inline'",
        "'unsafe-eval'",
        "'unsafe-hashes'",
        "'strict-dynamic'",
        "'report-sample'",
        "'wasm-unsafe-eval'",
        "*",
        "data:",
        "wss:",
        "web+x.y:",
    ];
    prop_oneof![
        select(keywords.to_vec()).prop_map(str::to_owned),
        any::<[u8; 32]>().prop_map(|digest| Source::sha256(digest).to_string()),
        any::<([u8; 32], [u8; 32])>().prop_map(|digest| {
            let digest = [digest.0, digest.1].concat();
            Source::sha512(digest.try_into().unwrap()).to_string()
        }),
        "((https|wss|x)://)?(\\*\\.)?x[a-zA-Z0-9-]{0,5}(\\.[a-z0-9-]{1,5}){0,2}(:([0-9]{1,4}|\\*))?(/[a-z0-9._~!$&'()*+=:@%-]{1,6}){0,3}",
    ]
}

fn policy() -> impl Strategy<Value = Csp> {
    let directives = subsequence(DIRECTIVES.to_vec(), 1..7).prop_shuffle();
    let valued = directives.prop_flat_map(|directives| {
        let one = |directive| (Just(directive), words(directive));
        directives.into_iter().map(one).collect::<Vec<_>>()
    });
    valued.prop_map(|list| {
        list.into_iter().fold(Csp::new(), |policy, (name, words)| policy.set(name, words))
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    let of =
        || select(&DIRECTIVES[..]).prop_flat_map(|directive| (Just(directive), words(directive)));
    let more = of().prop_filter("nothing is appended where 'none' is", |(_, words)| {
        !words.iter().any(|word| word == "'none'")
    });
    prop_oneof![
        of().prop_map(|(directive, words)| Edit::Set(directive, words)),
        more.prop_map(|(directive, words)| Edit::Append(directive, words)),
        select(&DIRECTIVES[..]).prop_map(Edit::Remove),
        policy().prop_map(Edit::Merge),
    ]
}

fn edited(policy: Csp, edit: Edit) -> Csp {
    match edit {
        Edit::Set(directive, words) => policy.set(directive, words),
        Edit::Append(directive, words) => policy.append(directive, words),
        Edit::Remove(directive) => policy.remove(directive),
        Edit::Merge(other) => policy.merge(&other),
    }
}

/// Generates a policy without nonces and hashes, so that each source applies whatever its neighbors.
fn fetch_policy() -> impl Strategy<Value = Csp> {
    let directives = subsequence(FETCH.to_vec(), 1..6).prop_shuffle();
    let words = prop_oneof![1 => Just(vec!["'none'"]), 3 => fetch_words()];
    let words = prop::collection::vec(words, FETCH.len());
    (directives, words).prop_map(|(directives, words)| {
        let one = |policy: Csp, (directive, words): (_, Vec<_>)| policy.set(directive, words);
        meant(directives.into_iter().zip(words).fold(Csp::new(), one))
    })
}

fn fetch_words() -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(SOURCES.to_vec(), 1..4)
}

fn with_reports(policy: Csp) -> SecurityHeadersLayer {
    let reports = Endpoint::new("reports", "/reports").unwrap();
    SecurityHeadersLayer::none().set(&reports).unwrap().set(policy).unwrap()
}

/// Returns `true` if a word may be sent as `sent`: the case of keywords and algorithms is ignored.
fn is_sent_as(directive: &str, given: &str, sent: &str, nonce: Option<&str>) -> bool {
    if directive == "report-uri" || !given.starts_with('\'') {
        return given == sent;
    }
    let is_nonce = given.eq_ignore_ascii_case("'nonce'")
        && nonce.is_some_and(|nonce| sent == format!("'nonce-{nonce}'"));
    let is_digest = given.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("'sha"));
    let is_exact = !is_digest || given.get(8..) == sent.get(8..);
    is_nonce || is_exact && given.eq_ignore_ascii_case(sent)
}

/// Generates words that an attacker might put into a policy.
fn hostile() -> impl Strategy<Value = String> {
    let nasty = [
        "",
        " ",
        ";",
        ",",
        "'",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\u{b}",
        "\u{a0}",
        "\u{e9}",
        "\u{2028}",
        "*",
        "'none'",
        "'nonce'",
        "'self'",
        "'unsafe-inline'",
        "script-src",
        "h.example",
        "h.example/'nonce'",
        "https://",
        "/",
        ":",
        "%3B",
        "\\",
        "\"",
    ];
    let pieces = prop::collection::vec(select(nasty.to_vec()), 1..4).prop_map(|list| list.concat());
    prop_oneof![2 => pieces, 1 => "[ -~]{0,12}", 1 => any::<String>(), 3 => source()]
}

/// Generates texts that are almost policies, and others.
fn text() -> impl Strategy<Value = String> {
    let names = DIRECTIVES.map(Directive::name);
    let name = prop_oneof![
        9 => select(names.to_vec()).prop_map(str::to_owned),
        1 => select(names.to_vec()).prop_map(str::to_ascii_uppercase),
        1 => hostile(),
    ];
    let word = prop_oneof![
        6 => select(&DIRECTIVES[..]).prop_flat_map(words).prop_map(|words| words.join(" ")),
        3 => source(),
        1 => source().prop_map(|source| source.to_ascii_uppercase()),
        1 => hostile(),
    ];
    let gap = || select(&[" ", "  ", "\t", ""][..]);
    let directive = (gap(), name, prop::collection::vec(word, 0..3), gap()).prop_map(
        |(before, name, words, after)| format!("{before}{name} {}{after}", words.join(" ")),
    );
    let policy = prop::collection::vec(directive, 0..4).prop_map(|list| list.join(";"));
    prop_oneof![9 => policy, 1 => any::<String>()]
}

fn allowed_before(page: &Page) -> Vec<Action> {
    actions().into_iter().filter(|action| page.governs(*action) && page.does(*action)).collect()
}

proptest! {
    #[test]
    fn edited_policies_are_sent_as_parsed(
        first in policy(),
        edits in prop::collection::vec(edit(), 0..5),
    ) {
        let policy = edits.into_iter().fold(first, edited);
        let text = policy.to_string();
        if text.is_empty() {
            return Ok(());
        }
        prop_assert_eq!(&csp(&text), &meant(policy.clone()), "{}", text);
        let page = Handler { asks: true, ..Handler::default() }.answer(&with_reports(meant(policy)));
        let expected = CspList::parse(&text, PolicySource::Header, PolicyDisposition::Enforce);
        let sent = page.directives();
        prop_assert_eq!(sent.len(), expected.0[0].directive_set.len());
        prop_assert!(page.policies.is_valid());
        for ((name, sent), expected) in sent.iter().zip(&expected.0[0].directive_set) {
            prop_assert_eq!(name, &expected.name);
            prop_assert_eq!(sent.len(), expected.value.len());
            for (sent, given) in sent.iter().zip(&expected.value) {
                let nonce = page.nonce.as_deref();
                prop_assert!(is_sent_as(name, given, sent, nonce), "{given} as {sent}");
            }
        }
    }

    #[test]
    fn words_stay_in_their_directive(
        directive in prop_oneof![
            4 => select(&DIRECTIVES[..]),
            1 => select(&["x", "x-y", "plugin-types"][..])
                .prop_map(|name| Directive::custom(name).unwrap()),
        ],
        given in prop::collection::vec(hostile(), 0..4),
        asks in any::<bool>(),
    ) {
        let policy = Csp::new().set(Directive::DEFAULT_SRC, [Source::SELF]).set(directive, given.clone());
        let reports = Endpoint::new("reports", "/").unwrap();
        let reports = SecurityHeadersLayer::none().set(reports).unwrap();
        let Ok(layer) = reports.set(policy) else { return Ok(()) };
        let page = Handler { asks, ..Handler::default() }.answer(&layer);
        let sent = page.directives();
        let mut names = vec!["default-src", directive.name()];
        names.dedup();
        prop_assert_eq!(sent.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
        let (name, words) = sent.last().unwrap();
        let asked = page.nonce.as_deref();
        if asks || !given.iter().any(|word| word.eq_ignore_ascii_case("'nonce'")) {
            prop_assert_eq!(words.len(), given.len());
            for (sent, given) in words.iter().zip(&given) {
                prop_assert!(is_sent_as(name, given, sent, asked), "{given:?} as {sent}");
            }
        }
    }

    #[test]
    fn hosts_open_nothing_but_a_host(
        given in prop_oneof![
            hostile(),
            "(https?://)?\\*?\\.?[a-z]{0,3}:?[0-9*]{0,2}/?",
        ],
    ) {
        let Ok(host) = Source::host(given.clone()) else { return Ok(()) };
        let policy = Csp::new().set(Directive::DEFAULT_SRC, [host]);
        let layer = SecurityHeadersLayer::none().set(policy).unwrap();
        let page = Handler::default().answer(&layer);
        for action in actions() {
            prop_assert!(!page.does(action), "{given:?} lets the page {action:?}");
        }
    }

    #[test]
    fn parsed_words_are_sent(text in text()) {
        let Ok(policy) = text.parse::<Csp>() else { return Ok(()) };
        let checked = Csp::from_static(Box::leak(text.clone().into_boxed_str()));
        prop_assert_eq!(&checked, &policy);
        let again: Csp = policy.to_string().parse().map_err(|error| {
            TestCaseError::fail(format!("{text:?} as {policy}: {error}"))
        })?;
        prop_assert_eq!(again.to_string(), policy.to_string());
        prop_assert_eq!(&again, &policy);
        let has_reports = policy.to_string().split(';').any(|one| one == "report-to reports");
        if !has_reports && policy.to_string().contains("report-to") {
            return Ok(());
        }
        let page = Handler { asks: true, ..Handler::default() }.answer(&with_reports(meant(policy)));
        let given = CspList::parse(&text, PolicySource::Header, PolicyDisposition::Enforce);
        let sent = page.directives();
        prop_assert_eq!(sent.len(), given.0[0].directive_set.len());
        for ((name, sent), given) in sent.iter().zip(&given.0[0].directive_set) {
            prop_assert_eq!(name, &given.name);
            prop_assert_eq!(sent.len(), given.value.len());
            for (sent, given) in sent.iter().zip(&given.value) {
                let nonce = page.nonce.as_deref();
                prop_assert!(is_sent_as(name, given, sent, nonce), "{given} as {sent}");
            }
        }
    }

    #[test]
    fn unused_nonces_change_nothing_else(policy in policy()) {
        let policy = meant(policy);
        let layer = with_reports(policy);
        let asked = Handler { asks: true, ..Handler::default() }.answer(&layer);
        let silent = Handler::default().answer(&layer);
        for action in actions() {
            prop_assert_eq!(silent.does(action), asked.does(action), "{:?}", action);
        }
    }

    #[test]
    fn append_adds_its_sources_only(
        policy in fetch_policy(),
        directive in select(&FETCH[..]),
        words in fetch_words(),
    ) {
        let before = Page::of(policy.clone());
        let alone = Page::of(meant(Csp::new().set(directive, words.clone())));
        let after = Page::of(meant(policy.append(directive, words)));
        for action in allowed_before(&before) {
            prop_assert!(after.does(action), "{action:?} before, not after");
        }
        for action in actions() {
            let may = before.does(action) || alone.does(action);
            prop_assert!(may || !after.does(action), "{action:?} after, not before");
            if governs(action)[0] == directive.name() && alone.does(action) {
                prop_assert!(after.does(action), "{action:?} is not added");
            }
        }
    }

    #[test]
    fn merge_allows_the_union_only(
        first in fetch_policy(),
        second in fetch_policy(),
    ) {
        let pages = [Page::of(first.clone()), Page::of(second.clone())];
        let merged = Page::of(first.merge(&second));
        for page in &pages {
            for action in allowed_before(page) {
                prop_assert!(merged.does(action), "{action:?} before, not after");
            }
        }
        for action in actions() {
            let may = pages.iter().any(|page| page.does(action));
            prop_assert!(may || !merged.does(action), "{action:?} after, not before");
        }
    }
}
