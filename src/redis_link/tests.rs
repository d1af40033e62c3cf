use std::time::Duration;

use tokio::time::Instant;

use super::servers::{RedisCluster, RedisServer, Sentinels};
use super::*;
use crate::config::Sources;

mod away;
mod places;

pub(crate) fn config() -> RedisConfig {
    RedisConfig {
        // Longer than a busy machine keeps an answer back.
        response_timeout_ms: 2_000,
        ..Sources::default().load().expect("valid defaults").redis
    }
}

fn client(url: &str) -> RedisClient {
    RedisClient::new(url, &config(), &Metrics::new()).expect("a target")
}

const COUNT: &str = "return redis.call('INCRBY', KEYS[1], ARGV[1])";

/// One more of the counter of a tag; answers where it stands.
async fn count(client: &RedisClient, tag: &str) -> Result<i64, LinkError> {
    let script = Script::new(COUNT);
    let key = format!("{{{tag}}}:n");
    client.script(&script, tag).key(key).arg(1).run().await
}

/// No wait of a test is longer.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.expect("it happens in time")
}

/// Counts until it works again; answers where the counter stands.
async fn count_again(client: &RedisClient, tag: &str) -> i64 {
    let patience = Instant::now() + PATIENCE;
    loop {
        match count(client, tag).await {
            Ok(n) => return n,
            Err(LinkError::Unavailable(_)) if Instant::now() < patience => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("never again: {error}"),
        }
    }
}

fn is_gone(answer: &Result<i64, LinkError>) -> bool {
    matches!(answer, Err(LinkError::Unavailable(_)))
}
