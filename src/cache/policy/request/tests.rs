use http::Request;

use super::*;

fn decide(rules: &Rules, method: &str, fields: &[(&str, &str)], has_body: bool) -> RequestAction {
    let mut request = Request::builder().method(method).uri("/");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let key = CacheKey::new().header(HeaderName::from_static("x-forwarded-proto"));
    classify(rules, &key, &parts, has_body)
}

#[test]
fn requests_are_classified() {
    let ask =
        |no_fill| RequestAction::LookUp(RequestPolicy { no_fill, ..RequestPolicy::default() });
    let part = |no_fill| {
        RequestAction::LookUp(RequestPolicy {
            no_fill,
            conditional: true,
            ..RequestPolicy::default()
        })
    };
    let over = |name, conditional| {
        let (no_fill, override_by) = (Some(Bypass::Override), Some(name));
        RequestAction::LookUp(RequestPolicy {
            no_fill,
            override_by,
            conditional,
            ..RequestPolicy::default()
        })
    };
    // RFC 9111 §3 and §4, RFC 9110 §9.2; none of the fields is part of what follows.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], RequestAction);
    let table: &[Row<'_>] = &[
        ("GET", &[], ask(None)),
        ("GET", &[("cookie", "a=b"), ("accept", "*/*")], ask(None)),
        ("GET", &[("content-length", "0")], ask(None)),
        ("GET", &[("if-none-match", "\"a\"")], part(None)),
        ("GET", &[("if-modified-since", "yesterday")], part(None)),
        ("GET", &[("range", "bytes=0-1")], part(Some(Bypass::Partial))),
        ("GET", &[("x-forwarded-host", "evil")], over("x-forwarded-host", false)),
        // The override replaces the other reason: a refresh may carry a range.
        ("GET", &[("range", "a"), ("x-host", "evil")], over("x-host", true)),
        ("GET", &[("x-host", "evil"), ("range", "a")], over("x-host", true)),
        ("GET", &[("X-Original-URL", "/admin")], over("x-original-url", false)),
        ("GET", &[("X-HTTP-Method-Override", "DELETE")], over("x-http-method-override", false)),
        ("GET", &[("forwarded", "host=evil")], over("forwarded", false)),
        ("GET", &[("x-forwarded-proto", "https")], ask(None)),
        ("GET", &[("x-forwarded-for", "127.0.0.1")], ask(None)),
        ("GET", &[("content-length", "5")], RequestAction::Pass(Bypass::Body)),
        ("GET", &[("transfer-encoding", "chunked")], RequestAction::Pass(Bypass::Body)),
        ("GET", &[("upgrade", "websocket")], RequestAction::Pass(Bypass::Upgrade)),
        ("GET", &[("if-match", "\"a\"")], RequestAction::Pass(Bypass::Precondition)),
        ("OPTIONS", &[], RequestAction::Pass(Bypass::Method)),
        ("TRACE", &[], RequestAction::Pass(Bypass::Method)),
        ("CONNECT", &[], RequestAction::Pass(Bypass::Method)),
        ("QUERY", &[], RequestAction::Pass(Bypass::Method)),
        ("PROPFIND", &[], RequestAction::Pass(Bypass::Method)),
        ("REPORT", &[], RequestAction::Pass(Bypass::Method)),
        ("SEARCH", &[], RequestAction::Pass(Bypass::Method)),
        ("PRI", &[], RequestAction::Pass(Bypass::Method)),
        ("query", &[], RequestAction::Invalidate),
        ("PROPPATCH", &[], RequestAction::Invalidate),
        ("POST", &[], RequestAction::Invalidate),
        ("DELETE", &[], RequestAction::Invalidate),
        ("FROBNICATE", &[], RequestAction::Invalidate),
        ("get", &[], RequestAction::Invalidate),
    ];
    for (method, fields, expected) in table {
        assert_eq!(decide(&Rules::default(), method, fields, false), *expected, "{fields:?}");
    }
    let table = [("GET", RequestAction::Pass(Bypass::Body)), ("POST", RequestAction::Invalidate)];
    for (method, expected) in table {
        assert_eq!(decide(&Rules::default(), method, &[], true), expected, "{method}");
    }
    let RequestAction::LookUp(head) = decide(&Rules::default(), "HEAD", &[], false) else {
        panic!()
    };
    assert!(head.head_only && head.no_fill == Some(Bypass::Partial));
}

