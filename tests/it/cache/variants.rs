//! Variants (RFC 9111 §4.1).

use std::time::Duration;

use tower_kit::cache::{CacheLayer, Entry, MemoryStore, Store, StoreError, TieredStore};

use super::rig::{Fields, Rig, reply};

/// A service that names what the request has in these fields, and varies by them.
fn by(names: &'static [&'static str], choose: impl FnOnce(CacheLayer) -> CacheLayer) -> Rig {
    let rig = Rig::with(&[], choose);
    names_headers(&rig, names);
    rig
}

fn names_headers(rig: &Rig, names: &'static [&'static str]) {
    rig.answers(move |head| {
        let value = |name: &&str| {
            let lines: Vec<_> =
                head.headers.get_all(*name).iter().map(|line| line.to_str().unwrap()).collect();
            lines.join("|")
        };
        let body: Vec<_> = names.iter().map(value).collect();
        let mut fields = vec![("cache-control", "max-age=60")];
        fields.extend(names.iter().map(|name| ("vary", *name)));
        Ok(reply(200, &fields, &body.join(";")))
    });
}

/// A service that has these codings, in the order of its liking, and names the one it took.
fn coding(has: &'static [&'static str]) -> Rig {
    let rig = Rig::new(&[]);
    rig.answers(move |head| {
        let accept = head.headers.get("accept-encoding").map_or("", |line| line.to_str().unwrap());
        let takes = |coding: &&&str| {
            accept.split(',').map(str::trim).any(|member| {
                let (name, weight) = member.split_once(";q=").unwrap_or((member, "1"));
                name == **coding && weight != "0"
            })
        };
        let mut fields = vec![("cache-control", "max-age=60"), ("vary", "Accept-Encoding")];
        let taken = has.iter().find(takes);
        fields.extend(taken.map(|coding| ("content-encoding", *coding)));
        Ok(reply(200, &fields, taken.copied().unwrap_or("identity")))
    });
    rig
}

#[tokio::test]
async fn vary_is_respected() {
    let rig = by(&["accept-language"], |layer| layer);
    let all: [Fields<'_>; 4] = [
        &[("accept-language", "de")],
        &[("accept-language", "fr")],
        &[("accept-language", "")],
        &[],
    ];
    for _ in 0..2 {
        for fields in all {
            let wanted = fields.first().map_or("", |(_, value)| *value);
            assert_eq!(rig.get("/", fields).await.body, wanted);
        }
    }
    assert_eq!(rig.calls(), 4);
    let hit = rig.get("/", all[0]).await;
    assert_eq!((hit.is_hit(), hit.field("vary")), (true, Some("accept-language")));
}

#[tokio::test]
async fn a_miss_beside_other_variants_says_so() {
    let rig = by(&["accept-language"], |layer| layer);
    assert_eq!(rig.get("/", &[]).await.cache(), "fwd=uri-miss; stored");
    let other = rig.get("/", &[("accept-language", "de")]).await;
    assert_eq!(other.cache(), "fwd=vary-miss; stored");
}

#[tokio::test]
async fn each_of_several_fields_tells_variants_apart() {
    let rig = by(&["x-one", "x-two"], |layer| layer);
    let all: [Fields<'_>; 6] = [
        &[("x-one", "1"), ("x-two", "2")],
        &[("x-one", "2"), ("x-two", "1")],
        &[("x-one", "1")],
        &[("x-two", "1")],
        &[("x-one", "1"), ("x-one", "3"), ("x-two", "2")],
        &[],
    ];
    for pass in 0..2 {
        for fields in all {
            let got = rig.get("/", fields).await;
            let of = |name| {
                let values = fields.iter().filter(|(of, _)| *of == name).map(|(_, value)| *value);
                values.collect::<Vec<_>>().join("|")
            };
            assert_eq!(got.body, format!("{};{}", of("x-one"), of("x-two")));
            assert_eq!(got.is_hit(), pass == 1, "{fields:?}");
        }
    }
}

