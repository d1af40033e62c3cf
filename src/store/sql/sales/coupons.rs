//! Issuing coupons, and whose they are.
//!
//! Requests that wait are decided together ([`Issues`]), in the order in which
//! they came: each in memory, on the campaign's row, which the batch has locked,
//! and on what those before it got. So nodes take turns at a campaign, a batch
//! each, and the stock goes to whoever comes first to its node. The row counts
//! under a condition, and the key of [`INSERT`]'s table takes one of each user:
//! what two batches could give twice, neither can commit.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use serde_json::json;

use super::super::columns::{time_to_column, to_column};
use super::super::list::{Column, List, Others, Update};
use super::super::outbox::{self, Event};
use super::super::query::{Row, all};
use super::super::rooms::activations;
use super::super::{Tx, locks};
use super::lanes::{Kind, Outcomes};
use super::pass;
use super::terms::Pass;
use crate::domain::ids::{ActivationId, ResourceId, RoomId, UserId};
use crate::domain::place::EndReason;
use crate::domain::sale::coupon::{Coupon, CouponState, NotApplicable};
use crate::domain::time::UnixMs;
use crate::store::sales::{
    CompletedPass, CouponCursor, IssueCoupon, Issued, Listing, Page, SalesError,
};

const CAMPAIGNS: &str = "\
SELECT c.id, c.stock, c.issued, c.valid_until, p.room_id FROM {list} \
LEFT JOIN campaigns AS c ON c.id = v.id \
LEFT JOIN protects AS p ON p.target_kind = 'campaign' AND p.target_id = c.id";

const PAIRS: &[Column] = &[Column::Text("campaign"), Column::Text("owner")];

/// `valid_until` is its campaign's.
const OF_PAIRS: &str = "\
SELECT k.*, c.valid_until FROM {list} \
LEFT JOIN coupons AS k ON k.campaign_id = v.campaign AND k.user_id = v.owner \
LEFT JOIN campaigns AS c ON c.id = k.campaign_id";

const PASSES: &str = "\
SELECT a.id AS pass_id, a.room_id AS pass_room, a.user_id AS pass_user, a.state AS pass_state, \
a.expire_time AS pass_expire_time FROM {list} LEFT JOIN activations AS a ON a.id = v.id";

const COUPONS: &[Column] = &[
    Column::Text("id"),
    Column::Text("campaign"),
    Column::Text("owner"),
];

const INSERT: &str = "\
INSERT INTO coupons (id, campaign_id, user_id, state, issued_at) \
SELECT v.id, v.campaign, v.owner, 'available', $1 FROM {list}";

const GRANTED: &[Column] = &[Column::Text("campaign"), Column::Integer("granted")];

const COUNT: Update = Update {
    table: "campaigns",
    set: "issued = issued + v.granted",
    on: "campaigns.id = v.campaign AND campaigns.issued + v.granted <= campaigns.stock",
};

const PAGE: &str = "\
SELECT k.*, c.valid_until FROM coupons k LEFT JOIN campaigns c ON c.id = k.campaign_id \
WHERE k.user_id = $1 AND (k.issued_at < $2 OR (k.issued_at = $2 AND k.id < $3)) \
ORDER BY k.issued_at DESC, k.id DESC LIMIT $4";

const HOLDERS: &str = "\
SELECT user_id FROM coupons WHERE campaign_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3";

/// `IssueCoupon`, many at a time.
pub struct Issues;

#[async_trait]
impl Kind for Issues {
    type Command = IssueCoupon;
    type Answer = Issued;

    /// A campaign is waited for: nobody has it for longer than a batch takes.
    async fn lock(
        tx: &Tx,
        commands: &[&IssueCoupon],
        others: Others,
    ) -> Result<Vec<Option<ResourceId>>, SalesError> {
        let campaigns: BTreeSet<&ResourceId> = commands.iter().map(|it| &it.campaign).collect();
        locks::campaigns(tx, campaigns).await?;
        let passes: BTreeSet<ActivationId> =
            commands.iter().filter_map(|it| it.activation).collect();
        if others == Others::Await {
            locks::activations(tx, passes).await?;
            return Ok(vec![None; commands.len()]);
        }
        let busy = locks::free_activations(tx, passes).await?;
        let waits = commands.iter().map(|command| {
            let pass = command.activation.map(|pass| pass.to_string());
            let is_busy = pass.is_some_and(|pass| busy.contains(&pass));
            is_busy.then(|| command.id.clone())
        });
        Ok(waits.collect())
    }

