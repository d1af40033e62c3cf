//! Concerts by what was counted of their sales.

use super::super::Tx;
use super::super::columns::time_to_column;
use super::super::query::{Row, all};
use super::super::sales::catalog::{concerts_at, read_concert};
use super::ranking::DAY_MS;
use crate::domain::sale::catalog::Concert;
use crate::store::inbox::{InboxError, POPULAR_DAYS, RankCursor, RankedBy};
use crate::store::sales::{Listing, Page};

/// The lowest comes first.
const POPULAR: &str = "\
CAST(-COALESCE((SELECT SUM(d.sold) FROM sales_days d \
JOIN performances dp ON dp.id = d.performance_id \
WHERE dp.concert_id = listed.id AND d.day >= $6), 0) AS BIGINT)";

/// Those that are not sold out come last. A cancelled performance counts no more,
/// whether or not its events were consumed.
const FASTEST_SOLD_OUT: &str = "\
COALESCE((SELECT MIN(s.sold_out_at - fp.sale_opens_at) FROM sold_outs s \
JOIN performances fp ON fp.id = s.performance_id \
WHERE fp.concert_id = listed.id AND fp.state = 'scheduled'), 9223372036854775807)";

const PAGE: &str = " \
WHERE rank_value > $3 OR (rank_value = $3 AND id > $4) ORDER BY rank_value, id LIMIT $5";

pub async fn ranked(
    tx: &Tx,
    by: RankedBy,
    page: &Page<RankCursor>,
) -> Result<Listing<Concert, RankCursor>, InboxError> {
    let now = time_to_column(tx.now());
    let (rank, id) = page
        .after
        .as_ref()
        .map_or((i64::MIN, ""), |after| (after.rank, after.id.as_str()));
    let mut values = vec![
        now.into(),
        now.into(),
        rank.into(),
        id.into(),
        i64::from(page.size() + 1).into(),
    ];
    let rank_value = match by {
        RankedBy::FastestSoldOut => FASTEST_SOLD_OUT,
        RankedBy::Popular => {
            let first_day = (tx.now().0 / DAY_MS).saturating_sub(POPULAR_DAYS - 1);
            values.push(i64::try_from(first_day).unwrap_or(i64::MAX).into());
            POPULAR
        }
    };
    let query = format!(
        "SELECT * FROM (SELECT listed.*, {rank_value} AS rank_value FROM ({}) AS listed) \
         AS ranked{PAGE}",
        concerts_at("$2")
    );
    let rows = all(tx, &query, values).await?;
    let read = |row: &Row| {
        let concert =
            read_concert(row).map_err(|error| InboxError::Unavailable(error.to_string()))?;
        Ok((row.signed("rank_value")?, concert))
    };
    let ranked = rows
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, InboxError>>()?;
    let listing = page.listing(ranked, |(rank, concert)| RankCursor {
        rank: *rank,
        id: concert.id.clone(),
    });
    Ok(Listing {
        items: listing
            .items
            .into_iter()
            .map(|(_, concert)| concert)
            .collect(),
        next: listing.next,
    })
}
