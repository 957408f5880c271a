use super::*;

fn at(url: &str) -> Result<Server, String> {
    Server::at(&Address { url: url.to_owned(), login: None })
}

#[test]
fn urls_name_the_nodes() {
    for (url, kind, nodes) in [
        ("redis://localhost", "Single", &["localhost:6379"][..]),
        ("valkey://user:s%40%2F@[::1]:1/3?protocol=resp3", "Single", &["::1:1"]),
        ("redis+unix:///run/a%20b.sock", "Single", &["/run/a b.sock"]),
        ("redis+unix://user:s%40%2F@localhost/run/a", "Single", &["/run/a"]),
        ("redis-cluster://a:1?node=b:2&node=c:3", "Cluster", &["a:1", "b:2", "c:3"]),
        ("redis-sentinel://a:1/3?sentinelServiceName=x&node=b:2", "Sentinels", &["a:1", "b:2"]),
    ] {
        let server = at(url).unwrap();
        let addrs: Vec<_> = server.nodes.iter().map(|node| node.addr().to_string()).collect();
        assert_eq!(addrs, nodes, "{url}");
        assert!(format!("{:?}", server.kind).starts_with(kind), "{url}");
    }
    for url in [
        "rediss://localhost",
        "valkeys://localhost",
        "rediss-cluster://a:1?node=b:2",
        "redis-sentinel://a:1/3",
        "redis-other://a:1",
        "redis://",
        "redis://a:x",
        "redis://a/x",
        "redis-cluster://a:1?node=b:x",
        "redis",
    ] {
        assert!(at(url).is_err(), "{url}");
    }
}

#[test]
fn logins_are_those_of_the_url() {
    let url = "redis-sentinel://user:s%40%2F@a:1/3?sentinelServiceName=x&sentinelPassword=other";
    let server = at(url).unwrap();
    let Kind::Sentinels(service, login) = server.kind else { panic!("{url}") };
    let login = (login.username(), login.password(), login.db());
    assert_eq!((&*service, login), ("x", (Some("user"), Some("s@/"), 3)));
    let of_sentinels = server.nodes[0].redis_settings();
    assert_eq!((of_sentinels.username(), of_sentinels.password()), (None, Some("other")));

    for url in ["redis://user:s%40%2F@a:1", "redis+unix://user:s%40%2F@localhost/a"] {
        let login = at(url).unwrap().nodes[0].redis_settings().clone();
        assert_eq!((login.username(), login.password()), (Some("user"), Some("s@/")), "{url}");
    }
    let login = Some((None, Some("s@/".to_owned())));
    let server = Server::at(&Address { url: "redis://a".to_owned(), login }).unwrap();
    let login = server.nodes[0].redis_settings();
    assert_eq!((login.username(), login.password()), (None, Some("s@/")));
}
