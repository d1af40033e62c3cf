//! Concerts by the thousand.

use std::sync::Arc;

use tokio::task::JoinSet;
use usher::proto::v1 as wire;
use usher::proto::v1::admin_service_client::AdminServiceClient;

use crate::error::BenchError;
use crate::session::{Session, key};
use crate::stage::Stage;

const IN_FLIGHT: usize = 64;
/// Dates of each concert.
const DATES: u32 = 5;

/// Makes them all, the first with dates; answers it.
pub async fn catalog(stage: &Stage, concerts: usize) -> Result<String, BenchError> {
    let first = make(&stage.operator, 0).await?;
    for nth in 0..DATES {
        stage.make_date(&first, nth).await?;
    }
    let mut tasks = JoinSet::new();
    for nth in 1..concerts {
        if tasks.len() >= IN_FLIGHT
            && let Some(done) = tasks.join_next().await
        {
            done.map_err(BenchError::failed)??;
        }
        let operator = Arc::clone(&stage.operator);
        tasks.spawn(async move { make(&operator, nth).await.map(drop) });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(BenchError::failed)??;
    }
    Ok(first)
}

async fn make(operator: &Session, nth: usize) -> Result<String, BenchError> {
    let message = wire::CreateConcertRequest {
        concert: Some(wire::Concert {
            name: format!("Concert {nth}"),
            ..Default::default()
        }),
        idempotency_key: key().as_str().to_owned(),
    };
    let send = |channel, request| async move {
        AdminServiceClient::new(channel)
            .create_concert(request)
            .await
    };
    let made = operator.look("CreateConcert", message, None, send).await;
    let made = made.map_err(|refused| BenchError::failed(format!("{refused:?}")))?;
    Ok(made.concert.unwrap_or_default().id)
}
