//! The product as its clients meet it: a whole node on port 0, real clients.

mod bad_input;
mod cancelled;
mod claims;
mod codes;
mod coupons;
#[path = "../servers/databases.rs"]
mod databases;
mod deadlines;
mod degraded;
mod ends;
mod events;
mod feed;
mod figures;
mod gates;
mod gateway;
mod grant_faults;
mod grants;
mod harness;
mod idempotency;
mod interrupted;
#[path = "../servers/kafka.rs"]
mod kafka;
mod lanes;
mod notices;
mod outage;
mod people;
mod providers;
mod sale;
mod slow;
mod stop;
mod stream;
mod stream_ends;
mod stream_limits;
#[path = "../servers/gateway.rs"]
mod stub;
mod traces;
mod unimplemented;
