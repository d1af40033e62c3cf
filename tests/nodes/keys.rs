//! Nodes whose signing keys are in mounted directories.

use std::collections::HashSet;
use std::path::Path;

use tempfile::TempDir;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use usher::clock::{Clock as _, SystemClock};
use usher::entropy::{Entropy as _, SystemEntropy};
use usher::keys::files::{KEY_FILE, load_or_create, rotate};

use crate::harness::soon;
use crate::house::House;
use crate::node::Node;

/// Many times what nodes need to read the keys again.
const LEAD_S: u64 = 10;

fn fill(bytes: &mut [u8]) {
    SystemEntropy.fill(bytes);
}

/// A directory with keys, as someone else would fill it.
fn mount() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    load_or_create(dir.path(), SystemClock.now(), &fill).expect("made");
    dir
}

async fn readiness(node: &Node) -> (String, ServingStatus) {
    let answer = node.get("/readyz").await;
    let mut health = HealthClient::new(node.channel.clone());
    let asked = health.check(HealthCheckRequest::default());
    let told = soon("a health check", asked).await.expect("answered");
    let said = answer.split("\r\n\r\n").nth(1).expect("a body").trim();
    (said.to_owned(), told.into_inner().status())
}

/// Both probes say so.
async fn until_ready_is(node: &Node, ready: bool) -> String {
    let status = match ready {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    };
    let asked = async {
        loop {
            let (said, told) = readiness(node).await;
            if said.starts_with("ready") == ready && told == status {
                return said;
            }
        }
    };
    soon("the readiness", asked).await
}

async fn assert_ready(house: &House, nodes: usize) {
    for node in &house.nodes[..nodes] {
        let answer = node.get("/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

/// Joins by one node; all accept what it gave.
async fn join_and_show(house: &House, by: usize, id: &str) -> String {
    let ticket = house.user(by, id).join(&house.room).await;
    show(house, id, &ticket.token).await;
    ticket.token
}

async fn show(house: &House, id: &str, token: &str) {
    for node in 0..house.nodes.len() {
        let place = house.user(node, id).place(token).await;
        assert!(place.number > 0);
    }
}

/// Of the key that signed a place token: its four bytes come after the first.
fn signed_by(token: &str) -> String {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token);
    let bytes = bytes.expect("base64url");
    bytes[1..5]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_one_mounted_directory_rotate_under_load_and_reject_no_token() {
    let mounted = mount();
    let house = House::with_keys_in(&[mounted.path(); 3], 1).await;
    assert_ready(&house, 3).await;
    let before = join_and_show(&house, 0, "before").await;
    let ring = rotate(mounted.path(), SystemClock.now(), LEAD_S, &fill).expect("rotated");
    let new = &ring.mac[0].kid;
    let mut with_new: HashSet<usize> = HashSet::new();
    let mut with_old = 0;
    let load = async {
        for turn in 0_usize.. {
            let by = turn % 3;
            let token = join_and_show(&house, by, &format!("user-{turn}")).await;
            match signed_by(&token) == *new {
                true => _ = with_new.insert(by),
                false => with_old += 1,
            }
            assert_ready(&house, 3).await;
            if with_new.len() == 3 {
                return;
            }
        }
    };
    soon("the new key on all nodes", load).await;
    assert!(with_old > 0, "the rotation had a lead");
    show(&house, "before", &before).await;
    assert_ne!(signed_by(&before), *new);
    let published = house.nodes[0].get("/.well-known/jwks.json").await;
    assert_eq!(published.matches("\"kid\"").count(), 2, "{published}");
}

fn copy(from: &TempDir, to: &Path) {
    let staged = to.join("staged");
    std::fs::copy(from.path().join(KEY_FILE), &staged).expect("copied");
    std::fs::rename(staged, to.join(KEY_FILE)).expect("renamed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_mounted_directory_is_not_ready() {
    let (ours, theirs) = (mount(), mount());
    let dirs = [ours.path(), ours.path(), theirs.path()];
    let mut house = House::with_keys_in(&dirs, 1).await;
    let why = until_ready_is(&house.nodes[2], false).await;
    assert!(
        why.contains("signing keys: this node does not have key"),
        "{why}"
    );
    assert_ready(&house, 2).await;
    // It is given the right ones, and then a rotation passes it by.
    copy(&ours, theirs.path());
    until_ready_is(&house.nodes[2], true).await;
    join_and_show(&house, 2, "late").await;
    rotate(ours.path(), SystemClock.now(), LEAD_S, &fill).expect("rotated");
    until_ready_is(&house.nodes[2], false).await;
    assert_ready(&house, 2).await;
    // What the database lets in, mounted keys do not: sources may not be mixed.
    house.start_node().await;
    until_ready_is(&house.nodes[3], false).await;
    assert_ready(&house, 2).await;
}