#[tokio::test]
async fn what_vary_does_not_name_does_not_count() {
    let rig = by(&["accept-language"], |layer| layer);
    rig.get("/", &[("accept-language", "de"), ("cookie", "a=b")]).await;
    assert!(rig.get("/", &[("accept-language", "de"), ("user-agent", "x")]).await.is_hit());
}

#[tokio::test]
async fn the_same_list_in_other_words_is_the_same() {
    let rig = by(&["accept-language"], |layer| layer);
    rig.get("/", &[("accept-language", "de, en")]).await;
    for fields in [
        &[("accept-language", "de,en")][..],
        &[("accept-language", " de ,  EN")],
        &[("accept-language", "de"), ("accept-language", "en")],
    ] {
        assert!(rig.get("/", fields).await.is_hit(), "{fields:?}");
    }
    assert!(!rig.get("/", &[("accept-language", "en, de")]).await.is_hit());
}

#[tokio::test]
async fn the_case_of_other_fields_counts() {
    let rig = by(&["x-user"], |layer| layer);
    rig.get("/", &[("x-user", "Me")]).await;
    assert!(!rig.get("/", &[("x-user", "me")]).await.is_hit());
}

#[tokio::test]
async fn clients_of_the_same_coding_share_a_copy() {
    let rig = coding(&["gzip"]);
    rig.get("/", &[("accept-encoding", "gzip, deflate, br")]).await;
    for accept in ["gzip, deflate, br", "br, gzip, deflate", "gzip", "gzip;q=1.0, *;q=0", "GZIP"] {
        let got = rig.get("/", &[("accept-encoding", accept)]).await;
        assert_eq!((got.body.as_str(), got.is_hit()), ("gzip", true), "{accept}");
    }
    assert_eq!(rig.calls(), 1);
}

