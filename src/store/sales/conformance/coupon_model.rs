//! Campaigns and their coupons against a model: whatever is asked, in whatever
//! order, the store answers as a few maps do that know nothing of rows and locks.
//!
//! Each seed is a life of its own: campaigns whose stock and end move, users who
//! ask alone and all at once, payments from wallets and through a provider, parts
//! and wholes that are given back, and time that passes. `USHER_COUPON_MODEL_SEEDS`
//! runs more of them, from `USHER_COUPON_MODEL_SEED` on.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::coupons::campaign_of;
use super::fixture::{PRICE_MINOR, Sale, money, user};
use crate::domain::ids::ResourceId;
use crate::domain::sale::coupon::{CampaignChange, CouponState, Discount, NewCampaign};
use crate::domain::sale::intent::IntentState;
use crate::domain::sale::payment::Payment;
use crate::domain::time::UnixMs;
use crate::store::sales::{Issued, Page, SalesError, UpdateCampaign};

const SEEDS: u64 = 4;
const STEPS: usize = 80;
const USERS: usize = 5;
const CAMPAIGNS: usize = 3;
const MONEY_MINOR: i64 = 500_000;

struct Known {
    id: ResourceId,
    stock: u64,
    version: u64,
    discount: Discount,
    until: Option<UnixMs>,
}

/// One user's coupon.
struct Share {
    campaign: usize,
    owner: usize,
    state: CouponState,
    reservation: Option<ResourceId>,
    told: Vec<&'static str>,
}

enum Stage {
    Held,
    /// A provider is asked; the intent.
    Pending(ResourceId),
    Paid,
}

struct Purchase {
    buyer: usize,
    reservation: ResourceId,
    seats: Vec<String>,
    stage: Stage,
    coupon: Option<ResourceId>,
    ends_at: UnixMs,
}

/// What one seed does, and what should have come of it.
struct Life<'a> {
    sale: &'a Sale,
    rng: SmallRng,
    now: UnixMs,
    users: Vec<String>,
    campaigns: Vec<Known>,
    shares: BTreeMap<ResourceId, Share>,
    purchases: Vec<Purchase>,
}

/// Why a coupon is not taken, without the words.
#[derive(Debug, PartialEq)]
enum Refused {
    NotFound,
    NotApplicable,
    SoldOut,
}

fn refused<T>(outcome: &Result<T, SalesError>) -> Option<Refused> {
    match outcome {
        Ok(_) => None,
        Err(SalesError::NotFound) => Some(Refused::NotFound),
        Err(SalesError::CouponNotApplicable { .. }) => Some(Refused::NotApplicable),
        Err(SalesError::CouponSoldOut) => Some(Refused::SoldOut),
        Err(other) => panic!("{other:?}"),
    }
}

fn number(name: &str, default: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.map_or(default, |text| text.parse().expect("a number"))
}

pub async fn coupons_live_as_their_model_says(sale: &Sale) {
    let first = number("USHER_COUPON_MODEL_SEED", 1);
    for seed in first..first + number("USHER_COUPON_MODEL_SEEDS", SEEDS) {
        println!("USHER_COUPON_MODEL_SEED={seed}");
        let mut life = Life::begin(sale, seed).await;
        for _ in 0..STEPS {
            life.step().await;
            life.compare().await;
        }
        life.compare_events().await;
        sale.assert_clean_audit("a life of coupons").await;
    }
}

