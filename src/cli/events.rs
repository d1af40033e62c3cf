//! `usher events`: what was given up on the way of events, and trying it again.

use std::sync::Arc;

use clap::Subcommand;

use crate::app::events::consumers;
use crate::app::stores::open_existing_sql;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::engine::consumers::{Redriven, redrive};
use crate::store::inbox::{DeadLetter, Inbox};
use crate::store::outbox::Outbox as _;

use super::{CliError, block_on};

/// Parked events looked at by one command.
const LETTERS_MAX: u32 = 1_000;

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
}

pub(super) fn events(config: &Config, action: EventsAction) -> Result<(), CliError> {
    block_on(async {
        match action {
            EventsAction::Parked { consumer } => parked(config, consumer.as_deref()).await,
            EventsAction::Redrive { consumer } => drive(config, consumer.as_deref()).await,
        }
    })?
}

async fn parked(config: &Config, consumer: Option<&str>) -> Result<(), CliError> {
    let sql = open_existing_sql(config).await.map_err(CliError::failed)?;
    let letters = sql.dead_letters(consumer, LETTERS_MAX).await;
    for letter in letters.map_err(CliError::failed)? {
        println!("{}", line(&letter));
    }
    let backlog = sql.backlog().await.map_err(CliError::failed)?;
    if consumer.is_none() && backlog.dead > 0 {
        println!("refused by the sink: {} events", backlog.dead);
    }
    Ok(())
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
    let consumers = consumers(config, &inbox, Arc::new(SystemClock));
    let letters = sql.dead_letters(consumer, LETTERS_MAX).await;
    let mut stay = 0;
    for letter in letters.map_err(CliError::failed)? {
        let became = match redrive(&consumers, &letter).await {
            Redriven::Consumed => "consumed".to_owned(),
            Redriven::Gone => "gone".to_owned(),
            Redriven::Failed(why) => {
                stay += 1;
                format!("stays parked: {why}")
            }
        };
        println!("{} {}: {became}", letter.consumer, letter.event.id);
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
