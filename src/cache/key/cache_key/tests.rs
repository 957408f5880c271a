use http::header::HOST;
use http::{HeaderValue, Request};
use proptest::prelude::*;

use super::super::content::{ContentMethod, Unread};
use super::*;

fn key(by: &CacheKey, uri: &str, fields: &[(&str, &str)]) -> Result<String, NoKey> {
    let mut request = Request::get(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    by.of(&request.body(()).unwrap().into_parts().0).map(|key| key.text)
}

#[test]
fn a_key_is_scheme_host_path_and_query() {
    // RFC 9110 §7.2 for the host, RFC 3986 §6.2.3 for the port; the rest is byte for byte.
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Result<&'a str, NoKey>);
    let table: &[Row<'_>] = &[
        ("/a?b=1", &[("host", "x.org")], Ok("http://x.org/a?b=1")),
        ("/a", &[("host", "X.Org:80")], Ok("http://x.org/a")),
        ("/a", &[("host", "x.org:8080")], Ok("http://x.org:8080/a")),
        ("/a", &[("host", "[::1]:80")], Ok("http://[::1]/a")),
        ("https://X.org:443/a", &[], Ok("https://x.org/a")),
        ("https://x.org:80/a", &[], Ok("https://x.org:80/a")),
        ("http://x.org/a", &[("host", "X.ORG")], Ok("http://x.org/a")),
        ("http://x.org/a", &[("host", "y.org")], Err(NoKey::Host)),
        ("/a", &[("host", "x.org"), ("host", "x.org")], Err(NoKey::Host)),
        ("/a", &[("host", "x.org/b")], Err(NoKey::Host)),
        ("/a", &[("host", "u@x.org")], Err(NoKey::Host)),
        ("/a", &[("host", "x.org evil")], Err(NoKey::Host)),
        ("/a", &[], Ok("http:///a")),
        ("/a?", &[("host", "x")], Ok("http://x/a?")),
        ("/%61//b", &[("host", "x")], Ok("http://x/%61//b")),
    ];
    for (uri, fields, expected) in table {
        let expected = expected.map(str::to_owned);
        assert_eq!(key(&CacheKey::new(), uri, fields), expected, "{uri} {fields:?}");
    }
    let long = format!("/{}", "a".repeat(MAX_LENGTH));
    assert_eq!(key(&CacheKey::new(), &long, &[]), Err(NoKey::TooLong));
}

#[test]
fn query_parameters_count_as_chosen() {
    let by = || CacheKey::new().any_host();
    let query = "/?b=2&utm_source=x&a=1&b=1&gclid";
    for (by, expected) in [
        (by(), query),
        (by().no_query(), "/"),
        (by().only_query(["b"]), "/?b=2&b=1"),
        (by().only_query(["none"]), "/"),
        (by().without_tracking(), "/?b=2&a=1&b=1"),
        (by().without_tracking().sorted_query(), "/?a=1&b=2&b=1"),
        (by().without_query(["utm_*", "a"]), "/?b=2&b=1&gclid"),
    ] {
        assert_eq!(key(&by, query, &[]).as_deref(), Ok(expected));
    }
}

#[test]
fn sorting_keeps_the_order_of_one_name() {
    let by = CacheKey::new().any_host().sorted_query();
    for (query, sorted) in [
        ("/?b=1&a=2", "/?a=2&b=1"),
        ("/?b=1&%61=2", "/?%61=2&b=1"),
        ("/?a=2&a=1", "/?a=2&a=1"),
        // A service may read all of these as values of `a`.
        ("/?a=1&%61=2", "/?a=1&%61=2"),
        ("/?%61=2&a=1", "/?%61=2&a=1"),
        ("/?a=1&A=2", "/?a=1&A=2"),
        ("/?A=2&a=1", "/?A=2&a=1"),
        ("/?a[]=1&a=2", "/?a[]=1&a=2"),
        ("/?a=2&a[]=1", "/?a=2&a[]=1"),
        ("/?a%5Bx%5D=1&a=2", "/?a%5Bx%5D=1&a=2"),
        ("/?a.b=1&a_b=2", "/?a.b=1&a_b=2"),
        ("/?a_b=2&a+b=1&a%20b=3", "/?a_b=2&a+b=1&a%20b=3"),
        ("/?%20a=1&a=2", "/?%20a=1&a=2"),
        ("/?b=1;c=2&a=3", "/?b=1;c=2&a=3"),
        ("/?%=1&%6=2&%zz=3", "/?%=1&%6=2&%zz=3"),
    ] {
        assert_eq!(key(&by, query, &[]).as_deref(), Ok(sorted), "{query}");
    }
}

fn head(uri: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::get(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn service_sees_the_spelling_of_the_key() {
    let by = || CacheKey::new().without_tracking().sorted_query();
    // The target and the host as sent, and as the service sees them.
    for (uri, host, seen_uri, seen_host) in [
        ("/p?a=1&b=2", Some("x.org"), "/p?a=1&b=2", Some("x.org")),
        ("/p?b=2&utm_id=3&a=1", Some("X.org"), "/p?a=1&b=2", Some("x.org")),
        ("/p?gclid=1", None, "/p", None),
        ("/p?", None, "/p?", None),
        ("//p/../%61?", Some("x.org."), "//p/../%61?", Some("x.org.")),
        ("/p", Some("x.org:"), "/p", Some("x.org")),
        ("/p", Some("x.org:80"), "/p", Some("x.org")),
        ("/p", Some("x.org:8080"), "/p", Some("x.org:8080")),
        ("/p", Some("[::A]:80"), "/p", Some("[::a]")),
        ("/p", Some("x%2Eorg"), "/p", Some("x%2eorg")),
        ("/p", Some(" x.org"), "/p", Some("x.org")),
        ("http://X.org/p", None, "http://x.org/p", Some("x.org")),
        ("http://X.org:80/p", Some("x.org:80"), "http://x.org/p", Some("x.org")),
        ("https://x.org:443/p", Some("X.org:443"), "https://x.org/p", Some("x.org")),
        ("http://x.org:?utm_id=1", None, "http://x.org/", Some("x.org")),
    ] {
        let fields: Vec<_> = host.into_iter().map(|host| ("host", host)).collect();
        let mut head = head(uri, &fields);
        let key = by().of(&head).unwrap();
        let same = (uri, host) == (seen_uri, seen_host);
        assert_eq!((key.may_fill(), key.is_spelled_so()), (true, same), "{uri} {host:?}");
        assert!(key.spell(&mut head));
        assert_eq!(head.uri.to_string(), seen_uri, "{uri} {host:?}");
        let line = head.headers.get(HOST).map(|line| line.to_str().unwrap());
        assert_eq!(line, seen_host, "{uri} {host:?}");
        assert_eq!(by().of(&head).unwrap().as_str(), key.as_str(), "it has the same key");
        assert!(by().of(&head).unwrap().is_spelled_so());
    }
    let odd = head("http://X.org:80/", &[("host", "y.org")]);
    assert!(CacheKey::new().any_host().of(&odd).unwrap().is_spelled_so());
}

#[test]
fn visible_spelling_fills_nothing() {
    let mut empty = head("/p", &[("host", "")]);
    let key = CacheKey::new().of(&empty).unwrap();
    assert!(!key.may_fill() && !key.spell(&mut empty));
    let by = CacheKey::new().without_tracking().uri(|request| request.extensions.get::<Uri>());
    for (original, may) in [
        ("http://x.org/a/p?a=1", true),
        ("http://x.org/a/p?utm_id=1", false),
        ("http://X.org/a/p", false),
        ("http://x.org:80/a/p", false),
    ] {
        let mut head = head("/p", &[]);
        head.extensions.insert(Uri::from_static(original));
        assert_eq!(by.of(&head).unwrap().may_fill(), may, "{original}");
    }
}

#[test]
fn lines_of_a_key_cannot_be_forged() {
    let by = CacheKey::new().any_host().header(HeaderName::from_static("x-tenant"));
    assert_eq!(key(&by, "/", &[("x-tenant", "a")]).as_deref(), Ok("/\nx-tenant=a"));
    assert_eq!(key(&by, "/", &[("x-tenant", "a\tb\\")]).as_deref(), Ok("/\nx-tenant=a\\09b\\5c"));
    let by = by.with(|_| Some("x\ny".to_owned()));
    assert_eq!(key(&by, "/", &[]).as_deref(), Ok("/\n=x\\0ay"));
    let by = by.with(|_| panic!("as a test has it"));
    assert_eq!(key(&by, "/", &[]), Err(NoKey::Panicked));
}

/// The lines behind the URL, as they were before they were escaped.
fn lines(key: &str) -> Vec<(String, Vec<u8>)> {
    let plain = |text: &str| {
        let mut parts = text.split('\\');
        let mut bytes = parts.next().unwrap().as_bytes().to_vec();
        for part in parts {
            bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
            bytes.extend(part[2..].bytes());
        }
        bytes
    };
    let line = |line: &str| {
        let (name, value) = line.split_once('=').unwrap();
        (name.to_owned(), plain(value))
    };
    key.split('\n').skip(1).map(line).collect()
}

#[test]
fn content_is_a_line_of_the_key() {
    let of = |method: &str, content: Option<Content>| {
        let mut request = Request::builder().method(method).uri("http://x/a?b=1");
        if let Some(content) = content {
            request = request.extension(content);
        }
        CacheKey::new().of(&request.body(()).unwrap().into_parts().0).unwrap()
    };
    let known = |method, byte| Some(Content::Known(method, [byte; 32]));
    let query = of("QUERY", known(ContentMethod::Query, 0xab));
    assert_eq!(query.as_str(), format!("http://x/a?b=1\n@query={}", "ab".repeat(32)));
    assert_eq!(query.url(), "http://x/a?b=1");
    assert!(query.has_content && !query.is_url());
    let post = of("POST", known(ContentMethod::Post, 1));
    assert_eq!(post.as_str(), format!("http://x/a?b=1\n@post={}", "01".repeat(32)));
    for (method, content) in [
        ("GET", known(ContentMethod::Query, 1)),
        ("HEAD", known(ContentMethod::Query, 1)),
        ("POST", known(ContentMethod::Query, 1)),
        ("QUERY", None),
        ("QUERY", Some(Content::Unknown(Unread::Late))),
        ("POST", Some(Content::Panicked)),
    ] {
        assert!(of(method, content).is_url(), "{method} {content:?}");
    }
}

proptest! {
    #[test]
    fn lines_of_a_key_round_trip(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
        with in any::<String>(),
    ) {
        let by = CacheKey::new().header(HeaderName::from_static("x-tenant"));
        let given = with.clone();
        let by = by.with(move |_| Some(given.clone()));
        let mut request = Request::get("http://x/a").body(()).unwrap();
        let values = values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok());
        let mut expected = Vec::new();
        for value in values {
            expected.push(("x-tenant".to_owned(), value.as_bytes().to_vec()));
            request.headers_mut().append("x-tenant", value);
        }
        expected.push((String::new(), with.into_bytes()));
        let key = by.of(&request.into_parts().0).unwrap();
        prop_assert_eq!(lines(key.as_str()), expected);
    }

    #[test]
    fn url_of_a_key_has_one_line(
        uri in prop_oneof![any::<String>(), "(https?://[a-z:0-9\\[\\]@]{0,9})?/[a-z&=;?*]{0,30}"],
        host in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..3),
    ) {
        let Ok(uri) = uri.parse::<Uri>() else { return Ok(()) };
        let mut request = Request::get(uri).body(()).unwrap();
        for host in host.iter().filter_map(|host| HeaderValue::from_bytes(host).ok()) {
            request.headers_mut().append(HOST, host);
        }
        let (head, ()) = request.into_parts();
        for by in [
            CacheKey::new(),
            CacheKey::new().no_query(),
            CacheKey::new().only_query(["a", "b*"]).sorted_query(),
            CacheKey::new().without_query(["a", "b*"]).any_host(),
        ] {
            if let Ok(key) = by.of(&head) {
                prop_assert!(!key.as_str().contains('\n'));
                prop_assert_eq!(key.url(), key.as_str());
            }
        }
    }
}
