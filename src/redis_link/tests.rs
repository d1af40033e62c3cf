use super::servers::RedisServer;
use super::*;
use crate::config::Sources;

pub(crate) fn config() -> RedisConfig {
    Sources::default().load().expect("valid defaults").redis
}

fn client(url: &str) -> RedisClient {
    RedisClient::new(url, &config(), &Metrics::new()).expect("a target")
}

const COUNT: &str = "return redis.call('INCRBY', KEYS[1], ARGV[1])";

async fn count(client: &RedisClient) -> Result<i64, LinkError> {
    let script = Script::new(COUNT);
    client.script(&script, "a").key("{a}:n").arg(1).run().await
}

#[tokio::test]
async fn a_script_is_loaded_where_it_is_missing() {
    let server = RedisServer::start();
    let client = client(&server.url());
    assert_eq!(count(&client).await, Ok(1));
    assert_eq!(count(&client).await, Ok(2));
    assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK");
    assert_eq!(count(&client).await, Ok(3));
    client.check().await.unwrap();
}
