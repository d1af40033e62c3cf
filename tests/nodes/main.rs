//! Several real nodes on one Redis and one PostgreSQL.

#[path = "../crash/harness.rs"]
mod harness;
mod house;
mod losses;
mod node;
mod outage;
#[path = "../journey/people.rs"]
#[expect(dead_code, reason = "the journeys use the rest")]
mod people;
#[path = "../servers/postgres.rs"]
mod postgres;
mod quiet;
#[path = "../servers/redis.rs"]
mod redis;
mod together;
