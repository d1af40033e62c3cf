//! Sales figures as they are shown: what was counted from events, and the seats
//! held, which the sections count.

use super::super::Tx;
use super::super::query::{all, one};
use crate::domain::ids::ResourceId;
use crate::store::inbox::{InboxError, SalesFigures};

const IS_THERE: &str = "SELECT COUNT(*) AS found FROM performances WHERE id = $1";

const OF_ONE: &str = "\
SELECT currency, sold, revenue_minor FROM sales_figures WHERE performance_id = $1 ORDER BY currency";

const OF_ALL: &str = "\
SELECT currency, CAST(SUM(sold) AS BIGINT) AS sold, \
CAST(SUM(revenue_minor) AS BIGINT) AS revenue_minor \
FROM sales_figures GROUP BY currency ORDER BY currency";

const HELD_OF_ONE: &str = "\
SELECT CAST(COALESCE(SUM(held), 0) AS BIGINT) AS held FROM sections WHERE performance_id = $1";

const HELD_OF_ALL: &str = "SELECT CAST(COALESCE(SUM(held), 0) AS BIGINT) AS held FROM sections";

pub async fn read(
    tx: &Tx,
    performance: Option<&ResourceId>,
) -> Result<Option<SalesFigures>, InboxError> {
    let (rows, held) = match performance {
        Some(id) => {
            let found = one(tx, IS_THERE, [id.as_str().into()]).await?;
            if found.map_or(Ok(0), |row| row.count("found"))? == 0 {
                return Ok(None);
            }
            (
                all(tx, OF_ONE, [id.as_str().into()]).await?,
                one(tx, HELD_OF_ONE, [id.as_str().into()]).await?,
            )
        }
        None => (all(tx, OF_ALL, []).await?, one(tx, HELD_OF_ALL, []).await?),
    };
    let mut figures = SalesFigures {
        as_of: tx.now(),
        sold: 0,
        held: held.map_or(Ok(0), |row| row.count("held"))?,
        revenue: Vec::with_capacity(rows.len()),
    };
    for row in &rows {
        figures.sold += row.count("sold")?;
        figures.revenue.push(row.money("revenue_minor")?);
    }
    Ok(Some(figures))
}