#[test]
fn requests_are_classified_by_their_content() {
    use ContentMethod::{Post, Query};
    let (query, post) = (Content::Known(Query, [1; 32]), Content::Known(Post, [1; 32]));
    let unknown = |reason| Content::Unknown(reason);
    let pass = RequestAction::Pass;
    let ask = RequestAction::LookUp(RequestPolicy::default());
    let posted = RequestAction::LookUp(RequestPolicy { post: true, ..Default::default() });
    let conditional =
        RequestAction::LookUp(RequestPolicy { conditional: true, ..Default::default() });
    type Row<'a> = (&'a str, Content, &'a [(&'a str, &'a str)], RequestAction);
    // RFC 10008 §2.7; RFC 9110 §13.1.2 and §14.2 for the conditions and ranges of a POST.
    let table: &[Row<'_>] = &[
        ("QUERY", query, &[], ask),
        ("QUERY", query, &[("content-length", "5")], ask),
        ("QUERY", query, &[("transfer-encoding", "chunked")], ask),
        ("QUERY", query, &[("if-none-match", "\"a\"")], conditional),
        ("QUERY", query, &[("if-match", "\"a\"")], pass(Bypass::Precondition)),
        ("QUERY", query, &[("upgrade", "h2c")], pass(Bypass::Upgrade)),
        ("QUERY", unknown(Unread::TooLarge), &[], pass(Bypass::ContentSize)),
        ("QUERY", unknown(Unread::Late), &[], pass(Bypass::ContentTimeout)),
        ("QUERY", unknown(Unread::Budget), &[], pass(Bypass::ContentBudget)),
        ("QUERY", unknown(Unread::Malformed), &[], pass(Bypass::Content)),
        ("POST", post, &[("content-length", "5")], posted),
        ("POST", post, &[("if-none-match", "\"a\"")], pass(Bypass::Precondition)),
        ("POST", post, &[("if-modified-since", "x")], pass(Bypass::Precondition)),
        ("POST", post, &[("if-range", "\"a\"")], pass(Bypass::Precondition)),
        ("POST", post, &[("range", "bytes=0-1")], pass(Bypass::Precondition)),
        ("POST", unknown(Unread::TooLarge), &[], RequestAction::Invalidate),
        ("POST", Content::Panicked, &[], RequestAction::Invalidate),
        // A layer between has changed the method: the mark is that of another request.
        ("POST", query, &[], RequestAction::Invalidate),
        ("DELETE", post, &[], RequestAction::Invalidate),
        ("QUERY", post, &[], pass(Bypass::Method)),
        ("SEARCH", query, &[], pass(Bypass::Method)),
        ("GET", query, &[], pass(Bypass::Body)),
        ("HEAD", query, &[], pass(Bypass::Body)),
    ];
    for (method, content, fields, expected) in table {
        let mut request = Request::builder().method(*method).uri("/").extension(*content);
        for (name, value) in *fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let classified = classify(&Rules::default(), &CacheKey::new(), &parts, true);
        assert_eq!(classified, *expected, "{method} {content:?} {fields:?}");
    }
}

#[test]
fn names_that_decide_are_not_filtered() {
    for name in DECIDING.into_iter().chain(OVERRIDES) {
        for name in [name.to_owned(), name.replacen("x-", "x_", 1)] {
            assert!(may_decide(&HeaderName::try_from(&name).unwrap()), "{name}");
        }
    }
    for name in ["host", "accept", "accept-encoding", "user-agent", "connection", "referer"] {
        assert!(!may_decide(&HeaderName::from_static(name)), "{name}");
    }
}

#[test]
fn request_control_counts_only_if_honored() {
    let fields = [("cache-control", "no-store, no-cache"), ("authorization", "Basic x")];
    let rules = Rules { heed_request: true, ..Rules::default() };
    let RequestAction::LookUp(ask) = decide(&rules, "GET", &fields, false) else { panic!() };
    assert!(ask.control.no_cache && ask.authorized);
    assert_eq!(ask.no_fill, Some(Bypass::NoStore));
    let decided = decide(&Rules::default(), "GET", &fields, false);
    let RequestAction::LookUp(ask) = decided else { panic!() };
    assert_eq!(ask, RequestPolicy { authorized: true, ..RequestPolicy::default() });
}

#[test]
fn trusted_header_lets_a_request_fill() {
    let rules =
        Rules { trusted: vec![HeaderName::from_static("x-forwarded-host")], ..Rules::default() };
    let decided = decide(&rules, "GET", &[("x-forwarded-host", "x.org")], false);
    assert_eq!(decided, RequestAction::LookUp(RequestPolicy::default()));
}
