//! Who is the master now, by the Sentinels.
//!
//! All are asked at once. Those cut off from the others still name the old
//! master, so of the answers the one with the highest configuration epoch
//! counts. The server itself must then agree that it is a master.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, Value};

use super::slots::Address;
use super::target::Target;

/// The master's address, and the epoch of the configuration that names it.
pub(super) async fn find(
    target: &Target,
    seeds: &[Address],
    name: &str,
    within: Duration,
) -> Result<(u64, Address), String> {
    let answers = join_all(seeds.iter().map(|seed| ask(target, seed, name, within))).await;
    let mut best: Option<(u64, Address)> = None;
    let mut reasons = Vec::new();
    for answer in answers {
        match answer {
            Ok(found) if best.as_ref().is_none_or(|best| best.0 < found.0) => best = Some(found),
            Ok(_) => {}
            Err(error) => reasons.push(error.to_string()),
        }
    }
    best.ok_or_else(|| format!("no sentinel names {name}: {}", reasons.join("; ")))
}

async fn ask(
    target: &Target,
    seed: &Address,
    name: &str,
    within: Duration,
) -> Result<(u64, Address), RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(within))
        .set_response_timeout(Some(within));
    let client = target.sentinel_client(seed)?;
    let mut sentinel = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let facts: HashMap<String, String> = redis::cmd("SENTINEL")
        .arg("MASTER")
        .arg(name)
        .query_async(&mut sentinel)
        .await?;
    let unreadable = || RedisError::from((ErrorKind::Parse, "a sentinel's answer is incomplete"));
    let epoch = facts
        .get("config-epoch")
        .and_then(|epoch| epoch.parse().ok());
    // Asked after the epoch, so that it is never of an earlier failover: while
    // one is under way the facts above still name the old master.
    let (host, port): (String, String) = redis::cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(name)
        .query_async(&mut sentinel)
        .await?;
    let port = port.parse().map_err(|_| unreadable())?;
    Ok((epoch.unwrap_or_default(), Address { host, port }))
}

/// An error unless the server says that it is a master.
pub(super) async fn expect_master(
    connection: &mut MultiplexedConnection,
) -> Result<(), RedisError> {
    let role: Vec<Value> = redis::cmd("ROLE").query_async(connection).await?;
    let is_master = role.first().is_some_and(|role| match role {
        Value::BulkString(role) => role == b"master",
        Value::SimpleString(role) => role == "master",
        _ => false,
    });
    match is_master {
        true => Ok(()),
        false => Err((ErrorKind::Client, "the server is not a master").into()),
    }
}
