//! What the other tests stand on: servers that are started, killed and
//! started again.

mod islands;
mod kafka;
mod mariadb;
mod postgres;
mod redis;
mod sides;

use islands::Islands;
use redis::{RedisCluster, RedisServer, Sentinels, until};
use sides::Sides;

#[test]
fn a_server_keeps_port_and_data_over_a_kill() {
    let mut server = RedisServer::start_with(&[("appendonly", "yes"), ("appendfsync", "always")]);
    assert_eq!(server.cli(&["SET", "a", "1"]), "OK");
    server.kill();
    assert_eq!(server.cli(&["GET", "a"]), "");
    server.restart();
    assert_eq!(server.cli(&["GET", "a"]), "1");
}

#[test]
fn a_server_without_persistence_forgets() {
    let mut server = RedisServer::start();
    let first_life = server.info("run_id");
    server.cli(&["SET", "a", "1"]);
    server.restart();
    assert_eq!(server.cli(&["GET", "a"]), "");
    assert_ne!(server.info("run_id"), first_life);
}

#[test]
fn sentinels_promote_the_replica_of_a_master_that_died() {
    let mut all = Sentinels::start();
    assert_eq!(all.master_port(), all.master.port);
    all.master.cli(&["SET", "a", "1"]);
    until("the replica has it", || {
        all.replica.cli(&["GET", "a"]) == "1"
    });
    all.master.kill();
    all.await_failover();
    assert_eq!(all.replica.cli(&["GET", "a"]), "1");
}

#[test]
fn a_cluster_serves_all_slots() {
    let cluster = RedisCluster::start();
    let masters = cluster.masters();
    let said = masters[0].cli(&["-c", "SET", "{room}:a", "1"]);
    assert_eq!(said, "OK");
    assert_eq!(masters[1].cli(&["-c", "GET", "{room}:a"]), "1");
}

#[test]
fn a_postgresql_keeps_what_it_committed_over_a_kill() {
    let server = postgres::Postgres::start();
    let one = server.create(None);
    server.sql(&one, "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (7)");
    server.kill();
    server.restart();
    assert_eq!(server.sql(&one, "SELECT n FROM t").trim(), "7");
    let copy = server.create(Some(&one));
    assert_eq!(server.sql(&copy, "SELECT n FROM t").trim(), "7");
    let by_language = server.sql(&copy, "SELECT 'a' < 'B'");
    assert_eq!(
        by_language.trim(),
        "t",
        "its default order is not that of bytes"
    );
    server.drop_database(&copy);
}

#[test]
fn a_mariadb_keeps_what_it_committed_over_a_kill() {
    let server = mariadb::MariaDb::start();
    let one = server.create(None);
    server.sql(&one, "CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (7)");
    server.kill();
    server.restart();
    assert_eq!(server.sql(&one, "SELECT n FROM t").trim(), "7");
    let copy = server.create(Some(&one));
    assert_eq!(server.sql(&copy, "SELECT n FROM t").trim(), "7");
    let folds = server.sql(&copy, "SELECT 'a' = 'A ', @@sql_mode = ''");
    assert_eq!(folds.trim(), "1\t1", "its defaults are of no help");
    server.drop_database(&copy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_with_most_sentinels_promotes_its_replica_and_the_other_keeps_its_master() {
    let sides = Sides::start().await;
    sides.cut();
    sides.await_promotion();
    assert_eq!(sides.master.info("role"), "master");
    assert_eq!(sides.master.cli(&["SET", "a", "old"]), "OK");
    assert_eq!(sides.replica.cli(&["SET", "a", "new"]), "OK");
    sides.heal();
    sides.await_agreement();
    // Whatever was written on the side that lost is gone.
    assert_eq!(sides.master.cli(&["GET", "a"]), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_cut_off_from_its_cluster_takes_writes_that_are_lost() {
    let islands = Islands::start().await;
    let set = |index: usize, value| islands.server(index).cli(&["SET", "a", value]);
    let moved = set(0, "first");
    // One of three has the slot; the others say who.
    let first = (0..6).find(|&index| set(index, "first") == "OK");
    let first = first.unwrap_or_else(|| panic!("nobody takes it: {moved}"));
    let (master, replica) = islands.pair_of("a");
    assert_eq!(master, first);
    islands.cut_off(master, replica);
    assert_eq!(set(master, "lost"), "OK", "it has not noticed yet");
    islands.await_promotion(replica);
    assert_eq!(islands.server(replica).cli(&["GET", "a"]), "first");
    islands.heal(master, replica);
    islands.await_return(master);
    assert_eq!(islands.server(replica).cli(&["GET", "a"]), "first");
}

#[tokio::test]
async fn a_broker_keeps_its_topics_over_a_kill() {
    let mut kafka = kafka::Kafka::start();
    kafka.create_topic("kept", 2).await;
    kafka.kill(0);
    kafka.restart(0);
    // Refused if it were not there, or had as many.
    kafka.grow_topic("kept", 3).await;
}
