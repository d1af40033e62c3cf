//! `kill -9` between the commit of a command and its reply, on each database: a
//! repeat by the same key tells what happened, which is once.

use usher::app::stores::open_sql;
use usher::config::{Flags, Sources};
use usher::store::sales::Audit as _;

use crate::asked::{PATIENT, Rpc, Shop};
use crate::client::World;
use crate::databases::{Database, Kind};
use crate::server::{self, Server};

async fn killed(kind: Option<Kind>, rpc: Rpc) {
    let dir = tempfile::tempdir().expect("a directory");
    let url = kind.map(|kind| Database::new(kind).url());
    let mut env: Vec<_> = url
        .iter()
        .map(|url| ("USHER_DATABASE_URL", url.as_str()))
        .chain(PATIENT)
        .collect();
    let armed = format!("{}=kill", rpc.committed().name());
    env.push(("USHER_FAILPOINTS", &armed));
    let (mut server, port) = Server::first(dir.path(), &env).await;
    let world = World::new(port);
    let mut shop = Shop::open(world.channel.clone()).await;
    let round = shop.prepare(rpc).await;
    shop.ask(rpc, &round).await.expect_err("its reply is lost");
    server.died().await;
    env.pop();
    let server = Server::again(dir.path(), port, &env).await;
    shop.settle(rpc, &round, Some(true)).await;
    server.terminate().await;
    match &url {
        None => server::assert_is_sound(dir.path()).await,
        Some(url) => assert_audit_is_clean(dir.path(), url).await,
    }
}

async fn assert_audit_is_clean(dir: &std::path::Path, url: &str) {
    let sources = Sources {
        file: None,
        env: Vec::new(),
        flags: Flags::from([
            ("data_dir", dir.display().to_string()),
            ("database_url", url.to_owned()),
        ]),
    };
    let config = sources.load().expect("a valid configuration");
    let sql = open_sql(&config).await.expect("opened");
    let report = sql.audit().await.expect("audited");
    assert!(report.is_clean(), "{report:#?}");
}

macro_rules! killed_on {
    ($module:ident: $kind:expr) => {
        mod $module {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn killed_before_the_reply_to_a_hold() {
                killed($kind, Rpc::Hold).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn killed_before_the_reply_to_a_payment() {
                killed($kind, Rpc::Pay).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn killed_before_the_reply_to_a_cancellation() {
                killed($kind, Rpc::Cancel).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn killed_before_the_reply_to_a_redemption() {
                killed($kind, Rpc::Redeem).await;
            }
        }
    };
}

killed_on!(sqlite: None);
killed_on!(postgres: Some(Kind::Postgres));
killed_on!(mariadb: Some(Kind::MariaDb));