    async fn run(tx: &Tx, commands: &[&IssueCoupon]) -> Result<Outcomes<Self>, SalesError> {
        let mut batch = Batch::read(tx, commands).await?;
        let outcomes = commands.iter().map(|command| batch.issue(tx, command));
        let outcomes = outcomes.collect();
        batch.write(tx);
        Ok(outcomes)
    }
}

/// A campaign as it is after what was issued before.
struct Stock {
    left: u64,
    valid_until: Option<UnixMs>,
    room: Option<RoomId>,
}

/// Requests that are decided together.
struct Batch<'a> {
    stocks: HashMap<ResourceId, Stock>,
    /// By campaign and user.
    had: HashMap<(ResourceId, UserId), Coupon>,
    passes: HashMap<ActivationId, Pass>,
    /// What the batch issues, in order.
    issued: Vec<(&'a IssueCoupon, Coupon)>,
    completed: Vec<CompletedPass>,
}

impl<'a> Batch<'a> {
    async fn read(tx: &Tx, commands: &[&'a IssueCoupon]) -> Result<Self, SalesError> {
        let campaigns: BTreeSet<&str> = commands.iter().map(|it| it.campaign.as_str()).collect();
        let mut stocks = HashMap::new();
        for row in &List::of_ids(campaigns).all(tx, CAMPAIGNS, []).await? {
            if let Some(id) = row.opt_id("id")? {
                let stock = Stock {
                    left: row.count("stock")?.saturating_sub(row.count("issued")?),
                    valid_until: row.opt_time("valid_until")?,
                    room: row.opt_room("room_id")?,
                };
                stocks.insert(id, stock);
            }
        }
        let pairs: BTreeSet<(&str, &str)> = commands
            .iter()
            .map(|it| (it.campaign.as_str(), it.user.as_str()))
            .collect();
        let mut list = List::new(PAIRS);
        for (campaign, user) in pairs {
            list.push([campaign.into(), user.into()]);
        }
        let mut had = HashMap::new();
        for row in &list.all(tx, OF_PAIRS, []).await? {
            if row.opt_text("id")?.is_some() {
                let coupon = read(row)?;
                had.insert((coupon.campaign.clone(), coupon.user.clone()), coupon);
            }
        }
        let shown: BTreeSet<ActivationId> =
            commands.iter().filter_map(|it| it.activation).collect();
        let shown: Vec<String> = shown.iter().map(ToString::to_string).collect();
        let list = List::of_ids(shown.iter().map(String::as_str));
        let mut passes = HashMap::new();
        for row in &list.all(tx, PASSES, []).await? {
            if let Some(pass) = Pass::read(row)? {
                passes.insert(pass.id, pass);
            }
        }
        Ok(Self {
            stocks,
            had,
            passes,
            issued: Vec::new(),
            completed: Vec::new(),
        })
    }

    fn issue(&mut self, tx: &Tx, command: &'a IssueCoupon) -> Result<Issued, SalesError> {
        let IssueCoupon { user, campaign, .. } = command;
        let stock = self.stocks.get_mut(campaign).ok_or(SalesError::NotFound)?;
        let pair = (campaign.clone(), user.clone());
        if let Some(coupon) = self.had.get(&pair) {
            return Ok(Issued {
                coupon: coupon.clone(),
                already: true,
                completed: None,
                recheck_sold_out: None,
            });
        }
        let shown = command.activation.map(|id| self.passes.get(&id));
        let standing = pass::judge_shown(stock.room.as_ref(), shown, user, tx.now())?;
        let ends = standing.map(|pass| CompletedPass {
            room: pass.room,
            activation: pass.activation,
        });
        // By another campaign of the room, a moment before.
        if ends.as_ref().is_some_and(|it| self.completed.contains(it)) {
            return Err(SalesError::PassEnded);
        }
        if stock.valid_until.is_some_and(|until| until <= tx.now()) {
            let why = NotApplicable::Over.why();
            return Err(SalesError::CouponNotApplicable { why });
        }
        stock.left = stock.left.checked_sub(1).ok_or(SalesError::CouponSoldOut)?;
        let coupon = Coupon {
            id: command.id.clone(),
            campaign: campaign.clone(),
            user: user.clone(),
            state: CouponState::Available,
            issued_at: tx.now(),
            valid_until: stock.valid_until,
            reservation: None,
        };
        let is_last = stock.left == 0;
        let recheck_sold_out = stock.room.clone().filter(|_| is_last);
        self.completed.extend(ends.clone());
        self.issued.push((command, coupon.clone()));
        self.had.insert(pair, coupon.clone());
        Ok(Issued {
            coupon,
            already: false,
            completed: ends,
            recheck_sold_out,
        })
    }

    fn write(self, tx: &Tx) {
        let mut coupons = List::new(COUPONS);
        let mut granted: BTreeMap<&str, u64> = BTreeMap::new();
        let mut events = Vec::with_capacity(self.issued.len());
        for (command, coupon) in &self.issued {
            coupons.push([
                coupon.id.as_str().into(),
                coupon.campaign.as_str().into(),
                coupon.user.as_str().into(),
            ]);
            *granted.entry(command.campaign.as_str()).or_default() += 1;
            events.push(issued(coupon));
        }
        coupons.defer(tx, INSERT, [time_to_column(tx.now()).into()]);
        let mut counts = List::new(GRANTED);
        for (campaign, granted) in granted {
            counts.push([campaign.into(), to_column(granted).into()]);
        }
        counts.update(tx, &COUNT, []);
        let passes = self.completed.iter();
        let passes = passes.map(|pass| (pass.activation, &pass.room));
        events.extend(activations::end_active(tx, passes, EndReason::Completed));
        outbox::append_all(tx, &events);
    }
}

fn issued(coupon: &Coupon) -> Event {
    Event {
        aggregate: format!("coupon:{}", coupon.id),
        kind: "coupon.issued",
        payload: json!({
            "coupon_id": coupon.id,
            "campaign_id": coupon.campaign,
            "user_id": coupon.user,
        }),
        trace: None,
    }
}

/// Of a row of `coupons`, with `valid_until` of its campaign.
pub fn read(row: &Row) -> Result<Coupon, SalesError> {
    Ok(Coupon {
        id: row.id("id")?,
        campaign: row.id("campaign_id")?,
        user: row.user("user_id")?,
        state: row.parsed("state", CouponState::from_name)?,
        issued_at: row.time("issued_at")?,
        valid_until: row.opt_time("valid_until")?,
        reservation: row.opt_id("reservation_id")?,
    })
}

pub async fn list(
    tx: &Tx,
    user: &UserId,
    page: &Page<CouponCursor>,
) -> Result<Listing<Coupon, CouponCursor>, SalesError> {
    let (before, id) = page.after.as_ref().map_or((i64::MAX, ""), |after| {
        (time_to_column(after.issued_at), after.id.as_str())
    });
    let values = [
        user.as_str().into(),
        before.into(),
        id.into(),
        i64::from(page.size() + 1).into(),
    ];
    let rows = all(tx, PAGE, values).await?;
    let coupons = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(page.listing(coupons, |last| CouponCursor {
        issued_at: last.issued_at,
        id: last.id.clone(),
    }))
}

pub async fn holders(
    tx: &Tx,
    campaign: &ResourceId,
    after: Option<&UserId>,
    limit: u32,
) -> Result<Vec<UserId>, SalesError> {
    let values = [
        campaign.as_str().into(),
        after.map_or("", UserId::as_str).into(),
        i64::from(limit).into(),
    ];
    let rows = all(tx, HOLDERS, values).await?;
    Ok(rows
        .iter()
        .map(|row| row.user("user_id"))
        .collect::<Result<_, _>>()?)
}
