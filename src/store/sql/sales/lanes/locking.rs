//! The locks that a batch decides under: performances by id, then passes by id, then
//! coupons by id.

use std::collections::BTreeSet;

use crate::domain::ids::{ActivationId, ResourceId};
use crate::store::sales::SalesError;
use crate::store::sql::list::Others;
use crate::store::sql::{Tx, locks};

/// What a command is about.
pub struct Wanted<'a> {
    pub performance: &'a ResourceId,
    pub pass: Option<ActivationId>,
    pub coupon: Option<&'a ResourceId>,
}

/// Locks what commands are about; `None` is about nothing. Answers as
/// [`Kind::lock`](super::Kind::lock). A pass or a coupon is waited for by nobody: the
/// performance would be locked meanwhile.
pub async fn lock(
    tx: &Tx,
    all: &[Option<Wanted<'_>>],
    others: Others,
) -> Result<Vec<Option<ResourceId>>, SalesError> {
    let performances: BTreeSet<&ResourceId> = all
        .iter()
        .flatten()
        .map(|about| about.performance)
        .collect();
    let mut busy = BTreeSet::new();
    match others {
        Others::Skip => busy = locks::free_performances(tx, performances).await?,
        Others::Await => locks::performances(tx, performances).await?,
    }
    let is_free = |about: &&Wanted<'_>| !busy.contains(about.performance.as_str());
    let passes = all.iter().flatten().filter(is_free);
    let passes: BTreeSet<ActivationId> = passes.filter_map(|about| about.pass).collect();
    let busy_passes = locks::free_activations(tx, passes).await?;
    let lacks_pass = |about: &&Wanted<'_>| {
        let pass = about.pass.map(|pass| pass.to_string());
        !is_free(about) || pass.is_some_and(|pass| busy_passes.contains(&pass))
    };
    let others_left = all.iter().flatten().filter(|about| !lacks_pass(about));
    let coupons: BTreeSet<&ResourceId> = others_left.filter_map(|about| about.coupon).collect();
    let busy_coupons = locks::free_coupons(tx, coupons).await?;
    let must_wait = |about: &&Wanted<'_>| {
        let coupon = about.coupon.map(ResourceId::as_str);
        lacks_pass(about) || coupon.is_some_and(|coupon| busy_coupons.contains(coupon))
    };
    let answer = |about: &Option<Wanted<'_>>| {
        let about = about.as_ref().filter(must_wait);
        about.map(|about| about.performance.clone())
    };
    Ok(all.iter().map(answer).collect())
}
