//! What is still to be done, by whose it is.

use std::collections::BTreeMap;

use super::super::super::Tx;
use super::super::super::query::all;
use crate::store::sales::{Elsewhere, SalesError, Unsettled};

const COUNTS: &str = "\
SELECT 'intents' AS what, provider, state, COUNT(*) AS n FROM payment_intents \
WHERE state = 'pending' GROUP BY provider, state \
UNION ALL \
SELECT 'refunds' AS what, provider, state, COUNT(*) AS n FROM gateway_refunds \
WHERE state IN ('pending', 'refused') GROUP BY provider, state";

pub async fn unsettled(tx: &Tx, provider: Option<&str>) -> Result<Unsettled, SalesError> {
    let mut counts = Unsettled::default();
    let mut elsewhere: BTreeMap<Option<String>, Elsewhere> = BTreeMap::new();
    for row in &all(tx, COUNTS, []).await? {
        let (whose, n) = (row.opt_text("provider")?, row.count("n")?);
        let is_intents = row.text("what")? == "intents";
        if row.text("state")? == "refused" {
            counts.refused += n;
            continue;
        }
        let (intents, refunds) = match whose.is_some() && whose.as_deref() == provider {
            true => (&mut counts.intents, &mut counts.refunds),
            false => {
                let other = elsewhere.entry(whose.clone()).or_default();
                other.provider = whose;
                (&mut other.intents, &mut other.refunds)
            }
        };
        *(if is_intents { intents } else { refunds }) += n;
    }
    counts.elsewhere = elsewhere.into_values().collect();
    Ok(counts)
}
