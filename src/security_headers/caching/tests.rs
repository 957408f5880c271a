use super::*;

#[test]
fn shared_caches_may_not_store() {
    for (lines, expected) in [
        (&[][..], "private"),
        (&[""], "private"),
        (&["public, max-age=600"], "private, max-age=600"),
        (&["max-age=600"], "private, max-age=600"),
        (&["s-maxage=60, max-age=5"], "private, max-age=5"),
        (&["S-MaxAge=\"60\", PUBLIC"], "private"),
        (&["public", "max-age=600, immutable"], "private, max-age=600, immutable"),
        (&["no-cache"], "private, no-cache"),
        (&["no-cache=\"a, public\", public"], "private, no-cache=\"a, public\""),
        (&["private=\"set-cookie\", max-age=5"], "private, max-age=5"),
        (&["private, public"], "private"),
        (&["private, s-maxage=60"], "private"),
        (&["no-store, must-understand"], "private, no-store, must-understand"),
        (&["public; max-age=600"], "private"),
        (&["private; max-age=600"], "private"),
        (&["max-age=5, x=\"a, public"], "private, max-age=5"),
        (&["public", "caf\u{e9}"], "private"),
        (&["new=1, stale-while-revalidate=9"], "private, new=1, stale-while-revalidate=9"),
        // Values that are private already.
        (&["private"], "private"),
        (&["Private , max-age=600"], "Private , max-age=600"),
        (&["no-store"], "no-store"),
        (&["no-store, max-age=0"], "no-store, max-age=0"),
    ] {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        for _ in 0..2 {
            make_private(&mut headers);
            let found: Vec<_> = headers.get_all(CACHE_CONTROL).iter().collect();
            assert_eq!(found, [expected], "{lines:?}");
        }
    }
}

#[test]
fn targeted_headers_forbid_it_too() {
    for (name, value) in [
        ("cdn-cache-control", "no-store"),
        ("cloudflare-cdn-cache-control", "no-store"),
        ("x-litespeed-cache-control", "no-store"),
        ("surrogate-control", "no-store"),
        ("edge-control", "no-store"),
        ("x-accel-expires", "0"),
    ] {
        let mut headers = HeaderMap::new();
        headers.append(name, HeaderValue::from_static("max-age=600, public"));
        headers.append(name, HeaderValue::from_static("600"));
        headers.insert("expires", HeaderValue::from_static("Thu, 01 Dec 2044 16:00:00 GMT"));
        make_private(&mut headers);
        let found: Vec<_> = headers.get_all(name).iter().collect();
        assert_eq!(found, [value, value], "{name}");
        assert_eq!((headers.len(), &headers[CACHE_CONTROL]), (4, &"private".parse().unwrap()));
    }
    // A response without targeted headers gets none.
    let mut headers = HeaderMap::new();
    make_private(&mut headers);
    assert_eq!(headers.len(), 1);
}
