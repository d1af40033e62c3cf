//! Making, changing and reading campaigns.

use async_trait::async_trait;
use futures_util::FutureExt;

use super::super::columns::{from_column, time_to_column, to_column};
use super::super::idempotency::Slot;
use super::super::list::List;
use super::super::query::{Row, one, unreadable};
use super::super::{SqlStore, Tx, locks};
use super::coupons;
use crate::domain::ids::{ResourceId, UserId};
use crate::domain::sale::command::FieldError;
use crate::domain::sale::coupon::{Campaign, Coupon, Discount, NewCampaign};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::money::Money;
use crate::store::sales::{
    CouponCursor, Coupons, IssueCoupon, Issued, Listing, Once, Page, SalesError, UpdateCampaign,
};

const INSERT: &str = "\
INSERT INTO campaigns (id, name, stock, issued, percent, amount_off_minor, discount_max_minor, \
order_min_minor, currency, valid_from, valid_until, concerts, performances, version, created_at) \
VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, $13)";

const UPDATE: &str = "\
UPDATE campaigns SET name = $3, stock = $4, valid_from = $5, valid_until = $6, \
version = version + 1 WHERE id = $1 AND version = $2";

const BY_ID: &str = "\
SELECT c.*, p.room_id FROM campaigns c \
LEFT JOIN protects p ON p.target_kind = 'campaign' AND p.target_id = c.id WHERE c.id = $1";

const CONCERTS: &str = "SELECT t.id FROM {list} LEFT JOIN concerts AS t ON t.id = v.id";

const PERFORMANCES: &str = "SELECT t.id FROM {list} LEFT JOIN performances AS t ON t.id = v.id";

async fn create(
    tx: &Tx,
    once: &Once,
    id: &ResourceId,
    campaign: &NewCampaign,
) -> Result<Campaign, SalesError> {
    let slot = Slot::new(once, "CreateCampaign", campaign)?;
    if let Some(kept) = slot.replay(tx).await? {
        return Ok(kept);
    }
    let targets = [
        ("campaign.concert_ids", CONCERTS, &campaign.concerts),
        (
            "campaign.performance_ids",
            PERFORMANCES,
            &campaign.performances,
        ),
    ];
    for (field, query, ids) in targets {
        require_all(tx, field, query, ids).await?;
    }
    let minor = |amount: Option<Money>| amount.map(|amount| amount.amount_minor);
    let (percent, amount_off, at_most) = match campaign.discount {
        Discount::Percent { percent, at_most } => (Some(i64::from(percent)), None, minor(at_most)),
        Discount::Amount(amount) => (None, Some(amount.amount_minor), None),
    };
    let values = [
        id.as_str().into(),
        campaign.name.as_str().into(),
        to_column(campaign.stock).into(),
        percent.into(),
        amount_off.into(),
        at_most.into(),
        minor(campaign.order_min).into(),
        campaign.currency().map(|code| code.to_string()).into(),
        campaign.valid_from.map(time_to_column).into(),
        campaign.valid_until.map(time_to_column).into(),
        texts(&campaign.concerts)?.into(),
        texts(&campaign.performances)?.into(),
        time_to_column(tx.now()).into(),
    ];
    tx.defer(INSERT, values, 1);
    slot.keep(tx, shown(tx, id).await?)
}

async fn require_all(
    tx: &Tx,
    field: &'static str,
    query: &str,
    ids: &[ResourceId],
) -> Result<(), SalesError> {
    let list = List::of_ids(ids.iter().map(ResourceId::as_str));
    for row in &list.all(tx, query, []).await? {
        if row.opt_text("id")?.is_none() {
            return Err(FieldError::new(field, "must name what is there").into());
        }
    }
    Ok(())
}

