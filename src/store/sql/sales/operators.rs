//! [`Operators`], each command as a unit of work.

use async_trait::async_trait;
use futures_util::FutureExt;

use super::super::SqlStore;
use super::{change, wind_up};
use crate::domain::sale::catalog::Concert;
use crate::store::sales::{
    CancelPerformance, CancelledPerformance, Operators, SalesError, UpdateConcert,
    UpdatePerformance, UpdatedPerformance, WindUp, WoundUp,
};

#[async_trait]
impl Operators for SqlStore {
    async fn update_concert(&self, command: UpdateConcert) -> Result<Concert, SalesError> {
        command.change.validate()?;
        self.write(command, |tx, command| change::concert(tx, command).boxed())
            .await
    }

    async fn update_performance(
        &self,
        command: UpdatePerformance,
    ) -> Result<UpdatedPerformance, SalesError> {
        command.change.validate()?;
        self.write(command, |tx, command| {
            change::performance(tx, command).boxed()
        })
        .await
    }

    async fn cancel_performance(
        &self,
        command: CancelPerformance,
    ) -> Result<CancelledPerformance, SalesError> {
        self.write(command, |tx, command| wind_up::cancel(tx, command).boxed())
            .await
    }

    async fn wind_up(&self, step: WindUp) -> Result<WoundUp, SalesError> {
        self.write(step, |tx, step| wind_up::step(tx, step).boxed())
            .await
    }
}
