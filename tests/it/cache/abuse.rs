//! What one client sends does not spoil what others get.

use super::rig::{Fields, Rig, reply};

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