#[tokio::test]
async fn nobody_gets_a_coding_that_it_does_not_take() {
    let all: [(Fields<'_>, &[&str]); 9] = [
        (&[], &["identity"]),
        (&[("accept-encoding", "")], &["identity"]),
        (&[("accept-encoding", "identity")], &["identity"]),
        (&[("accept-encoding", "gzip;q=0")], &["identity"]),
        (&[("accept-encoding", "gzip")], &["gzip", "identity"]),
        (&[("accept-encoding", "br")], &["br", "identity"]),
        (&[("accept-encoding", "gzip, br")], &["br", "gzip", "identity"]),
        (&[("accept-encoding", "br;q=0, gzip")], &["gzip", "identity"]),
        (&[("accept-encoding", "zstd")], &["zstd", "identity"]),
    ];
    // In any order, so each of them meets what any other one has left.
    for first in 0..all.len() {
        for second in 0..all.len() {
            let rig = coding(&["br", "zstd", "gzip"]);
            for (fields, takes) in [&all[first], &all[second], &all[first]] {
                let got = rig.get("/", fields).await;
                assert!(takes.contains(&got.body.as_str()), "{fields:?} got {}", got.body);
                let stated = got.field("content-encoding").unwrap_or("identity");
                assert_eq!(stated, got.body);
            }
        }
    }
}

#[tokio::test]
async fn plain_copies_serve_no_client_with_a_coding() {
    let rig = coding(&["gzip"]);
    assert_eq!(rig.get("/", &[]).await.body, "identity");
    assert_eq!(rig.get("/", &[("accept-encoding", "gzip")]).await.body, "gzip");
    let plain = rig.get("/", &[]).await;
    assert_eq!((plain.body.as_str(), plain.is_hit()), ("identity", true));
}

#[tokio::test]
async fn a_url_has_a_bounded_number_of_variants() {
    let rig = by(&["x-one"], |layer| layer.max_variants(2));
    for value in ["a", "b", "c"] {
        rig.get("/", &[("x-one", value)]).await;
    }
    assert!(rig.get("/", &[("x-one", "c")]).await.is_hit());
    assert!(rig.get("/", &[("x-one", "b")]).await.is_hit());
    assert!(!rig.get("/", &[("x-one", "a")]).await.is_hit(), "the oldest made place");
    assert!(!rig.get("/", &[("x-one", "b")]).await.is_hit(), "and so did the next");
}

#[tokio::test]
async fn sixteen_variants_are_kept_by_default() {
    let rig = by(&["x-one"], |layer| layer);
    let values: Vec<_> = (0..17).map(|number| number.to_string()).collect();
    for value in &values {
        rig.get("/", &[("x-one", value)]).await;
    }
    for value in &values[1..] {
        assert!(rig.get("/", &[("x-one", value)]).await.is_hit(), "{value}");
    }
    assert!(!rig.get("/", &[("x-one", "0")]).await.is_hit());
}

#[tokio::test]
async fn there_is_room_for_one_variant_at_least() {
    let rig = by(&["x-one"], |layer| layer.max_variants(0));
    rig.get("/", &[("x-one", "a")]).await;
    assert!(rig.get("/", &[("x-one", "a")]).await.is_hit());
}

#[tokio::test]
async fn a_variant_is_validated_by_its_own_tag() {
    let rig = Rig::new(&[]);
    rig.answers(|head| {
        let language = head.headers["accept-language"].to_str().unwrap();
        let tag = format!("\"{language}\"");
        let fields =
            [("cache-control", "max-age=60"), ("vary", "accept-language"), ("etag", &*tag)];
        let known = head.headers.get("if-none-match").is_some_and(|known| *known == tag);
        Ok(if known { reply(304, &fields, "") } else { reply(200, &fields, language) })
    });
    for language in ["de", "fr"] {
        rig.get("/", &[("accept-language", language)]).await;
    }
    rig.clock.pass(61);
    for language in ["de", "fr"] {
        let got = rig.get("/", &[("accept-language", language)]).await;
        assert_eq!(got.body, language);
        assert_eq!(got.cache(), "fwd=stale; fwd-status=304; stored");
    }
}

#[tokio::test]
async fn a_response_may_begin_and_cease_to_vary() {
    let rig = Rig::new(&[("cache-control", "max-age=60")]);
    rig.get("/", &[("x-one", "a")]).await;
    rig.clock.pass(61);
    rig.answers_with(200, &[("cache-control", "max-age=60"), ("vary", "x-one")]);
    rig.get("/", &[("x-one", "a")]).await;
    assert!(rig.get("/", &[("x-one", "a")]).await.is_hit());
    assert!(!rig.get("/", &[("x-one", "b")]).await.is_hit());
    rig.answers_with(200, &[("cache-control", "max-age=60")]);
    rig.get("/", &[("x-one", "c")]).await;
    assert!(rig.get("/", &[("x-one", "d")]).await.is_hit());
}

#[tokio::test]
async fn evicted_variants_leave_the_store() {
    let rig = by(&["accept-language"], |layer| layer);
    for number in 0..1_000 {
        rig.get("/", &[("accept-language", &format!("x-{number}"))]).await;
    }
    assert_eq!(rig.handle.statistics().usage.entries, 17, "16 variants and their list");
    for number in 984..1_000 {
        assert!(rig.get("/", &[("accept-language", &format!("x-{number}"))]).await.is_hit());
    }
}

/// A store that is away.
struct Away;

impl Store for Away {
    async fn get(&self, _: &str) -> Result<Option<Entry>, StoreError> {
        Err(StoreError::new("away"))
    }

    async fn put(&self, _: &str, _: Entry, _: Duration) -> Result<(), StoreError> {
        Err(StoreError::new("away"))
    }

    async fn remove(&self, _: &str) -> Result<(), StoreError> {
        Err(StoreError::new("away"))
    }

    async fn clear(&self) -> Result<(), StoreError> {
        Err(StoreError::new("away"))
    }
}

#[tokio::test]
async fn memory_has_variants_while_redis_is_away() {
    let store = TieredStore::new(MemoryStore::new(1 << 24), Away);
    let rig = Rig::over(CacheLayer::new(store));
    names_headers(&rig, &["x-a"]);
    for is_hit in [false, true] {
        for value in ["1", "2", "3"] {
            let got = rig.get("/", &[("x-a", value)]).await;
            assert_eq!((got.is_hit(), &*got.body), (is_hit, value));
        }
    }
}
