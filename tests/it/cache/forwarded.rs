//! Behind a proxy that says which URL its client asked for.

use http::HeaderName;
use tower_kit::cache::{CacheKey, CacheLayer};

use super::rig::{Fields, MINUTE, Rig, reply};

const NAMES: [&str; 9] = [
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-original-host",
];

fn trusting() -> [Rig; 3] {
    let key = || CacheKey::new().sorted_query();
    [
        Rig::with(MINUTE, CacheLayer::trust_forwarded),
        Rig::with(MINUTE, |layer| layer.key(key()).trust_forwarded()),
        Rig::with(MINUTE, |layer| layer.trust_forwarded().key(key())),
    ]
}

#[tokio::test]
async fn a_trusted_proxy_fills_the_cache() {
    let request = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-server", "proxy-1"),
        ("forwarded", "for=192.0.2.1;host=shop.example;proto=https"),
    ];
    for rig in trusting() {
        assert_eq!(rig.get("/", &request).await.cache(), "fwd=uri-miss; stored");
        assert!(rig.get("/", &request).await.is_hit());
        rig.handle.purge_url("http://x.org/").unwrap();
        assert!(!rig.get("/", &request).await.is_hit());
    }
}

#[tokio::test]
async fn what_a_proxy_says_of_the_url_parts_entries() {
    for name in NAMES {
        for rig in trusting() {
            rig.answers(move |head| {
                let said = head.headers.get(name).map_or("none", |said| said.to_str().unwrap());
                Ok(reply(200, MINUTE, said))
            });
            for _ in 0..2 {
                assert_eq!(rig.get("/", &[(name, "a")]).await.body, "a", "{name}");
                assert_eq!(rig.get("/", &[(name, "b")]).await.body, "b", "{name}");
                assert_eq!(rig.get("/", &[(name, "a"), (name, "b")]).await.body, "a", "{name}");
                assert_eq!(rig.get("/", &[]).await.body, "none", "{name}");
            }
            assert_eq!(rig.calls(), 4, "{name}");
        }
    }
}

#[tokio::test]
async fn forwarded_counts_except_for_its_addresses() {
    let first: Fields<'_> = &[("forwarded", "for=192.0.2.1;host=a.org;proto=https;by=_1")];
    for (other, is_hit) in [
        ("for=\"[2001:db8::1]:4711\"; Host=a.org", false),
        ("For=192.0.2.2;host=a.org;proto=https;BY=_2", true),
        ("host=a.org;proto=https", true),
        ("for=192.0.2.9, host=a.org;proto=https", true),
        ("for=192.0.2.1;host=b.org;proto=https", false),
        ("for=192.0.2.1;host=a.org;proto=http", false),
        ("for=192.0.2.1", false),
        ("host=b.org, for=1;host=a.org;proto=https", false),
        ("host=\"a.org;proto=https", false),
    ] {
        for rig in trusting() {
            rig.get("/", first).await;
            let got = rig.get("/", &[("forwarded", other)]).await;
            assert_eq!(got.is_hit(), is_hit, "{other}");
        }
    }
}

#[tokio::test]
async fn other_headers_stay_untrusted_and_are_named() {
    for name in
        ["x-host", "x-original-url", "x-rewrite-url", "x-http-method-override", "x_forwarded_host"]
    {
        for rig in trusting() {
            let evil = [("x-forwarded-proto", "https"), (name, "evil")];
            let expected = format!("fwd=uri-miss; detail=override:{}", name.replace('_', "-"));
            assert_eq!(rig.get("/", &evil).await.cache(), expected);
            assert!(!rig.get("/", &[("x-forwarded-proto", "https")]).await.is_hit(), "{name}");
        }
    }
    let name = HeaderName::from_static("x-host");
    let rig = Rig::with(MINUTE, |layer| layer.trust_forwarded().trust(name));
    assert_eq!(rig.get("/", &[("x-host", "a")]).await.cache(), "fwd=uri-miss; stored");
}
