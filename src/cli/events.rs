//! `usher events`: what was given up on the way of events, and trying it again.

use std::sync::Arc;

use clap::Subcommand;

use crate::app::events::consumers;
use crate::app::stores::open_existing_sql;
use crate::bus::OutboxEvent;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::engine::consumers::{Redriven, redrive};
use crate::store::inbox::{DeadLetter, Inbox};
use crate::store::outbox::Outbox as _;

use super::{CliError, block_on};

/// Events read at once.
const PAGE_EVENTS: u32 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum EventsAction {
    /// Show events that consumers gave up, the oldest first
    Parked {
        /// Of one consumer
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
    },
    /// Hand parked events to their consumers again, and refused ones to the relay
    ///
    /// Exit code 1 when some stay parked.
    Redrive {
        /// Of one consumer; what the relay parked is left alone
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
    },
    /// Give parked and refused events up for good, by their ids
    ///
    /// They will have no effect. Exit code 1 when some were not parked.
    Discard {
        /// As `usher events parked` shows them
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// For one consumer only
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
    },
}

pub(super) fn events(config: &Config, action: EventsAction) -> Result<(), CliError> {
    block_on(async {
        match action {
            EventsAction::Parked { consumer } => parked(config, consumer.as_deref()).await,
            EventsAction::Redrive { consumer } => drive(config, consumer.as_deref()).await,
            EventsAction::Discard { ids, consumer } => {
                discard(config, &ids, consumer.as_deref()).await
            }
        }
    })?
}

/// All parked events, page by page: those that stay are passed over.
struct Pages<'a> {
    inbox: &'a dyn Inbox,
    consumer: Option<&'a str>,
    after: Option<DeadLetter>,
}

impl Pages<'_> {
    /// Empty after the last one.
    async fn next(&mut self) -> Result<Vec<DeadLetter>, CliError> {
        let after = self.after.as_ref();
        let page = self.inbox.dead_letters(self.consumer, after, PAGE_EVENTS);
        let page = page.await.map_err(CliError::failed)?;
        self.after = page.last().cloned().or(self.after.take());
        Ok(page)
    }
}

async fn parked(config: &Config, consumer: Option<&str>) -> Result<(), CliError> {
    let sql = open_existing_sql(config).await.map_err(CliError::failed)?;
    let mut pages = Pages {
        inbox: &sql,
        consumer,
        after: None,
    };
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        for letter in &page {
            println!("{}", line(letter));
        }
    }
    let mut after = 0;
    while consumer.is_none() {
        let page = sql.dead(after, PAGE_EVENTS).await;
        let page = page.map_err(CliError::failed)?;
        let Some(last) = page.last() else { break };
        after = last.id.parse().unwrap_or(u64::MAX);
        for event in &page {
            let OutboxEvent {
                id,
                kind,
                version,
                aggregate,
                ..
            } = event;
            println!("refused by the sink: {id} {kind} {version} of {aggregate}");
        }
    }
    Ok(())
}

async fn discard(config: &Config, ids: &[String], consumer: Option<&str>) -> Result<(), CliError> {
    let sql = open_existing_sql(config).await.map_err(CliError::failed)?;
    let mut unknown = 0;
    for id in ids {
        let ended = sql.discard(consumer, id).await;
        let mut ended = ended.map_err(CliError::failed)?;
        if consumer.is_none() {
            let dead = sql.discard_dead(id).await;
            ended += u64::from(dead.map_err(CliError::failed)?);
        }
        match ended {
            0 => {
                unknown += 1;
                println!("{id}: not parked");
            }
            _ => println!("{id}: discarded"),
        }
    }
    match unknown {
        0 => Ok(()),
        unknown => Err(CliError::Failed(format!(
            "{unknown} events were not parked"
        ))),
    }
}

fn line(letter: &DeadLetter) -> String {
    let (event, consumer) = (&letter.event, &letter.consumer);
    format!(
        "{consumer} {} {} {} of {}: {}",
        event.id, event.kind, event.version, event.aggregate, letter.why
    )
}

