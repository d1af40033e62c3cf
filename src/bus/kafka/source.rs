//! The source of a consumer: a member of its group.
//!
//! Offsets are committed only behind what was consumed; after a crash, or when
//! partitions move to another member, some comes again. What came from a
//! partition before it moved is neither answered nor committed afterwards: its
//! member of now may be far ahead, and would be set back. While a consumer waits
//! before it tries again, its partitions are paused, also those that it is given
//! meanwhile, and the client is asked all the same: so the group does not take
//! it for dead.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Deref;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use metrics::Gauge;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{Instant, sleep, timeout_at};

use crate::bus::{Arrival, EventSource, OutboxEvent};
use crate::config::KafkaConfig;
use crate::domain::time::UnixMs;

use super::{KafkaSetup, Listener, client, wire};

/// After an error of the client, which goes on by itself.
const ERROR_PAUSE: Duration = Duration::from_millis(200);
/// Of a message that nobody can read.
const SHOWN_BYTES_MAX: usize = 4_096;
/// A member that ends says so, for others to take over at once. The client does
/// not give up on that while no broker answers; we do.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

pub struct KafkaSource {
    consumer: Membership,
    topic: String,
    /// Came while nobody wanted any.
    early: VecDeque<Placed>,
    /// Behind what was answered, by partition, and the tenure it came in.
    answered: HashMap<i32, (i64, u64)>,
}

/// A client that leaves its group in bounded time.
struct Membership(Option<StreamConsumer<Listener>>);

impl Deref for Membership {
    type Target = StreamConsumer<Listener>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let consumer = self.0.take();
        let (left, leaving) = mpsc::sync_channel::<()>(0);
        let farewell = thread::Builder::new().name("kafka.leave".to_owned());
        let said = farewell.spawn(move || {
            drop(consumer);
            drop(left);
        });
        if said.is_ok() {
            let _ = leaving.recv_timeout(LEAVE_WITHIN);
        }
    }
}

struct Placed {
    partition: i32,
    offset: i64,
    /// How often the partition had been lost when it came.
    tenure: u64,
    arrival: Arrival,
}

