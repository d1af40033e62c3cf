//! On SQLite.

use super::{Rpc, Stage};
use crate::outage::Outage;

/// The caller goes while the command waits for the writer's lock; then between
/// its commit and its reply; then the reply is lost.
async fn interrupted(rpc: Rpc) {
    let mut stage = Stage::open(&[]).await;
    let round = stage.shop.prepare(rpc).await;
    let outage = Outage::begin(&stage.app.database_url()).await;
    // Reads go on: when this is answered, the command was asked before.
    let other = round.user.clone();
    let is_asked = async move {
        other.balance().await;
    };
    stage.ask_and_go(rpc, &round, is_asked).await;
    drop(outage);
    stage.shop.settle(rpc, &round, None).await;
    stage.after_the_commit(rpc).await;
    stage.app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_hold_has_one_outcome() {
    interrupted(Rpc::Hold).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_payment_has_one_outcome() {
    interrupted(Rpc::Pay).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_cancellation_has_one_outcome() {
    interrupted(Rpc::Cancel).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_redemption_has_one_outcome() {
    interrupted(Rpc::Redeem).await;
}