impl<'a> Life<'a> {
    async fn begin(sale: &'a Sale, seed: u64) -> Self {
        let mut life = Self {
            sale,
            rng: SmallRng::seed_from_u64(seed),
            now: sale.now().await,
            users: (0..USERS).map(|n| format!("s{seed}u{n}")).collect(),
            campaigns: Vec::new(),
            shares: BTreeMap::new(),
            purchases: Vec::new(),
        };
        let percent = Discount::Percent {
            percent: 10,
            at_most: None,
        };
        for discount in [percent, Discount::Amount(money(30)), percent] {
            let stock = life.rng.random_range(1..=USERS as u64);
            let terms = NewCampaign {
                discount,
                ..campaign_of(stock)
            };
            let made = sale.campaign(terms).await;
            life.campaigns.push(Known {
                id: made.id,
                stock,
                version: made.version,
                discount,
                until: None,
            });
        }
        for who in &life.users {
            sale.top_up(who, MONEY_MINOR).await;
        }
        life
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..20 => self.ask().await,
            20..28 => self.ask_all_at_once().await,
            28..36 => self.change_stock().await,
            36..42 => self.change_end().await,
            42..60 => self.hold().await,
            60..74 => self.pay().await,
            74..82 => self.begin_payment().await,
            82..92 => self.give_back().await,
            _ => self.pass_time().await,
        }
    }

    fn issued(&self, campaign: usize) -> u64 {
        let of = self.shares.values().filter(|it| it.campaign == campaign);
        of.count() as u64
    }

    fn is_over(&self, campaign: usize) -> bool {
        let until = self.campaigns[campaign].until;
        until.is_some_and(|until| until <= self.now)
    }

    fn share_of(&self, owner: usize, campaign: usize) -> Option<&ResourceId> {
        let mut shares = self.shares.iter();
        let found = shares.find(|(_, it)| it.owner == owner && it.campaign == campaign);
        found.map(|(id, _)| id)
    }

    /// What is true of an answer whoever came first.
    fn take(&mut self, owner: usize, campaign: usize, issued: Issued) {
        let (share, coupon) = (self.share_of(owner, campaign), issued.coupon);
        assert_eq!(issued.already, share.is_some());
        assert!(share.is_none_or(|share| *share == coupon.id), "{coupon:?}");
        self.shares.entry(coupon.id).or_insert(Share {
            campaign,
            owner,
            state: CouponState::Available,
            reservation: None,
            told: vec!["coupon.issued"],
        });
    }

    async fn ask(&mut self) {
        let owner = self.rng.random_range(0..USERS);
        let campaign = self.rng.random_range(0..CAMPAIGNS);
        let expected = match self.share_of(owner, campaign) {
            Some(_) => None,
            None if self.is_over(campaign) => Some(Refused::NotApplicable),
            None if self.issued(campaign) == self.campaigns[campaign].stock => {
                Some(Refused::SoldOut)
            }
            None => None,
        };
        let id = &self.campaigns[campaign].id;
        let outcome = self.sale.issue(&self.users[owner], id).await;
        assert_eq!(refused(&outcome), expected);
        if let Ok(issued) = outcome {
            self.take(owner, campaign, issued);
        }
    }

    async fn ask_all_at_once(&mut self) {
        let campaign = self.rng.random_range(0..CAMPAIGNS);
        let known = &self.campaigns[campaign];
        let before = self.issued(campaign);
        let due = match self.is_over(campaign) {
            true => before,
            false => known.stock.min(USERS as u64),
        };
        let asked = self.users.iter();
        let asked = asked.map(|who| self.sale.issue_in_a_crowd(who, &known.id));
        let outcomes = join_all(asked).await;
        for (owner, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(issued) => self.take(owner, campaign, issued),
                Err(_) => assert!(self.share_of(owner, campaign).is_none()),
            }
        }
        assert_eq!(self.issued(campaign), due.max(before));
    }

    /// Also from a version that is not there any more, and below what is issued.
    async fn change_stock(&mut self) {
        let campaign = self.rng.random_range(0..CAMPAIGNS);
        let issued = self.issued(campaign);
        let stock = (issued + self.rng.random_range(0..4))
            .saturating_sub(1)
            .max(1);
        let is_stale = self.rng.random_bool(0.2);
        let known = &mut self.campaigns[campaign];
        let command = UpdateCampaign {
            campaign: known.id.clone(),
            version: known.version - u64::from(is_stale),
            change: CampaignChange {
                stock: Some(stock),
                ..CampaignChange::default()
            },
        };
        let outcome = self.sale.store().update_campaign(command).await;
        match outcome {
            Err(SalesError::Conflict) => assert!(is_stale),
            Err(SalesError::Field(error)) => {
                assert!(!is_stale && stock < issued, "{error:?}");
                assert_eq!(error.field, "campaign.stock");
            }
            Ok(changed) => {
                assert!(!is_stale && stock >= issued, "{changed:?}");
                known.stock = stock;
                known.version += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    async fn change_end(&mut self) {
        let campaign = self.rng.random_range(0..CAMPAIGNS);
        let later = self.rng.random_bool(0.6);
        let until = later.then(|| self.now.plus_ms(self.rng.random_range(1..40_000)));
        let known = &mut self.campaigns[campaign];
        let command = UpdateCampaign {
            campaign: known.id.clone(),
            version: known.version,
            change: CampaignChange {
                valid_until: Some(until),
                ..CampaignChange::default()
            },
        };
        let changed = self.sale.store().update_campaign(command).await;
        changed.expect("a later end, or none");
        known.until = until;
        known.version += 1;
    }

    async fn hold(&mut self) {
        let buyer = self.rng.random_range(0..USERS);
        let count = self.rng.random_range(1..=3);
        let seats: Vec<String> = (1..=count).map(|n| format!("s1-r1-{n}")).collect();
        let named: Vec<&str> = seats.iter().map(String::as_str).collect();
        let performance = self.sale.performance().await;
        let held = self.sale.hold(&self.users[buyer], &performance, &named);
        let held = held.await.expect("a seat that nobody has");
        self.purchases.push(Purchase {
            buyer,
            reservation: held.id,
            seats,
            stage: Stage::Held,
            coupon: None,
            ends_at: held.expires_at,
        });
    }

    /// One that is held, and a coupon for it: its buyer's, another's or none.
    fn wish(&mut self) -> Option<(usize, Option<ResourceId>)> {
        let purchases = self.purchases.iter().enumerate();
        let held = purchases.filter(|(_, it)| matches!(it.stage, Stage::Held));
        let held: Vec<usize> = held.map(|(index, _)| index).collect();
        let index = *held.choose(&mut self.rng)?;
        let buyer = self.purchases[index].buyer;
        let wants_own = self.rng.random_bool(0.8);
        let coupons = self.shares.iter();
        let coupons = coupons.filter(|(_, it)| (it.owner == buyer) == wants_own);
        let coupons: Vec<&ResourceId> = coupons.map(|(id, _)| id).collect();
        let coupon = coupons.choose(&mut self.rng).map(|id| (*id).clone());
        Some((index, coupon))
    }

    fn judge(&self, buyer: usize, coupon: Option<&ResourceId>) -> Option<Refused> {
        let share = &self.shares[coupon?];
        if share.owner != buyer {
            Some(Refused::NotFound)
        } else if share.state != CouponState::Available || self.is_over(share.campaign) {
            Some(Refused::NotApplicable)
        } else {
            None
        }
    }

    /// What a payment of these seats is over, and takes off.
    fn assert_amount(&self, payment: &Payment, index: usize) {
        let seats = self.purchases[index].seats.len();
        let total = PRICE_MINOR * i64::try_from(seats).expect("few");
        let discount = payment.coupon.as_ref().map_or(0, |used| {
            let share = &self.shares[&used.coupon];
            let off = match self.campaigns[share.campaign].discount {
                Discount::Percent { percent, .. } => total * i64::from(percent) / 100,
                Discount::Amount(off) => off.amount_minor.min(total),
            };
            assert_eq!(used.discount, money(off));
            off
        });
        assert_eq!(payment.amount, money(total - discount));
    }

    /// From here on the coupon of this purchase is like that.
    fn mark(&mut self, index: usize, state: CouponState, told: Option<&'static str>) {
        let purchase = &self.purchases[index];
        let share = purchase.coupon.as_ref();
        if let Some(share) = share.and_then(|id| self.shares.get_mut(id)) {
            share.state = state;
            let is_free = state == CouponState::Available;
            share.reservation = (!is_free).then(|| purchase.reservation.clone());
            share.told.extend(told);
        }
    }

    async fn pay(&mut self) {
        let Some((index, coupon)) = self.wish() else {
            return;
        };
        let Purchase {
            buyer, reservation, ..
        } = &self.purchases[index];
        let expected = self.judge(*buyer, coupon.as_ref());
        let who = &self.users[*buyer];
        let outcome = match &coupon {
            Some(coupon) => self.sale.pay_with(who, reservation, coupon).await,
            None => self.sale.pay(who, reservation).await,
        };
        assert_eq!(refused(&outcome), expected);
        if let Ok(paid) = outcome {
            self.assert_amount(&paid.payment, index);
            self.purchases[index].coupon = coupon;
            self.purchases[index].stage = Stage::Paid;
            self.mark(index, CouponState::Used, Some("coupon.redeemed"));
        }
    }

    /// At most one of a buyer is not decided.
    async fn begin_payment(&mut self) {
        let Some((index, Some(coupon))) = self.wish() else {
            return;
        };
        let buyer = self.purchases[index].buyer;
        let mut others = self.purchases.iter();
        if others.any(|it| it.buyer == buyer && matches!(it.stage, Stage::Pending(_))) {
            return;
        }
        let expected = self.judge(buyer, Some(&coupon));
        let reservation = &self.purchases[index].reservation;
        let begun = self
            .sale
            .begin_with(&self.users[buyer], reservation, &coupon);
        let begun = begun.await;
        assert_eq!(refused(&begun), expected);
        if let Ok(intent) = begun {
            self.purchases[index].coupon = Some(coupon);
            self.purchases[index].stage = Stage::Pending(intent);
            self.mark(index, CouponState::Reserved, None);
            if self.rng.random_bool(0.3) {
                self.decide(index).await;
            }
        }
    }

    async fn decide(&mut self, index: usize) {
        let Stage::Pending(intent) = &self.purchases[index].stage else {
            return;
        };
        if self.rng.random_bool(0.5) {
            let settled = self.sale.settle(intent, IntentState::Succeeded).await;
            self.assert_amount(&settled.payment.expect("paid"), index);
            self.purchases[index].stage = Stage::Paid;
            self.mark(index, CouponState::Used, Some("coupon.redeemed"));
        } else {
            self.sale.settle(intent, IntentState::Declined).await;
            self.mark(index, CouponState::Available, None);
            self.purchases[index].stage = Stage::Held;
            self.purchases[index].coupon = None;
        }
    }

    /// A part, which returns no coupon, or the whole.
    async fn give_back(&mut self) {
        let purchases = self.purchases.iter().enumerate();
        let settled = purchases.filter(|(_, it)| !matches!(it.stage, Stage::Pending(_)));
        let settled: Vec<usize> = settled.map(|(index, _)| index).collect();
        let Some(&index) = settled.choose(&mut self.rng) else {
            return;
        };
        let is_part = self.rng.random_bool(0.4);
        let purchase = &mut self.purchases[index];
        let who = &self.users[purchase.buyer];
        if is_part && purchase.seats.len() > 1 {
            let seat = purchase.seats.pop().expect("two at least");
            let part = [seat.as_str()];
            let given = self.sale.cancel_some(who, &purchase.reservation, &part);
            given.await.expect("its own");
            return;
        }
        let given = self.sale.cancel(who, &purchase.reservation).await;
        given.expect("its own");
        self.mark(index, CouponState::Available, Some("coupon.returned"));
        self.purchases.swap_remove(index);
    }

    /// Providers decide first, so that no hold outlives what is known of it.
    async fn pass_time(&mut self) {
        for index in 0..self.purchases.len() {
            self.decide(index).await;
        }
        let step_ms = self.rng.random_range(1..15_000);
        self.sale.advance_ms(step_ms).await;
        self.now = self.sale.now().await;
        let now = self.now;
        let is_there = |it: &Purchase| matches!(it.stage, Stage::Paid) || it.ends_at > now;
        self.purchases.retain(is_there);
    }

    async fn compare(&mut self) {
        let store = self.sale.store();
        for (index, known) in self.campaigns.iter().enumerate() {
            let seen = store.campaign(known.id.clone()).await.expect("is there");
            assert_eq!(
                (seen.terms.stock, seen.issued),
                (known.stock, self.issued(index))
            );
            assert_eq!(
                (seen.version, seen.terms.valid_until),
                (known.version, known.until)
            );
        }
        let owner = self.rng.random_range(0..USERS);
        let page = Page::new(100, None);
        let seen = store.coupons(user(&self.users[owner]), page).await;
        let seen = seen.expect("listed").items.into_iter();
        let seen = seen.map(|it| (it.id, (it.campaign, it.state, it.reservation)));
        let known = self.shares.iter().filter(|(_, it)| it.owner == owner);
        let known = known.map(|(id, it)| {
            let campaign = self.campaigns[it.campaign].id.clone();
            (id.clone(), (campaign, it.state, it.reservation.clone()))
        });
        let (seen, known): (BTreeMap<_, _>, BTreeMap<_, _>) = (seen.collect(), known.collect());
        assert_eq!(seen, known, "{}", self.users[owner]);
    }

    async fn compare_events(&self) {
        for (id, share) in &self.shares {
            assert_eq!(self.sale.coupon_told(id).await, share.told, "{id}");
        }
    }
}
