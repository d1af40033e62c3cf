//! Concerts by the thousand.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::error::BenchError;
use crate::stage::{Stage, make_concert};

const IN_FLIGHT: usize = 64;

pub async fn catalog(stage: &Stage, concerts: usize) -> Result<(), BenchError> {
    let mut tasks = JoinSet::new();
    for nth in 0..concerts {
        if tasks.len() >= IN_FLIGHT
            && let Some(done) = tasks.join_next().await
        {
            done.map_err(BenchError::failed)??;
        }
        let operator = Arc::clone(&stage.operator);
        tasks.spawn(async move { make_concert(&operator, &format!("Concert {nth}")).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(BenchError::failed)??;
    }
    Ok(())
}
