use tower_kit::CompressLayer;
use tower_kit::compress::dictionary::Dictionaries;

use super::support::{Client, URI, fresh, list, serve};

#[tokio::test]
async fn storms_leave_what_clients_use() {
    let dictionaries = Dictionaries::new().max_count(100).max_prepared_bytes(2 << 20);
    let service = serve(&CompressLayer::new().dictionaries(dictionaries), |request, call| {
        match request.uri().path() {
            "/items" => fresh(list(10_240, 3, call)),
            path => fresh(format!("{path}{}", String::from_utf8_lossy(&list(1_500, 3, call)))),
        }
    });
    let mut client = Client::default();
    client.get(&service, URI).await;
    client.get(&service, URI).await;
    for number in 0..2_000_u32 {
        let uri = format!("http://a.test/storm/{number}");
        let mut attacker =
            Client { dictionary: Some(number.to_string().into()), ..Client::default() };
        attacker.get(&service, &uri).await;
        // Its own page, of which a second use makes a prepared dictionary.
        for _ in 0..2 {
            attacker.get(&service, &uri).await;
        }
        if number % 20 == 0 {
            assert!(client.get(&service, URI).await.is_delta(), "{number}");
        }
    }
}

#[tokio::test]
async fn evicted_dictionary_is_as_none() {
    let dictionaries = Dictionaries::new().max_count(1);
    let service = serve(&CompressLayer::new().dictionaries(dictionaries), |request, call| {
        fresh(format!("{}{}", request.uri(), String::from_utf8_lossy(&list(3_000, 3, call))))
    });
    let mut client = Client::default();
    client.get(&service, URI).await;
    Client::default().get(&service, "http://a.test/other").await;
    assert!(!client.get(&service, URI).await.is_delta());
    assert!(client.get(&service, URI).await.is_delta(), "the client has a newer one by now");
}

#[tokio::test]
async fn sizes_are_bounded() {
    let dictionaries = Dictionaries::new().max_size(5_000);
    let service = serve(&CompressLayer::new().dictionaries(dictionaries), |request, _| {
        fresh(list(request.uri().query().unwrap().parse().unwrap(), 3, 1))
    });
    for (size, expected) in [(1_024, true), (5_000, true), (5_001, false), (200_000, false)] {
        let read = Client::default().get(&service, &format!("{URI}?{size}")).await;
        assert_eq!(read.header("use-as-dictionary").is_some(), expected, "{size}");
    }
}
