//! Changing what an operator made, from the version that was read.

use super::super::columns::{time_to_column, to_column};
use super::super::query::execute;
use super::super::{Tx, locks};
use super::{catalog, seats};
use crate::domain::sale::catalog::{Concert, NewPerformance, Performance, PerformanceState};
use crate::store::sales::{
    SalesError, SeatsChanged, UpdateConcert, UpdatePerformance, UpdatedPerformance,
};

const UPDATE_CONCERT: &str = "\
UPDATE concerts SET name = $3, description = $4, venue = $5, version = version + 1 \
WHERE id = $1 AND version = $2";

const UPDATE_PERFORMANCE: &str = "\
UPDATE performances SET sale_opens_at = $3, sale_closes_at = $4, version = version + 1 \
WHERE id = $1 AND version = $2";

const UPDATE_SECTION: &str = "\
UPDATE sections SET price_minor = $3 WHERE performance_id = $1 AND ordinal = $2";

pub async fn concert(tx: &Tx, command: &UpdateConcert) -> Result<Concert, SalesError> {
    let id = &command.concert;
    let before = catalog::concert(tx, id).await?;
    if before.version != command.version {
        return Err(SalesError::Conflict);
    }
    let after = command.change.applied(&before);
    after.validate()?;
    let values = [
        id.as_str().into(),
        to_column(command.version).into(),
        after.name.into(),
        after.description.into(),
        after.venue.into(),
    ];
    // Nothing holds off another change since it was read.
    if execute(tx, UPDATE_CONCERT, values).await? == 0 {
        return Err(SalesError::Conflict);
    }
    catalog::concert(tx, id).await
}

pub async fn performance(
    tx: &Tx,
    command: &UpdatePerformance,
) -> Result<UpdatedPerformance, SalesError> {
    let id = &command.performance;
    locks::performances(tx, [id]).await?;
    let before = catalog::performance(tx, id).await?;
    if before.version != command.version {
        return Err(SalesError::Conflict);
    }
    if before.state == PerformanceState::Cancelled {
        return Err(SalesError::SaleNotOpen);
    }
    if let Some(currency) = before.terms.currency() {
        for section in &command.change.sections {
            section.price.in_currency(currency)?;
        }
    }
    let terms = command.change.applied(&before.terms)?;
    let values = [
        id.as_str().into(),
        to_column(command.version).into(),
        time_to_column(terms.sale_opens_at).into(),
        terms.sale_closes_at.map(time_to_column).into(),
    ];
    tx.defer(UPDATE_PERFORMANCE, values, 1);
    reprice(tx, &before, &terms).await?;
    Ok(UpdatedPerformance {
        performance: catalog::performance(tx, id).await?,
        changed: SeatsChanged {
            performance: id.clone(),
            turned: false,
            recheck_sold_out: None,
        },
    })
}

async fn reprice(tx: &Tx, before: &Performance, terms: &NewPerformance) -> Result<(), SalesError> {
    let sections = before.terms.sections.iter().zip(&terms.sections);
    for (ordinal, (was, is)) in sections.enumerate() {
        if was.price == is.price {
            continue;
        }
        let values = [
            before.id.as_str().into(),
            i64::try_from(ordinal).unwrap_or(i64::MAX).into(),
            is.price.amount_minor.into(),
        ];
        tx.defer(UPDATE_SECTION, values, 1);
        seats::reprice(tx, &before.id, ordinal, is.price).await?;
    }
    Ok(())
}
