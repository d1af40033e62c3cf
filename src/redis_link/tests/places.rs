//! Where Redis is: alone, behind TLS, watched by Sentinels, in a cluster.

use super::*;

#[tokio::test]
async fn a_script_is_loaded_where_it_is_missing() {
    let server = RedisServer::start();
    let client = client(&server.url());
    assert_eq!(count(&client, "a").await, Ok(1));
    assert_eq!(count(&client, "a").await, Ok(2));
    assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK");
    assert_eq!(count(&client, "a").await, Ok(3));
    client.check().await.unwrap();
}

#[tokio::test]
async fn an_error_of_a_script_carries_its_code() {
    let server = RedisServer::start();
    let client = client(&server.url());
    let script = Script::new("return redis.error_reply('STALE epoch 3')");
    let answer = client.script(&script, "a").run::<i64>().await;
    let Err(LinkError::Refused { code, detail }) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!((code.as_str(), detail.as_str()), ("STALE", "epoch 3"));
}

#[tokio::test]
async fn tls_is_spoken_and_an_unknown_authority_is_refused() {
    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("a.crt"), dir.path().join("a.key"));
    std::fs::write(&certificate, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let server = RedisServer::start_tls(&certificate, &key);

    assert!(is_gone(&count(&client(&server.url()), "a").await));
    let mut config = config();
    config.ca_file = Some(certificate);
    let client = RedisClient::new(&server.url(), &config, &Metrics::new()).unwrap();
    assert_eq!(count(&client, "a").await, Ok(1));
}

#[tokio::test]
async fn the_master_is_found_by_sentinels_also_after_a_failover() {
    let mut servers = Sentinels::start();
    let client = client(&servers.url());
    assert_eq!(count(&client, "a").await, Ok(1));
    assert_eq!(servers.master.cli(&["GET", "{a}:n"]), "1");
    client.check().await.unwrap();
    // What replicas do not have yet is lost with their master.
    assert_eq!(servers.master.cli(&["WAIT", "1", "5000"]), "1");
    servers.master.kill();
    assert!(is_gone(&count(&client, "a").await));
    assert_eq!(count_again(&client, "a").await, 2);
    assert_eq!(servers.replica.cli(&["GET", "{a}:n"]), "2");
}

#[tokio::test]
async fn a_cluster_is_asked_by_slot_also_after_a_failover() {
    let mut cluster = RedisCluster::start();
    let client = client(&cluster.url());
    assert!(client.is_cluster());
    client.check().await.unwrap();
    let tags: Vec<_> = (0..50).map(|n| format!("room-{n}")).collect();
    for tag in &tags {
        assert_eq!(count(&client, tag).await, Ok(1));
    }
    for node in cluster.masters() {
        assert_ne!(node.cli(&["DBSIZE"]), "0");
    }

    // A planned change of masters: nothing is lost, and nothing fails.
    let replica = cluster
        .nodes
        .iter()
        .find(|node| node.info("role") == "slave");
    let replica = replica.expect("a replica");
    // One that is asked for at a bad moment comes to nothing.
    let mut looks = 0;
    super::super::servers::until("the replica is master", || {
        if looks % 600 == 0 {
            replica.cli(&["CLUSTER", "FAILOVER"]);
        }
        looks += 1;
        replica.info("role") == "master"
    });
    for tag in &tags {
        assert_eq!(count_again(&client, tag).await, 2);
    }

    // One that nobody planned.
    let port = replica.port;
    let dead = cluster.nodes.iter_mut().find(|node| node.port == port);
    dead.expect("it is there").kill();
    for tag in &tags {
        assert!(count_again(&client, tag).await >= 2);
    }
}