async fn drive(config: &Config, consumer: Option<&str>) -> Result<(), CliError> {
    let sql = Arc::new(open_existing_sql(config).await.map_err(CliError::failed)?);
    let inbox: Arc<dyn Inbox> = Arc::clone(&sql) as _;
    let consumers = consumers(config, &sql, &(Arc::new(SystemClock) as _));
    let mut pages = Pages {
        inbox: inbox.as_ref(),
        consumer,
        after: None,
    };
    let mut stay = 0;
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        for letter in &page {
            let became = match redrive(&consumers, letter).await {
                Redriven::Consumed => "consumed".to_owned(),
                Redriven::Gone => "gone".to_owned(),
                Redriven::Failed(why) => {
                    stay += 1;
                    format!("stays parked: {why}")
                }
            };
            println!("{} {}: {became}", letter.consumer, letter.event.id);
        }
    }
    if consumer.is_none() {
        let revived = sql.revive().await.map_err(CliError::failed)?;
        if revived > 0 {
            println!("refused by the sink: {revived} events go to the relay again");
        }
    }
    match stay {
        0 => Ok(()),
        stay => Err(CliError::Failed(format!("{stay} events stay parked"))),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use serde_json::json;

    use super::*;
    use crate::app::stores::open_sql;
    use crate::config::{Flags, Sources};
    use crate::domain::time::UnixMs;
    use crate::store::sql::SqlStore;

    async fn opened(dir: &tempfile::TempDir) -> (Config, SqlStore) {
        let sources = Sources {
            file: None,
            env: Default::default(),
            flags: Flags::from([("data_dir", dir.path().display().to_string())]),
        };
        let config = sources.load().unwrap();
        let sql = open_sql(&config).await.unwrap();
        sql.migrate_up().await.unwrap();
        (config, sql)
    }

    fn event(id: u32, kind: &str) -> OutboxEvent {
        let payload = json!({
            "performance_id": "p", "seat_ids": ["a"],
            "total": { "currency": "EUR", "amount_minor": 100 },
        });
        OutboxEvent {
            id: id.to_string(),
            aggregate: format!("reservation:{id}"),
            version: 1,
            kind: kind.to_owned(),
            payload: payload.to_string(),
            created_at: UnixMs(1),
            route: None,
            trace: None,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn all_parked_events_are_driven_again_behind_those_that_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (config, sql) = opened(&dir).await;
        // The oldest are of a consumer that is gone.
        for (consumer, ids) in [("gone", 0..PAGE_EVENTS * 2), ("sales", 5_000..5_010)] {
            let events = ids.map(|id| event(id, "reservation.confirmed"));
            let events: Vec<OutboxEvent> = events.collect();
            let parking = events
                .iter()
                .map(|event| sql.park(consumer, event, "planted"));
            assert!(join_all(parking).await.iter().all(|one| *one == Ok(true)));
        }
        let driven = drive(&config, None).await;
        assert!(matches!(driven, Err(CliError::Failed(why)) if why.contains("1000 events stay")));
        assert_eq!(sql.count_dead_letters().await, Ok(1_000));
        assert_eq!(sql.sales_figures(None).await.unwrap().unwrap().sold, 10);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_discarded_is_parked_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (config, sql) = opened(&dir).await;
        for id in 0..3 {
            let event = event(id, "reservation.confirmed");
            let parked = sql.park("sales", &event, "planted").await;
            assert_eq!(parked, Ok(true));
        }
        let ids = |ids: &[&str]| -> Vec<String> { ids.iter().map(|id| (*id).to_owned()).collect() };
        assert!(discard(&config, &ids(&["0", "1"]), None).await.is_ok());
        let again = discard(&config, &ids(&["1", "2"]), None).await;
        assert!(matches!(again, Err(CliError::Failed(why)) if why.starts_with("1 events")));
        assert_eq!(sql.count_dead_letters().await, Ok(0));
        assert!(parked(&config, None).await.is_ok());
    }
}