async fn update(tx: &Tx, command: &UpdateCampaign) -> Result<Campaign, SalesError> {
    let id = &command.campaign;
    // What is issued stays so meanwhile.
    locks::campaigns(tx, [id]).await?;
    let before = shown(tx, id).await?;
    if before.version != command.version {
        return Err(SalesError::Conflict);
    }
    let after = command.change.applied(&before)?;
    let values = [
        id.as_str().into(),
        to_column(command.version).into(),
        after.name.into(),
        to_column(after.stock).into(),
        after.valid_from.map(time_to_column).into(),
        after.valid_until.map(time_to_column).into(),
    ];
    tx.defer(UPDATE, values, 1);
    shown(tx, id).await
}

pub async fn shown(tx: &Tx, id: &ResourceId) -> Result<Campaign, SalesError> {
    let row = one(tx, BY_ID, [id.as_str().into()]).await?;
    let row = row.ok_or(SalesError::NotFound)?;
    Ok(Campaign {
        id: row.id("id")?,
        terms: terms(&row)?,
        issued: row.count("issued")?,
        room: row.opt_room("room_id")?,
        version: row.count("version")?,
    })
}

/// Of a row of `campaigns`.
pub fn terms(row: &Row) -> Result<NewCampaign, SalesError> {
    let currency = row.opt_parsed("currency", |code| Currency::parse(code).ok())?;
    let money = |column| -> Result<Option<Money>, SalesError> {
        let minor = row.opt_signed(column)?;
        match (minor, currency) {
            (None, _) => Ok(None),
            (Some(minor), Some(currency)) => Ok(Some(Money::new(currency, minor))),
            (Some(_), None) => Err(unreadable("currency").into()),
        }
    };
    let percent = row.opt_signed("percent")?.map(from_column);
    let discount = match (percent, money("amount_off_minor")?) {
        (Some(percent), None) => Discount::Percent {
            percent: u32::try_from(percent).map_err(|_| unreadable("percent"))?,
            at_most: money("discount_max_minor")?,
        },
        (None, Some(amount)) => Discount::Amount(amount),
        (Some(_), Some(_)) | (None, None) => return Err(unreadable("percent").into()),
    };
    Ok(NewCampaign {
        name: row.text("name")?,
        stock: row.count("stock")?,
        discount,
        order_min: money("order_min_minor")?,
        valid_from: row.opt_time("valid_from")?,
        valid_until: row.opt_time("valid_until")?,
        concerts: ids(row, "concerts")?,
        performances: ids(row, "performances")?,
    })
}

fn texts(ids: &[ResourceId]) -> Result<String, SalesError> {
    Ok(serde_json::to_string(ids).map_err(|_| unreadable("concerts"))?)
}

fn ids(row: &Row, column: &str) -> Result<Vec<ResourceId>, SalesError> {
    Ok(serde_json::from_str(&row.text(column)?).map_err(|_| unreadable(column))?)
}

#[async_trait]
impl Coupons for SqlStore {
    async fn create_campaign(
        &self,
        once: Once,
        id: ResourceId,
        campaign: NewCampaign,
    ) -> Result<Campaign, SalesError> {
        campaign.validate()?;
        self.write((once, id, campaign), |tx, (once, id, campaign)| {
            create(tx, once, id, campaign).boxed()
        })
        .await
    }

    async fn update_campaign(&self, command: UpdateCampaign) -> Result<Campaign, SalesError> {
        command.change.validate()?;
        self.write(command, |tx, command| update(tx, command).boxed())
            .await
    }

    async fn campaign(&self, id: ResourceId) -> Result<Campaign, SalesError> {
        self.read(id, |tx, id| shown(tx, id).boxed()).await
    }

    async fn issue_coupon(&self, command: IssueCoupon) -> Result<Issued, SalesError> {
        self.issue(command).await
    }

    async fn coupons(
        &self,
        user: UserId,
        page: Page<CouponCursor>,
    ) -> Result<Listing<Coupon, CouponCursor>, SalesError> {
        self.read((user, page), |tx, (user, page)| {
            coupons::list(tx, user, page).boxed()
        })
        .await
    }

    async fn coupon_holders(
        &self,
        campaign: ResourceId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<UserId>, SalesError> {
        self.read((campaign, after, limit), |tx, (campaign, after, limit)| {
            coupons::holders(tx, campaign, after.as_ref(), *limit).boxed()
        })
        .await
    }
}
