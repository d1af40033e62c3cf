//! Callers that go away, and answers that are lost, in the middle of a command
//! that moves seats or money: it happens once or not at all, a repeat by the same
//! key tells which, and nobody else notices (V2, V5, M3).
//!
//! [`wire`]: a proxy between a node and PostgreSQL or MariaDB holds or cuts what
//! it is told to. [`file`]: SQLite has no wire; another process has its lock.
//! Both: failpoints between the commit and the reply.

use tonic::Code;
use usher::truth::failpoint::Action;

use crate::harness::{TestApp, soon};

pub mod asked;
mod file;
mod wire;

use asked::{PATIENT, Round, Rpc, Shop};

/// A node and what it sells, with the connections of each pool that writes
/// reduced to one: whatever is left on it is met by the next.
struct Stage {
    app: TestApp,
    shop: Shop,
}

const SETTINGS: [(&str, &str); 2] = [
    ("USHER_DATABASE__CHECKOUT_CONNECTIONS", "1"),
    ("USHER_DATABASE__WRITE_CONNECTIONS", "1"),
];

impl Stage {
    async fn open(settings: &[(&str, &str)]) -> Self {
        let settings = SETTINGS.iter().chain(&PATIENT).chain(settings);
        let settings: Vec<_> = settings.copied().collect();
        let app = TestApp::start_with(&settings).await;
        let shop = Shop::open(app.connect().await).await;
        Self { app, shop }
    }

    /// Asks, and goes away when `then` is so.
    async fn ask_and_go(&self, rpc: Rpc, round: &Round, then: impl Future<Output = ()>) {
        let mut call = Box::pin(self.shop.ask(rpc, round));
        let gone = async {
            tokio::select! {
                biased;
                answer = &mut call => panic!("answered before its time: {answer:?}"),
                () = then => {}
            }
        };
        soon("the moment to go", gone).await;
        drop(call);
        // What the node reads of this connection next comes after that.
        round.user.balance().await;
    }

    /// The caller is gone, or the reply is lost, when all is committed.
    async fn after_the_commit(&mut self, rpc: Rpc) {
        let point = rpc.committed();
        let failpoints = self.app.failpoints.clone();
        let round = self.shop.prepare(rpc).await;
        failpoints.arm(point, Action::Pause, 0);
        self.ask_and_go(rpc, &round, failpoints.paused(point)).await;
        failpoints.resume(point);
        self.shop.settle(rpc, &round, Some(true)).await;

        let round = self.shop.prepare(rpc).await;
        failpoints.arm(point, Action::Error, 0);
        let lost = self.shop.ask(rpc, &round).await.expect_err("no reply");
        assert_eq!(lost.code(), Code::Unavailable, "{lost:?}");
        self.shop.settle(rpc, &round, Some(true)).await;
    }
}
