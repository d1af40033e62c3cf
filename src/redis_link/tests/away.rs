//! Servers that are silent, gone, or no masters any more.

use super::*;

#[tokio::test]
async fn a_silent_server_is_given_up_in_time_and_nothing_is_sent_twice() {
    let server = RedisServer::start();
    let client = client(&server.url());
    assert_eq!(count(&client, "a").await, Ok(1));
    server.pause();
    assert!(is_gone(&soon(count(&client, "a")).await));
    server.resume();
    // The paused server still had the command in its socket, once.
    assert_eq!(count_again(&client, "a").await, 3);
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_again() {
    let mut server = RedisServer::start();
    let client = client(&server.url());
    assert_eq!(count(&client, "a").await, Ok(1));
    server.kill();
    assert!(is_gone(&count(&client, "a").await));
    server.restart();
    assert_eq!(count_again(&client, "a").await, 1);
}

#[tokio::test]
async fn the_breaker_opens_fails_fast_and_closes() {
    let metrics = Metrics::new();
    let server = RedisServer::start();
    let mut config = config();
    config.breaker_open_ms = 10_000;
    let client = RedisClient::new(&server.url(), &config, &metrics).unwrap();
    assert_eq!(count(&client, "a").await, Ok(1));
    server.pause();
    for _failure in 0..config.breaker_failures {
        assert!(is_gone(&count(&client, "a").await));
    }
    for _call in 0..100 {
        assert!(is_gone(&count(&client, "a").await));
    }
    // None of them was sent.
    let shown = metrics.render();
    assert!(
        shown.contains("usher_redis_breaker_opened_total 1"),
        "{shown}"
    );
    assert!(
        shown.contains("usher_redis_shed_total{reason=\"breaker\"} 100"),
        "{shown}"
    );

    config.breaker_open_ms = 50;
    let other = RedisClient::new(&server.url(), &config, &metrics).unwrap();
    for _failure in 0..config.breaker_failures {
        assert!(is_gone(&count(&other, "a").await));
    }
    server.resume();
    assert!(count_again(&other, "a").await > 1);
    assert!(count(&other, "a").await.is_ok());
}

#[tokio::test]
async fn a_demoted_master_is_left_and_taken_again() {
    let server = RedisServer::start();
    let client = client(&server.url());
    assert_eq!(count(&client, "a").await, Ok(1));
    server.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let answer = count(&client, "a").await;
    assert!(is_gone(&answer), "{answer:?}");
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(count_again(&client, "a").await, 2);
}

#[tokio::test]
async fn commands_beyond_the_limit_are_refused_and_counted() {
    let metrics = Metrics::new();
    let server = RedisServer::start();
    let mut config = config();
    config.in_flight_max = 1;
    config.response_timeout_ms = 50;
    config.connect_timeout_ms = 2_000;
    let client = RedisClient::new(&server.url(), &config, &metrics).unwrap();
    server.pause();
    // Holds the only permit until its connection is given up.
    let (first, second) = tokio::join!(count(&client, "a"), count(&client, "a"));
    assert!(is_gone(&first), "{first:?}");
    assert_eq!(second, Err(LinkError::Overloaded));
    let shown = metrics.render();
    assert!(
        shown.contains("usher_redis_shed_total{reason=\"in_flight\"} 1"),
        "{shown}"
    );
    server.resume();
}

#[tokio::test]
async fn a_server_that_evicts_may_not_hold_rooms() {
    let server = RedisServer::start_with(&[("maxmemory-policy", "allkeys-lru")]);
    let unfit = client(&server.url()).check().await.unwrap_err();
    assert!(matches!(unfit, Unfit::Evicts { .. }), "{unfit}");
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    client(&server.url()).check().await.unwrap();
}

#[tokio::test]
async fn a_server_that_comes_back_unfit_is_not_used_until_it_is_fit() {
    let mut server = RedisServer::start();
    let client = client(&server.url());
    assert_eq!(count(&client, "a").await, Ok(1));
    assert_eq!(client.trouble(), None);
    server.kill();
    assert!(is_gone(&count(&client, "a").await));
    assert!(matches!(client.check().await, Err(Unfit::Link(_))));
    server.restart();
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let found_unfit = async {
        while !matches!(client.check().await, Err(Unfit::Evicts { .. })) {
            tokio::task::yield_now().await;
        }
    };
    soon(found_unfit).await;
    assert!(is_gone(&count(&client, "a").await));
    let trouble = client.trouble().expect("said");
    assert!(trouble.contains("allkeys-lru"), "{trouble}");
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    // Whatever it was told before, it never did.
    assert_eq!(count_again(&client, "a").await, 1);
    assert_eq!(client.trouble(), None);
}

#[tokio::test]
async fn a_wrong_password_is_no_absence() {
    let server = RedisServer::start_with(&[("requirepass", "secret")]);
    let unfit = client(&server.url()).check().await.unwrap_err();
    assert!(matches!(unfit, Unfit::Credentials { .. }), "{unfit}");
    let url = server.url().replace("redis://", "redis://:wrong@");
    let unfit = client(&url).check().await.unwrap_err();
    assert!(matches!(unfit, Unfit::Credentials { .. }), "{unfit}");
    let url = server.url().replace("redis://", "redis://:secret@");
    client(&url).check().await.unwrap();
}
