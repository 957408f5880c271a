use http::{HeaderName, Request};
use tower_kit::CompressLayer;
use tower_kit::compress::dictionary::Dictionaries;

use super::support::{Client, URI, fresh, layer, list, serve};

/// The page of a user, which is long and the same in each version.
fn page(request: &Request<()>, _: u64) -> http::Response<http_body_util::Full<bytes::Bytes>> {
    let mut response = fresh(list(10_240, 3, 1));
    response.headers_mut().insert("cache-control", "private, max-age=60".parse().unwrap());
    assert!(request.headers().contains_key("host"));
    response
}

fn user(headers: &[(&'static str, &str)]) -> Client {
    let mut client = Client::with(headers);
    client.headers.push(("host", "a.test".to_owned()));
    client
}

#[tokio::test]
async fn page_of_one_user_serves_no_other() {
    let users: [&[(&str, &str)]; 5] = [
        &[("cookie", "id=1")],
        &[("cookie", "id=2")],
        &[("authorization", "Bearer 1")],
        &[("authorization", "Bearer 1"), ("cookie", "id=1")],
        &[("authorization", "Bearer 2")],
    ];
    let service = serve(&layer(), page);
    let mut clients = users.map(user);
    let mut dictionary = None;
    for client in &mut clients {
        // Another user who knows the page, by name or by a guess, offers it.
        client.dictionary = dictionary.clone();
        let read = client.get(&service, URI).await;
        assert!(!read.is_delta(), "{client:?}");
        assert_eq!(read.header("use-as-dictionary"), Some("match=\"/items\""));
        dictionary = Some(read.text);
    }
    for client in &mut clients {
        assert!(client.get(&service, URI).await.is_delta(), "each user has its own");
    }
    let mut nobody = user(&[]);
    nobody.dictionary = dictionary;
    let read = nobody.get(&service, URI).await;
    assert!(!read.is_delta() && read.header("use-as-dictionary").is_none());
    assert_eq!(read.vary(), ["accept-encoding"], "no dictionary has a part in the response");
}

#[tokio::test]
async fn page_of_one_origin_serves_no_other() {
    let service = serve(&layer(), |_, _| fresh(list(10_240, 3, 1)));
    let mut client = Client::default();
    client.get(&service, "http://a.test/items").await;
    for other in ["http://b.test/items", "http://a.test:81/items", "http://a.test/item"] {
        assert!(!client.clone().get(&service, other).await.is_delta(), "{other}");
    }
    assert!(client.clone().get(&service, "http://A.TEST/items").await.is_delta());
    let mut by_host = Client { dictionary: client.dictionary.clone(), ..user(&[]) };
    assert!(by_host.get(&service, "/items").await.is_delta());
    // Nothing says to which origin the response belongs.
    by_host.headers.push(("host", "a.test".to_owned()));
    let read = by_host.get(&service, "/items").await;
    assert!(!read.is_delta() && read.header("use-as-dictionary").is_none());
}

#[tokio::test]
async fn headers_that_tell_users_are_configurable() {
    let key = HeaderName::from_static("x-api-key");
    let by_key = Dictionaries::new().user_headers([key]);
    let service = serve(&CompressLayer::new().dictionaries(by_key), page);
    let mut one = user(&[("x-api-key", "1"), ("cookie", "theme=dark")]);
    one.get(&service, URI).await;
    one.headers[1].1 = "theme=light".to_owned();
    assert!(one.get(&service, URI).await.is_delta(), "the cookie tells no user");
    one.headers[0].1 = "2".to_owned();
    assert!(!one.get(&service, URI).await.is_delta());
    let public = Dictionaries::new().user_headers([]);
    let service =
        serve(&CompressLayer::new().dictionaries(public), |_, _| fresh(list(9_000, 3, 1)));
    let mut one = user(&[("cookie", "id=1")]);
    one.get(&service, URI).await;
    let mut two = Client { dictionary: one.dictionary, ..user(&[("cookie", "id=2")]) };
    assert!(two.get(&service, URI).await.is_delta());
}

#[tokio::test]
async fn public_responses_serve_all_users() {
    // The `cache-control` of the first response and of the second, and the expectation for another
    // user who names the first.
    for (first, second, expected) in [
        ("public, max-age=60", "max-age=60, public", true),
        ("public, max-age=60", "max-age=60", false),
        ("public, max-age=60", "private, max-age=60", false),
        ("max-age=60", "public, max-age=60", false),
        ("private, max-age=60", "public, max-age=60", false),
        ("public, private, max-age=60", "public, max-age=60", false),
    ] {
        let service = serve(&layer(), move |_, call| {
            let mut response = fresh(list(10_240, 3, call));
            let control = if call == 0 { first } else { second };
            response.headers_mut().insert("cache-control", control.parse().unwrap());
            response
        });
        let mut one = user(&[("cookie", "id=1")]);
        let read = one.get(&service, URI).await;
        assert_eq!(read.header("use-as-dictionary"), Some("match=\"/items\""));
        let mut two = Client { dictionary: one.dictionary, ..user(&[("cookie", "id=2")]) };
        let read = two.get(&service, URI).await;
        assert_eq!(
            (read.is_delta(), read.text),
            (expected, list(10_240, 3, 1)),
            "{first}, {second}"
        );
        assert_eq!(read.head.headers["vary"], "accept-encoding, available-dictionary");
    }
    // A page without a user that does not call itself public is one of its own.
    let service = serve(&layer(), |_, _| fresh(list(10_240, 3, 1)));
    let mut nobody = user(&[]);
    nobody.get(&service, URI).await;
    let mut one = Client { dictionary: nobody.dictionary, ..user(&[("cookie", "id=1")]) };
    assert!(!one.get(&service, URI).await.is_delta());
}

#[tokio::test]
async fn layers_share_dictionaries_by_clones_alone() {
    let respond = |_: &Request<()>, _: u64| fresh(list(10_240, 3, 1));
    let dictionaries = Dictionaries::new();
    let layers = [dictionaries.clone(), dictionaries, Dictionaries::new()];
    let [one, clone, other] =
        layers.map(|it| serve(&CompressLayer::new().dictionaries(it), respond));
    let mut client = Client::default();
    client.get(&one, URI).await;
    assert!(client.get(&clone, URI).await.is_delta());
    assert!(!client.get(&other, URI).await.is_delta());
}

#[tokio::test]
async fn clone_with_its_own_store_mixes_nothing_up() {
    let one = Dictionaries::new();
    // The clone has other dictionaries with the same numbers, and prepares them in the same place.
    let two = one.clone().max_bytes(1 << 20);
    let [one, two] = [(one, 100), (two, 200)].map(|(dictionaries, first)| {
        serve(&CompressLayer::new().dictionaries(dictionaries), move |_, call| {
            fresh(list(10_240, 3, first + call / 4))
        })
    });
    let (mut first, mut second) = (Client::default(), Client::default());
    for call in 0..12_u64 {
        let read = first.get(&one, URI).await;
        assert_eq!(read.text, list(10_240, 3, 100 + call / 4));
        let read = second.get(&two, URI).await;
        assert_eq!(read.text, list(10_240, 3, 200 + call / 4));
        assert_eq!(read.is_delta(), call > 0);
    }
}
