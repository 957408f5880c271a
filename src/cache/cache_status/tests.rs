use proptest::prelude::*;

use super::*;

#[test]
fn a_report_is_a_member_of_a_structured_list() {
    // RFC 9211 §2 and §4.
    for (report, expected) in [
        (CacheStatus::hit(5_999), "tower-kit; hit; ttl=5"),
        (CacheStatus::hit(-1), "tower-kit; hit; ttl=-1"),
        (
            CacheStatus { collapsed: true, ..CacheStatus::forwarded(Fwd::UriMiss) },
            "tower-kit; fwd=uri-miss; collapsed",
        ),
        (
            CacheStatus { stored: true, ..CacheStatus::forwarded(Fwd::UriMiss) },
            "tower-kit; fwd=uri-miss; stored",
        ),
        (
            CacheStatus { fwd_status: Some(304), ..CacheStatus::forwarded(Fwd::Stale) },
            "tower-kit; fwd=stale; fwd-status=304",
        ),
        (
            CacheStatus {
                detail: Some("override"),
                header: Some("x-forwarded-host"),
                ..CacheStatus::forwarded(Fwd::UriMiss)
            },
            // A token (RFC 9651 §3.3.4) may have a `:`.
            "tower-kit; fwd=uri-miss; detail=override:x-forwarded-host",
        ),
        (CacheStatus::bypass(Bypass::Method), "tower-kit; fwd=method"),
        (CacheStatus::bypass(Bypass::Body), "tower-kit; fwd=bypass; detail=body"),
    ] {
        let mut headers = HeaderMap::new();
        report.write(&CacheName::default(), &mut headers);
        assert_eq!(headers["cache-status"], expected);
    }
}

#[test]
fn name_is_a_token_or_a_string() {
    // RFC 9211 §2; RFC 9651 §3.3.3 and §3.3.4.
    let longest = ["a", " ", "\\"].map(|text| text.repeat(64));
    for (name, written) in [
        ("tower-kit", Some("tower-kit")),
        ("*", Some("*")),
        ("a:b/c", Some("a:b/c")),
        ("cache.example.org:80", Some("cache.example.org:80")),
        ("10.0.0.1", Some("\"10.0.0.1\"")),
        ("-a", Some("\"-a\"")),
        ("a b", Some("\"a b\"")),
        ("a\"b\\c", Some("\"a\\\"b\\\\c\"")),
        ("a;b, c", Some("\"a;b, c\"")),
        (&longest[0], Some(&*longest[0])),
        ("", None),
        ("a\nb", None),
        ("a\tb", None),
        ("\u{7f}", None),
        ("ä", None),
        (&format!("{}a", longest[0]), None),
        // With its quotes, and with what escapes it.
        (&longest[1], None),
        (&longest[2][..32], None),
    ] {
        let parsed = CacheName::parse(name);
        assert_eq!(
            parsed.as_ref().ok().map(|name| name.label()),
            written.map(|_| name.to_owned().into())
        );
        let mut headers = HeaderMap::new();
        parsed.iter().for_each(|name| CacheStatus::hit(0).write(name, &mut headers));
        let line = written.map(|written| format!("{written}; hit; ttl=0"));
        assert_eq!(
            headers.get(CACHE_STATUS).map(HeaderValue::as_bytes),
            line.as_deref().map(str::as_bytes)
        );
    }
    let error = CacheName::parse("a\nb").unwrap_err();
    assert!(error.to_string().starts_with("\"a\\nb\" is not the name of a cache"), "{error}");
}

proptest! {
    #[test]
    fn nothing_of_a_report_is_left_out(
        fwd in prop::option::of(Just(Fwd::VaryMiss)),
        fwd_status in prop::option::of(any::<u16>()),
        ttl in prop::option::of(any::<i64>()),
        stored in any::<bool>(),
        collapsed in any::<bool>(),
        refused in any::<bool>(),
        name in "[a-z]{1,64}",
    ) {
        // The longest of the details.
        let (reason, of) = (Bypass::Override.as_str(), "x-forwarded-protocol");
        let (detail, header) = (refused.then_some(reason), refused.then_some(of));
        let mut headers = HeaderMap::new();
        CacheStatus { fwd, fwd_status, ttl, stored, collapsed, detail, header }
            .write(&CacheName::parse(&name).unwrap(), &mut headers);
        let members = [
            Some(name),
            Some(fwd.map_or("hit".to_owned(), |_| "fwd=vary-miss".to_owned())),
            fwd_status.map(|status| format!("fwd-status={status}")),
            ttl.map(|ttl| format!("ttl={ttl}")),
            stored.then(|| "stored".to_owned()),
            collapsed.then(|| "collapsed".to_owned()),
            detail.map(|detail| format!("detail={detail}:{of}")),
        ];
        let members: Vec<_> = members.into_iter().flatten().collect();
        prop_assert_eq!(&headers["cache-status"], &members.join("; "));
    }

    #[test]
    fn an_age_is_in_whole_seconds(millis in any::<u64>()) {
        let mut headers = HeaderMap::new();
        write_age(&mut headers, millis);
        let age: u64 = headers[AGE].to_str().unwrap().parse().unwrap();
        prop_assert_eq!(age, (millis / 1000).min(MAX_SECONDS));
    }
}
