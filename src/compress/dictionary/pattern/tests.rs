use super::*;

#[test]
fn asterisks_match_any_text() {
    for (pattern, path, expected) in [
        ("/items", "/items", true),
        ("/items", "/items/", false),
        ("/items", "/item", false),
        ("/items/*", "/items/1", true),
        ("/items/*", "/items/1/parts", true),
        ("/items/*", "/items/", true),
        ("/items/*", "/items", false),
        ("/app/*/main.js", "/app/v1/main.js", true),
        ("/app/*/main.js", "/app/main.js", false),
        ("/app/*/main.js", "/app/v1/main.js.map", false),
        ("/a*b*c", "/abbc", true),
        ("/a*b*c", "/a-c-b", false),
        ("/a*ba", "/aba", true),
        ("/ab*ba", "/aba", false),
        ("/*", "/", true),
    ] {
        let parsed: MatchPattern = pattern.parse().unwrap();
        assert_eq!(parsed.matches(path), expected, "{pattern} {path}");
    }
}

#[test]
fn patterns_beyond_asterisks_are_errors() {
    for text in [
        "", "items", "*", "/:id", "/{a}", "/(a|b)", "/a?", "/a+", "/**", "/a b", "/\"", "/\\*",
        "/ä",
    ] {
        assert!(text.parse::<MatchPattern>().is_err(), "{text}");
    }
    let error = "/:id".parse::<MatchPattern>().unwrap_err();
    assert!(error.to_string().starts_with("\"/:id\" is no pattern of a dictionary"), "{error}");
    assert!("/a".repeat(600).parse::<MatchPattern>().is_err());
    assert_eq!("/items/*".parse::<MatchPattern>().unwrap().header(), "match=\"/items/*\"");
}

#[test]
fn path_is_escaped_as_a_pattern() {
    for (path, expected) in [
        ("/items", Some("match=\"/items\"")),
        ("/d%C3%BCsseldorf", Some("match=\"/d%C3%BCsseldorf\"")),
        ("/v1/items:search", Some("match=\"/v1/items\\\\:search\"")),
        ("/a*b(c)+", Some("match=\"/a\\\\*b\\\\(c\\\\)\\\\+\"")),
        ("*", None),
        ("/a\"b", None),
        ("/{a}", None),
        ("/a\\b", None),
    ] {
        assert_eq!(header_of_path(path).as_ref().map(|it| it.to_str().unwrap()), expected);
    }
    assert_eq!(header_of_path(&"/a".repeat(600)), None);
}