impl KafkaSource {
    /// # Errors
    /// [`KafkaSetup`] for what the client does not take.
    pub fn new(
        brokers: &str,
        config: &KafkaConfig,
        consumer: &str,
        lag: Gauge,
    ) -> Result<Self, KafkaSetup> {
        let heartbeat_ms = config.session_timeout_ms / 3;
        let refresh_ms = config.metadata_refresh_ms.to_string();
        let source: StreamConsumer<Listener> = client(brokers)
            .set("group.id", format!("{}.{consumer}", config.group))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Partitions that were added are read from their beginning.
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", config.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", heartbeat_ms.to_string())
            .set("topic.metadata.refresh.interval.ms", refresh_ms)
            .set("fetch.error.backoff.ms", "100")
            .set("statistics.interval.ms", "1000")
            .create_with_context(Listener::new(Some(lag)))?;
        source.subscribe(&[&config.topic])?;
        Ok(Self {
            consumer: Membership(Some(source)),
            topic: config.topic.clone(),
            early: VecDeque::new(),
            answered: HashMap::new(),
        })
    }

    async fn receive(&mut self) -> Placed {
        loop {
            match self.consumer.recv().await {
                Ok(message) => return self.placed(&message),
                Err(error) => {
                    tracing::debug!(error = %error, "kafka's consumer goes on");
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    fn placed(&self, message: &BorrowedMessage<'_>) -> Placed {
        let partition = message.partition();
        Placed {
            partition,
            offset: message.offset(),
            tenure: self.consumer.context().departures.of(partition),
            arrival: arrival(message),
        }
    }

    fn answer(&mut self, placed: Placed) -> Arrival {
        let behind = (placed.offset + 1, placed.tenure);
        self.answered.insert(placed.partition, behind);
        placed.arrival
    }

    /// Forgets what came from partitions before they moved.
    fn forget_lost(&mut self) {
        let departures = &self.consumer.context().departures;
        let is_mine = |partition, tenure| departures.of(partition) == tenure;
        self.early
            .retain(|placed| is_mine(placed.partition, placed.tenure));
        self.answered
            .retain(|partition, (_, tenure)| is_mine(*partition, *tenure));
    }

    fn try_commit(&self) -> Result<(), KafkaError> {
        if self.answered.is_empty() {
            return Ok(());
        }
        let mut behind = TopicPartitionList::new();
        for (partition, (offset, _)) in &self.answered {
            behind.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
        }
        self.consumer.commit(&behind, CommitMode::Async)
    }

    /// Pauses what is assigned now, beside what was before: a partition that
    /// comes back is still paused.
    fn hold_back(&self, paused: &mut BTreeSet<i32>) {
        let mine = self.consumer.assignment().unwrap_or_default();
        paused.extend(mine.elements().iter().map(|one| one.partition()));
        note_moved(self.consumer.pause(&mine));
    }

    fn go_on(&self, paused: &BTreeSet<i32>) {
        let mut list = TopicPartitionList::new();
        for partition in paused {
            list.add_partition(&self.topic, *partition);
        }
        note_moved(self.consumer.resume(&list));
    }
}

fn note_moved(done: Result<(), KafkaError>) {
    if let Err(error) = done {
        tracing::debug!(error = %error, "partitions moved meanwhile");
    }
}

#[async_trait]
impl EventSource for KafkaSource {
    async fn next(&mut self, events_max: usize) -> Vec<Arrival> {
        self.forget_lost();
        while self.early.is_empty() {
            let first = self.receive().await;
            self.early.push_back(first);
            self.forget_lost();
        }
        while self.early.len() < events_max
            && let Some(Ok(message)) = self.consumer.recv().now_or_never()
        {
            let placed = self.placed(&message);
            self.early.push_back(placed);
        }
        self.forget_lost();
        let mut arrivals = Vec::with_capacity(self.early.len().min(events_max));
        while arrivals.len() < events_max
            && let Some(placed) = self.early.pop_front()
        {
            let arrival = self.answer(placed);
            arrivals.push(arrival);
        }
        arrivals
    }

    fn commit(&mut self) {
        self.forget_lost();
        if let Err(error) = self.try_commit() {
            // What is not committed comes again.
            tracing::debug!(error = %error, "offsets not committed");
        }
    }

    async fn pause(&mut self, pause: Duration) {
        let ends_at = Instant::now() + pause;
        let mut paused = BTreeSet::new();
        self.hold_back(&mut paused);
        while let Ok(placed) = timeout_at(ends_at, self.receive()).await {
            self.early.push_back(placed);
            self.forget_lost();
            // It is of a partition that came since: one message of each at most.
            self.hold_back(&mut paused);
        }
        self.go_on(&paused);
    }
}

fn arrival(message: &BorrowedMessage<'_>) -> Arrival {
    let bytes = message.payload().unwrap_or_default();
    match wire::decode(bytes) {
        Ok(event) => Arrival {
            event,
            unreadable: None,
        },
        Err(why) => Arrival {
            event: unreadable(message, bytes),
            unreadable: Some(why),
        },
    }
}

/// For the record: where it is, and what can be shown of it.
fn unreadable(message: &BorrowedMessage<'_>, bytes: &[u8]) -> OutboxEvent {
    let (topic, partition) = (message.topic(), message.partition());
    let created_at = message.timestamp().to_millis().unwrap_or_default();
    OutboxEvent {
        id: format!("{partition}@{}", message.offset()),
        aggregate: format!("{topic}/{partition}"),
        version: u64::try_from(message.offset()).unwrap_or_default(),
        kind: "unreadable".to_owned(),
        payload: shown(bytes),
        created_at: UnixMs(u64::try_from(created_at).unwrap_or_default()),
        route: None,
        trace: None,
    }
}

/// As text that every database takes.
fn shown(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    String::from_utf8_lossy(shown).replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests;
