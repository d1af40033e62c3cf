//! Several real nodes on one Redis and one PostgreSQL.

mod alone;
mod beginnings;
mod bulk;
#[path = "../crash/client.rs"]
#[expect(dead_code, reason = "the crashes use the rest")]
mod client;
mod coupons;
mod crowd;
mod crowded;
#[path = "../servers/databases.rs"]
mod databases;
mod deaths;
mod fencing;
mod fleet;
#[path = "../crash/harness.rs"]
mod harness;
mod house;
#[path = "../servers/islands.rs"]
mod islands;
mod keys;
mod losses;
mod node;
mod outage;
#[path = "../journey/people.rs"]
#[expect(dead_code, reason = "the journeys use the rest")]
mod people;
mod presence;
mod quiet;
#[path = "../crash/record.rs"]
#[expect(dead_code, reason = "the crashes use the rest")]
mod record;
#[path = "../servers/redis.rs"]
mod redis;
mod redis_faults;
mod set_back;
#[path = "../servers/sides.rs"]
mod sides;
mod storm;
mod together;
mod witnesses;

use databases::postgres;
