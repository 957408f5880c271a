//! Which statuses are stored: a short list, and what the user names.

use std::time::Duration;

use http::StatusCode;
use tower_kit::cache::{CacheHint, Exception};

use super::rig::{Fields, MINUTE, Rig, date, reply, request};
use crate::support::status;

/// What is stored if it states its lifetime.
const STORED: [u16; 11] = [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 410];

/// All other final statuses in IANA's registry, and some that are not in it.
const OTHERS: [u16; 60] = [
    201, 202, 205, 207, 208, 226, 299, 305, 306, 399, 400, 401, 402, 403, 405, 406, 407, 408, 409,
    411, 412, 413, 414, 415, 416, 417, 418, 420, 421, 422, 423, 424, 425, 426, 428, 429, 430, 431,
    444, 451, 494, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 509, 510, 511, 520, 522, 525,
    529, 598, 599,
];

async fn hits(rig: &Rig, code: u16, fields: Fields<'_>) -> bool {
    rig.answers_with(code, fields);
    assert_eq!(rig.get("/", &[]).await.status, code);
    rig.get("/", &[]).await.is_hit()
}

#[tokio::test]
async fn a_short_list_of_statuses_is_stored() {
    let expires = date(60);
    let lifetimes: [Fields<'_>; 4] = [
        MINUTE,
        &[("cache-control", "public, s-maxage=60")],
        &[("expires", &expires)],
        &[("cdn-cache-control", "max-age=60")],
    ];
    for fields in lifetimes {
        for code in STORED {
            assert!(hits(&Rig::new(&[]), code, fields).await, "{code} {fields:?}");
        }
        for code in OTHERS {
            assert!(!hits(&Rig::new(&[]), code, fields).await, "{code} {fields:?}");
        }
    }
}

#[tokio::test]
async fn a_default_ttl_keeps_no_other_status() {
    let modified = date(-1000);
    let guessed: [Fields<'_>; 3] =
        [&[], &[("cache-control", "public")], &[("last-modified", &modified)]];
    for fields in guessed {
        for code in OTHERS {
            let second = Duration::from_secs(1);
            let rig = Rig::with(&[], |layer| layer.default_ttl(second));
            assert!(!hits(&rig, code, fields).await, "{code} {fields:?}");
            assert!(!hits(&Rig::aside(&[], |layer| layer), code, fields).await, "{code}");
        }
    }
}

#[tokio::test]
async fn a_status_with_a_ttl_of_its_own_is_stored() {
    let minute = Duration::from_secs(60);
    for code in OTHERS {
        let rig = Rig::with(&[], |layer| layer.ttl(status(code), minute));
        assert!(hits(&rig, code, &[]).await, "{code}");
        let other = Rig::with(&[], |layer| layer.ttl(StatusCode::IM_A_TEAPOT, minute));
        assert_eq!(hits(&other, code, MINUTE).await, code == 418, "{code}");
        let rig = Rig::new(&[]);
        rig.answers(move |_| {
            let mut response = reply(code, &[], "");
            response.extensions_mut().insert(CacheHint::new().ttl(minute));
            Ok(response)
        });
        rig.get("/", &[]).await;
        assert!(rig.get("/", &[]).await.is_hit(), "{code} by its handler");
    }
}

#[tokio::test]
async fn an_exception_stores_other_statuses() {
    for code in OTHERS {
        let rig = Rig::with(&[], |layer| layer.allow(Exception::AnyStatus));
        let forbidden = [425, 428, 429, 431, 511].contains(&code);
        assert_eq!(hits(&rig, code, MINUTE).await, !forbidden, "{code}");
        let rig = Rig::with(&[], |layer| layer.allow(Exception::AnyStatus));
        assert!(!hits(&rig, code, &[]).await, "{code} without a lifetime");
    }
}

#[tokio::test]
async fn no_ttl_makes_a_part_or_a_304_a_response() {
    for code in [206, 304] {
        let rig = Rig::with(&[], |layer| layer.ttl(status(code), Duration::from_secs(60)));
        assert!(!hits(&rig, code, MINUTE).await, "{code}");
    }
}

#[tokio::test]
async fn odd_request_denies_nothing_to_others() {
    // Cache-poisoned denial of service: an error that one request causes by what no key has.
    for code in [400, 403, 405, 406, 408, 413, 414, 417, 421, 425, 426, 429, 431, 500, 501, 503] {
        let rig = Rig::new(&[]);
        rig.answers(move |head| {
            let odd = head.headers.contains_key("x-odd");
            Ok(reply(if odd { code } else { 200 }, MINUTE, ""))
        });
        let odd = rig.get("/", &[("x-odd", "1")]).await;
        assert_eq!((odd.status, odd.cache()), (code, "fwd=uri-miss; detail=status"));
        assert_eq!(rig.get("/", &[]).await.status, 200, "{code}");
    }
}

#[tokio::test]
async fn an_error_takes_no_fresh_entry_away() {
    for code in OTHERS {
        let rig = Rig::new(MINUTE);
        rig.get("/", &[]).await;
        rig.answers_with(code, MINUTE);
        rig.get("/", &[("cache-control", "no-cache")]).await;
        assert_eq!(rig.get("/", &[]).await.body, "answer 0", "{code}");
    }
}

#[tokio::test]
async fn a_204_with_a_body_is_not_stored() {
    let rig = Rig::new(&[]);
    rig.answers(|_| Ok(reply(204, MINUTE, "a body")));
    rig.ask(request("GET", "/", &[])).await.unwrap();
    assert!(!rig.get("/", &[]).await.is_hit());
}
