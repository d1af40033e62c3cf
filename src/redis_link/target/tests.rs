use super::*;
use crate::redis_link::tests::config;

fn target(url: &str) -> Target {
    Target::parse(url, &config()).unwrap()
}

fn refused(url: &str) -> String {
    let refused = Target::parse(url, &config());
    refused.err().expect("must be refused").to_string()
}

fn address(host: &str, port: u16) -> Address {
    Address {
        host: host.to_owned(),
        port,
    }
}

#[test]
fn one_server() {
    let plain = target("redis://cache");
    assert_eq!(plain.kind, Kind::Single(address("cache", 6379)));
    assert!(!plain.is_tls);
    let full = target("rediss://ann:p%40ss@[::1]:7000/3");
    assert_eq!(full.kind, Kind::Single(address("::1", 7000)));
    assert!(full.is_tls);
    assert_eq!(full.login.username(), Some("ann"));
    assert_eq!(full.login.password(), Some("p@ss"));
    assert_eq!(full.login.db(), 3);
}

#[test]
fn sentinels_and_their_master() {
    let two = target("redis+sentinel://:pw@a:1,b/rooms/2?sentinel_password=x%2Fy");
    let seeds = vec![address("a", 1), address("b", 26_379)];
    let name = "rooms".to_owned();
    assert_eq!(two.kind, Kind::Sentinel { seeds, name });
    assert_eq!((two.login.password(), two.login.db()), (Some("pw"), 2));
    assert_eq!(two.sentinel_password.as_deref(), Some("x/y"));
}

#[test]
fn seeds_of_a_cluster() {
    let cluster = target("rediss+cluster://a:7000,b:7001");
    let seeds = vec![address("a", 7000), address("b", 7001)];
    assert_eq!(cluster.kind, Kind::Cluster { seeds });
    assert!(cluster.is_tls);
}

#[test]
fn what_cannot_be_is_refused_by_its_key() {
    for url in [
        "localhost",
        "http://a",
        "redis://",
        "redis://a:b",
        "redis://a,b",
        "redis://a/x",
        "redis://a?timeout=3",
        "redis://u:%zz@a",
        "redis+sentinel://a",
        "redis+sentinel://a/",
        "redis+cluster://a/1",
        "redis+other://a",
    ] {
        assert!(refused(url).starts_with("redis_url: "), "{url}");
    }
}

#[test]
fn a_file_of_certificates_must_be_there() {
    let mut config = config();
    config.ca_file = Some("/nowhere/ca.pem".into());
    let refused = Target::parse("rediss://a", &config).err().expect("refused");
    assert_eq!(refused.key, "redis.ca_file");
}
