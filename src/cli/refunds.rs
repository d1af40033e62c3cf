//! `usher refunds`: money that a payment provider owes back, and the ways out
//! for what it does not give back.

use clap::{ArgGroup, Args, Subcommand};

use crate::app::stores::open_existing_sql;
use crate::config::Config;
use crate::domain::ids::ResourceId;
use crate::store::sales::{Instead, OpenRefund, Refunds as _};
use crate::store::sql::SqlStore;

use super::{CliError, block_on};

/// Shown by one command.
const REFUNDS_MAX: u32 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum RefundsAction {
    /// Show refunds that are not made, the oldest first
    List,
    /// Have a refused refund tried again
    Retry {
        #[arg(value_name = "REFUND")]
        id: String,
    },
    /// Have a pending refund not tried any more, so that it can be closed
    ///
    /// It rests for two minutes first: a call may be under way.
    Stop {
        #[arg(value_name = "REFUND")]
        id: String,
    },
    /// End a refused refund that the provider does not make
    Close(CloseArgs),
    /// Give intents and refunds that are of no provider to one
    ///
    /// After an upgrade from a version that did not write it down.
    Adopt {
        /// As gateway.provider names it
        #[arg(long, value_name = "NAME")]
        provider: String,
    },
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("how").required(true).args(["to_wallet", "by_hand"])))]
pub(super) struct CloseArgs {
    #[arg(value_name = "REFUND")]
    id: String,
    /// Into the buyer's wallet, now
    #[arg(long)]
    to_wallet: bool,
    /// It was paid in another way
    #[arg(long)]
    by_hand: bool,
}

pub(super) fn refunds(config: &Config, action: &RefundsAction) -> Result<(), CliError> {
    block_on(async {
        let sql = open_existing_sql(config).await.map_err(CliError::failed)?;
        act(&sql, action).await
    })?
}

async fn act(sql: &SqlStore, action: &RefundsAction) -> Result<(), CliError> {
    match action {
        RefundsAction::List => {
            let refunds = sql.open_refunds(REFUNDS_MAX).await;
            for refund in refunds.map_err(CliError::failed)? {
                println!("{}", line(&refund));
            }
            Ok(())
        }
        RefundsAction::Retry { id } => {
            let done = sql.retry_refund(parse(id)?).await;
            said(done.map_err(CliError::failed)?, "it is not refused")
        }
        RefundsAction::Stop { id } => {
            let done = sql.stop_refund(parse(id)?).await;
            said(done.map_err(CliError::failed)?, "it is not pending")
        }
        RefundsAction::Close(args) => {
            let instead = match args.to_wallet {
                true => Instead::Wallet,
                false => Instead::ByHand,
            };
            let done = sql.close_refund(parse(&args.id)?, instead).await;
            let why = "it is not refused, or was stopped less than two minutes ago";
            said(done.map_err(CliError::failed)?, why)
        }
        RefundsAction::Adopt { provider } => {
            let adopted = sql.adopt(provider.clone()).await;
            println!(
                "{} are {provider}'s now",
                adopted.map_err(CliError::failed)?
            );
            Ok(())
        }
    }
}

fn parse(id: &str) -> Result<ResourceId, CliError> {
    ResourceId::parse(id).map_err(|error| CliError::Usage(error.to_string()))
}

fn said(done: bool, why: &str) -> Result<(), CliError> {
    match done {
        true => Ok(()),
        false => Err(CliError::Failed(why.to_owned())),
    }
}

fn line(refund: &OpenRefund) -> String {
    format!(
        "{} {} {} {} to {} at {}, tried {} times",
        refund.id,
        refund.state.as_str(),
        refund.amount.amount_minor,
        refund.amount.currency,
        refund.user,
        refund.provider.as_deref().unwrap_or("an unknown provider"),
        refund.tries
    )
}
