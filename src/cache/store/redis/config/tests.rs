use super::*;

#[test]
fn urls_are_parsed() {
    for (url, fits) in [
        ("redis://localhost", true),
        ("redis://user:secret@localhost:6380/3", true),
        ("valkey://localhost", true),
        ("redis+unix:///run/redis.sock", true),
        ("redis-cluster://a:1?node=b:2", true),
        ("redis-sentinel://a:1/0?sentinelServiceName=main", true),
        ("redis-sentinel://a:1/0", false),
        ("http://localhost", false),
        ("localhost:6379", false),
        ("redis://localhost:x", false),
        ("redis://localhost/x", false),
        ("redis://user:p#ss@localhost", false),
        ("", false),
    ] {
        let config = RedisConfig::new(url);
        assert_eq!(config.is_ok(), fits, "{url}: {config:?}");
    }
}

#[test]
fn environment_names_the_server() {
    let config = |variables: &[(&str, &str)]| {
        RedisConfig::from_variables(|name| {
            let found = variables.iter().find(|(of, _)| *of == name);
            Ok(found.map(|(_, value)| (*value).to_owned()))
        })
    };
    let server = |variables: &[(&str, &str)]| format!("{:?}", config(variables).unwrap().server);
    let at_url = |url: &str| format!("{:?}", RedisConfig::new(url).unwrap().server);
    assert_eq!(server(&[]), at_url("redis://127.0.0.1:6379"));
    assert_eq!(
        server(&[("REDIS_HOST", "a"), ("REDIS_PORT", "1"), ("REDIS_PASSWORD", "s@/?")]),
        at_url("redis://:s%40%2F%3F@a:1")
    );
    assert_eq!(server(&[("REDIS_HOST", "::1")]), at_url("redis://[::1]"));
    assert_eq!(server(&[("REDIS_URL", "redis://b"), ("REDIS_HOST", "a")]), at_url("redis://b"));
    for wrong in
        [("REDIS_PORT", "x"), ("REDIS_PORT", "65536"), ("REDIS_URL", "x"), ("REDIS_HOST", "a b")]
    {
        assert!(config(&[wrong]).is_err(), "{wrong:?}");
    }
}

#[test]
fn numbers_out_of_range_are_clamped() {
    let config = || RedisConfig::new("redis://localhost").unwrap();
    let ms = Duration::from_millis;
    for (given, timeout, lease) in
        [(ms(0), ms(1), ms(100)), (ms(1), ms(1), ms(100)), (ms(101), ms(101), ms(101))]
    {
        assert_eq!(config().command_timeout(given).command_timeout, timeout);
        assert_eq!(config().lease_ttl(given).lease_ttl, Some(lease));
    }
    let most = 512 * crate::MIB;
    for (given, taken) in [(0, 0), (most, most), (most + 1, most), (u64::MAX, most)] {
        assert_eq!(config().max_entry_size(given).max_entry_size, taken);
    }
}

#[test]
fn password_is_not_shown() {
    let config = RedisConfig::new("redis://:secret@localhost").unwrap();
    assert!(!format!("{config:?}").contains("secret"));
}
