//! What one client sends does not spoil what others get.

use std::time::Duration;

use tower_kit::cache::{KeyBy, MemoryStore};

use super::rig::{Fields, MINUTE, Rig, reply};

/// A service that varies by three fields, and gives back what it got.
fn echo() -> Rig {
    let rig = Rig::new(&[]);
    rig.answers(|head| {
        let fields: Fields<'_> =
            &[("cache-control", "max-age=60"), ("vary", "x-a, cookie, accept")];
        let values: Vec<_> = head.headers.values().map(|value| value.to_str().unwrap()).collect();
        Ok(reply(200, fields, &values.join("|")))
    });
    rig
}

#[tokio::test]
async fn another_spelling_of_a_field_that_is_no_list_is_another_variant() {
    for (victim, attacks) in [
        (("x-a", "true"), &[&[("x-a", "true,")][..], &[("x-a", ",true")]][..]),
        (("x-a", "a, b"), &[&[("x-a", "a,b")], &[("x-a", "a ,b")]]),
        (("cookie", "theme=dark"), &[&[("cookie", "theme=dark ,")]]),
        (("cookie", "a=1, b=2"), &[&[("cookie", "a=1"), ("cookie", "b=2")]]),
        (("accept", "x/y;v=\"A\""), &[&[("accept", "x/y;v=\"a\"")]]),
    ] {
        for attack in attacks {
            let rig = echo();
            rig.get("/", attack).await;
            let got = rig.get("/", &[victim]).await;
            assert_eq!(got.body, victim.1, "{attack:?}");
        }
    }
}

#[tokio::test]
async fn a_parameter_that_the_service_may_read_as_one_that_counts_does_count() {
    let only = || KeyBy::new().only_query(["page"]);
    let without = || KeyBy::new().without_tracking();
    type Row<'a> = (fn() -> KeyBy, &'a str);
    let rows: [Row<'_>; 6] = [
        (only, "/?p%61ge=9"),
        (only, "/?+page=9"),
        (only, "/?page[]=9"),
        (only, "/?x=1;page=9"),
        (without, "/?utm_source=1;page=9"),
        (|| KeyBy::new().without_tracking().sorted_query(), "/?utm_source=1;page=9"),
    ];
    for (key, attack) in rows {
        let rig = Rig::with(MINUTE, |layer| layer.key(key()));
        rig.get(attack, &[]).await;
        assert!(!rig.get("/", &[]).await.is_hit(), "{attack}");
    }
    let rig = Rig::with(MINUTE, |layer| layer.key(only()));
    rig.get("/", &[]).await;
    assert!(rig.get("/?x=1&y-z_0=a%61", &[]).await.is_hit());
}

#[tokio::test]
async fn a_field_that_overrides_does_so_in_the_spelling_of_cgi_too() {
    for name in ["x_forwarded_host", "x-forwarded_host", "x_original-url", "x-forwarded-uri"] {
        let rig = Rig::new(MINUTE);
        let got = rig.get("/", &[(name, "evil.org")]).await;
        assert_eq!(got.cache(), "fwd=uri-miss; detail=override", "{name}");
        assert!(!rig.get("/", &[]).await.is_hit(), "{name}");
    }
}

#[test]
fn no_size_of_a_store_is_a_panic() {
    for bytes in [0, 1, 1 << 20, 1 << 62, u64::MAX] {
        for largest in [0, 1, 1 << 20, 1 << 62, u64::MAX] {
            drop(MemoryStore::with_largest(bytes, largest));
        }
    }
}

#[tokio::test]
async fn times_and_numbers_of_any_size_are_no_panic() {
    let most = u64::MAX.to_string();
    let far = "Fri, 31 Dec 9999 23:59:59 GMT";
    let control = format!(
        "max-age={most}, stale-while-revalidate={most}, stale-if-error={most}, s-maxage={most}"
    );
    let answers: [Fields<'_>; 4] = [
        &[("cache-control", &control), ("age", &most)],
        &[("expires", far), ("date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("etag", "\"\"")],
        &[("expires", far), ("date", far), ("last-modified", far)],
        &[("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT"), ("date", far)],
    ];
    let asks = format!("max-age={most}, min-fresh={most}, max-stale={most}");
    for fields in answers {
        let rig = Rig::with(fields, |layer| {
            layer.jitter(1.0).early_refresh(f64::MAX).grace(Duration::MAX).entry_limit(u64::MAX)
        });
        for _ in 0..3 {
            rig.get("/", &[]).await;
            rig.get("/", &[("cache-control", &asks)]).await;
            rig.get("/", &[("range", &*format!("bytes={most}{most}-{most}"))]).await;
            rig.get("/", &[("range", &*format!("bytes=-{most}"))]).await;
            rig.clock.pass(1 << 31);
        }
    }
}
