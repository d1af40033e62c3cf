//! Campaigns, and coupons for those who come first.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use uuid::Uuid;

use super::fixture::{Sale, id, money, money_of, user};
use crate::domain::ids::{ActivationId, ResourceId, RoomRef};
use crate::domain::place::EndReason;
use crate::domain::policy::Protects;
use crate::domain::sale::coupon::{Campaign, CampaignChange, CouponState, Discount, NewCampaign};
use crate::store::rooms::ActivationState;
use crate::store::sales::{CompletedPass, IssueCoupon, Issued, Page, SalesError, UpdateCampaign};

const PASS_TTL_MS: u64 = 300_000;

pub fn campaign_of(stock: u64) -> NewCampaign {
    NewCampaign {
        name: "Spring".to_owned(),
        stock,
        discount: Discount::Percent {
            percent: 10,
            at_most: None,
        },
        order_min: None,
        valid_from: None,
        valid_until: None,
        concerts: Vec::new(),
        performances: Vec::new(),
    }
}

impl Sale {
    pub async fn campaign(&self, terms: NewCampaign) -> Campaign {
        let store = self.store();
        let made = store.create_campaign(self.once("admin"), id(&self.fresh()), terms);
        made.await.unwrap()
    }

    pub fn issuing(&self, who: &str, campaign: &ResourceId) -> IssueCoupon {
        IssueCoupon {
            user: user(who),
            campaign: campaign.clone(),
            id: id(&self.fresh()),
            activation: None,
        }
    }

    pub async fn issue(&self, who: &str, campaign: &ResourceId) -> Result<Issued, SalesError> {
        self.store().issue_coupon(self.issuing(who, campaign)).await
    }

    /// Asks again while too many wait, as clients do.
    pub async fn issue_in_a_crowd(
        &self,
        who: &str,
        campaign: &ResourceId,
    ) -> Result<Issued, SalesError> {
        loop {
            match self.issue(who, campaign).await {
                Err(SalesError::Overloaded) => {}
                outcome => return outcome,
            }
        }
    }

    async fn issue_with(
        &self,
        who: &str,
        campaign: &ResourceId,
        pass: ActivationId,
    ) -> Result<Issued, SalesError> {
        let command = IssueCoupon {
            activation: Some(pass),
            ..self.issuing(who, campaign)
        };
        self.store().issue_coupon(command).await
    }

    /// From the version that is there now.
    async fn change(
        &self,
        campaign: &ResourceId,
        change: CampaignChange,
    ) -> Result<Campaign, SalesError> {
        let now = self.store().campaign(campaign.clone()).await.unwrap();
        let command = UpdateCampaign {
            campaign: campaign.clone(),
            version: now.version,
            change,
        };
        self.store().update_campaign(command).await
    }

    /// A room that protects campaigns.
    async fn protect_campaigns(&self, campaigns: &[&ResourceId]) -> RoomRef {
        self.protect_all(Protects {
            campaigns: campaigns.iter().map(|one| (*one).clone()).collect(),
            ..Protects::default()
        })
        .await
    }
}

fn of_stock(stock: u64) -> CampaignChange {
    CampaignChange {
        stock: Some(stock),
        ..CampaignChange::default()
    }
}

pub async fn a_campaign_is_read_as_it_was_created(sale: &Sale) {
    let concert = sale.concert().await;
    let performance = sale.performance().await;
    let now = sale.now().await;
    let all = NewCampaign {
        discount: Discount::Percent {
            percent: 25,
            at_most: Some(money(5_000)),
        },
        order_min: Some(money(100)),
        valid_from: Some(now.plus_ms(1_000)),
        valid_until: Some(now.plus_ms(2_000)),
        concerts: vec![concert],
        performances: vec![performance],
        ..campaign_of(7)
    };
    let amount = NewCampaign {
        discount: Discount::Amount(money_of("EUR", 50)),
        ..campaign_of(1)
    };
    let store = sale.store();
    for terms in [all, amount, campaign_of(2)] {
        let (once, fresh) = (sale.once("admin"), id(&sale.fresh()));
        let made = store.create_campaign(once.clone(), fresh.clone(), terms.clone());
        let made = made.await.unwrap();
        assert_eq!((&made.terms, made.issued, &made.room), (&terms, 0, &None));
        assert_eq!(store.campaign(made.id.clone()).await, Ok(made.clone()));
        let again = store.create_campaign(once.clone(), id(&sale.fresh()), terms.clone());
        assert_eq!(again.await, Ok(made));
        let other = NewCampaign { stock: 3, ..terms };
        let reused = store.create_campaign(once, fresh, other).await;
        assert_eq!(reused, Err(SalesError::IdempotencyKeyReused));
    }
    let unknown = [
        ("campaign.concert_ids", vec![id("nowhere")], vec![]),
        ("campaign.performance_ids", vec![], vec![id("never")]),
    ];
    for (field, concerts, performances) in unknown {
        let terms = NewCampaign {
            concerts,
            performances,
            ..campaign_of(1)
        };
        let refused = store.create_campaign(sale.once("admin"), id(&sale.fresh()), terms);
        let Err(SalesError::Field(error)) = refused.await else {
            panic!("{field} is taken");
        };
        assert_eq!(error.field, field);
    }
    let nowhere = store.campaign(id("nowhere")).await;
    assert_eq!(nowhere, Err(SalesError::NotFound));
}

pub async fn a_campaign_is_changed_from_the_version_it_names(sale: &Sale) {
    let made = sale.campaign(campaign_of(3)).await;
    let store = sale.store();
    for who in ["ann", "bob"] {
        sale.issue(who, &made.id).await.unwrap();
    }
    let now = sale.now().await;
    let change = CampaignChange {
        name: Some("Summer".to_owned()),
        stock: Some(2),
        valid_from: Some(Some(now)),
        valid_until: Some(Some(now.plus_ms(1_000))),
    };
    let changed = sale.change(&made.id, change.clone()).await.unwrap();
    assert_eq!((changed.terms.stock, changed.issued), (2, 2));
    assert_eq!(changed.terms.name, "Summer");
    assert!(changed.version > made.version);
    let stale = UpdateCampaign {
        campaign: made.id.clone(),
        version: made.version,
        change,
    };
    let stale = store.update_campaign(stale).await;
    assert_eq!(stale, Err(SalesError::Conflict));
    let below = sale.change(&made.id, of_stock(1)).await;
    assert!(
        matches!(&below, Err(SalesError::Field(error)) if error.field == "campaign.stock"),
        "{below:?}"
    );
    assert_eq!(store.campaign(made.id.clone()).await, Ok(changed));
    let nowhere = UpdateCampaign {
        campaign: id("nowhere"),
        version: 1,
        change: of_stock(5),
    };
    let nowhere = store.update_campaign(nowhere).await;
    assert_eq!(nowhere, Err(SalesError::NotFound));
}

pub async fn a_user_has_one_coupon_of_a_campaign(sale: &Sale) {
    let spring = sale.campaign(campaign_of(2)).await.id;
    let first = sale.issue("ann", &spring).await.unwrap();
    assert!(!first.already);
    assert_eq!(first.coupon.state, CouponState::Available);
    assert_eq!(first.coupon.user, user("ann"));
    sale.advance_ms(5).await;
    let again = sale.issue("ann", &spring).await.unwrap();
    assert!(again.already);
    assert_eq!(again.coupon, first.coupon);
    sale.issue("bob", &spring).await.unwrap();
    assert_eq!(
        sale.issue("carol", &spring).await,
        Err(SalesError::CouponSoldOut)
    );
    let late = sale.issue("ann", &spring).await.unwrap();
    assert_eq!((late.already, late.coupon), (true, first.coupon));
    // Another campaign is another coupon.
    let summer = sale.campaign(campaign_of(1)).await.id;
    assert!(!sale.issue("ann", &summer).await.unwrap().already);
    let nowhere = sale.issue("ann", &id("nowhere")).await;
    assert_eq!(nowhere, Err(SalesError::NotFound));
}

pub async fn exactly_the_stock_is_issued_to_thousands_at_once(sale: &Sale) {
    let spring = sale.campaign(campaign_of(500)).await.id;
    let store = sale.store();
    // Each of 1,500 asks twice.
    let calls = (0..3_000).map(|n| {
        let (who, spring) = (format!("user{}", n % 1_500), &spring);
        async move { sale.issue_in_a_crowd(&who, spring).await }
    });
    let mut winners = BTreeSet::new();
    let (mut fresh, mut sold_out) = (0, 0);
    for outcome in join_all(calls).await {
        match outcome {
            Ok(issued) => {
                fresh += usize::from(!issued.already);
                winners.insert((issued.coupon.user, issued.coupon.id));
            }
            Err(SalesError::CouponSoldOut) => sold_out += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((fresh, winners.len(), sold_out), (500, 500, 2_000));
    let after = store.campaign(spring.clone()).await.unwrap();
    assert_eq!((after.issued, after.is_sold_out()), (500, true));
    let mut holders = Vec::new();
    loop {
        let after = holders.last().cloned();
        let page = store.coupon_holders(spring.clone(), after, 200).await;
        let page = page.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 200);
        holders.extend(page);
    }
    let names: Vec<_> = winners.into_iter().map(|(user, _)| user).collect();
    assert_eq!(holders, names, "by their names, each once");
}

pub async fn one_user_who_asks_a_hundred_times_at_once_takes_one(sale: &Sale) {
    let spring = sale.campaign(campaign_of(10)).await.id;
    let calls = (0..100).map(|_| sale.issue_in_a_crowd("ann", &spring));
    let outcomes = join_all(calls).await;
    let coupons: BTreeSet<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap().coupon.id.clone())
        .collect();
    assert_eq!(coupons.len(), 1);
    let first = outcomes.iter().flatten().filter(|issued| !issued.already);
    assert_eq!(first.count(), 1);
    let after = sale.store().campaign(spring).await.unwrap();
    assert_eq!(after.issued, 1);
}

pub async fn a_raised_stock_is_issued_again(sale: &Sale) {
    let spring = sale.campaign(campaign_of(1)).await.id;
    sale.issue("ann", &spring).await.unwrap();
    let calls = (0..50).map(|n| {
        let (spring, who) = (&spring, format!("user{n}"));
        async move { sale.issue_in_a_crowd(&who, spring).await }
    });
    let (raised, outcomes) = tokio::join!(sale.change(&spring, of_stock(11)), join_all(calls));
    assert_eq!(raised.unwrap().terms.stock, 11);
    let early = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(early <= 10, "{early}");
    for n in early..10 {
        sale.issue(&format!("late{n}"), &spring).await.unwrap();
    }
    let after = sale.store().campaign(spring.clone()).await.unwrap();
    assert_eq!(after.issued, 11);
    assert_eq!(
        sale.issue("zoe", &spring).await,
        Err(SalesError::CouponSoldOut)
    );
}

pub async fn a_campaign_that_is_over_issues_nothing(sale: &Sale) {
    let now = sale.now().await;
    let spring = sale
        .campaign(NewCampaign {
            valid_from: Some(now.plus_ms(500)),
            valid_until: Some(now.plus_ms(1_000)),
            ..campaign_of(5)
        })
        .await;
    let early = sale.issue("ann", &spring.id).await.unwrap();
    assert_eq!(early.coupon.valid_until, spring.terms.valid_until);
    sale.advance_ms(1_000).await;
    let late = sale.issue("bob", &spring.id).await;
    assert!(
        matches!(late, Err(SalesError::CouponNotApplicable { .. })),
        "{late:?}"
    );
    let mine = sale.issue("ann", &spring.id).await.unwrap();
    assert!(mine.already && mine.coupon.is_expired(sale.now().await));
}

pub async fn a_protected_campaign_needs_its_rooms_pass(sale: &Sale) {
    let spring = sale.campaign(campaign_of(5)).await.id;
    let free = sale.campaign(campaign_of(5)).await.id;
    let room = sale.protect_campaigns(&[&spring]).await;
    let other = sale.protect(&sale.performance().await).await;
    let shown = sale.store().campaign(spring.clone()).await.unwrap();
    assert_eq!(shown.room, Some(room.id.clone()));
    let required = SalesError::PassRequired {
        room: room.id.clone(),
    };
    assert_eq!(sale.issue("ann", &spring).await, Err(required));
    sale.issue("ann", &free).await.unwrap();
    let wrong = sale.activate(&other, "ann", 0, PASS_TTL_MS).await;
    let wrong_room = SalesError::PassWrongRoom {
        room: room.id.clone(),
    };
    assert_eq!(
        sale.issue_with("ann", &spring, wrong).await,
        Err(wrong_room)
    );
    let his = sale.activate(&room, "bob", 0, PASS_TTL_MS).await;
    assert_eq!(
        sale.issue_with("ann", &spring, his).await,
        Err(SalesError::PassOfAnotherUser)
    );
    let unclaimed = sale.activate(&room, "carol", 10_000, PASS_TTL_MS).await;
    assert_eq!(
        sale.issue_with("carol", &spring, unclaimed).await,
        Err(SalesError::NotActivated)
    );
    let unknown = ActivationId(Uuid::from_u128(u128::MAX));
    assert_eq!(
        sale.issue_with("ann", &spring, unknown).await,
        Err(SalesError::PassEnded)
    );
    let hers = sale.activate(&room, "ann", 0, PASS_TTL_MS).await;
    sale.advance_ms(PASS_TTL_MS).await;
    assert_eq!(
        sale.issue_with("ann", &spring, hers).await,
        Err(SalesError::PassEnded)
    );
    let after = sale.store().campaign(spring).await.unwrap();
    assert_eq!(after.issued, 0);
}

pub async fn issuing_completes_the_pass(sale: &Sale) {
    let spring = sale.campaign(campaign_of(5)).await.id;
    let summer = sale.campaign(campaign_of(5)).await.id;
    let room = sale.protect_campaigns(&[&spring, &summer]).await;
    let pass = sale.activate(&room, "ann", 0, PASS_TTL_MS).await;
    // Of two at once with one pass one is issued.
    let (one, two) = tokio::join!(
        sale.issue_with("ann", &spring, pass),
        sale.issue_with("ann", &summer, pass)
    );
    let outcomes = [one, two];
    let issued: Vec<_> = outcomes.iter().flatten().collect();
    assert_eq!(issued.len(), 1, "{outcomes:?}");
    let completed = CompletedPass {
        room: room.id.clone(),
        activation: pass,
    };
    assert_eq!(issued[0].completed, Some(completed));
    assert!(outcomes.contains(&Err(SalesError::PassEnded)));
    let row = sale.store().activation(pass).await.unwrap();
    assert_eq!(row.state, ActivationState::Ended(EndReason::Completed));
    // Who has it needs no pass any more.
    let campaign = issued[0].coupon.campaign.clone();
    let again = sale.issue("ann", &campaign).await.unwrap();
    assert_eq!((again.already, &again.coupon), (true, &issued[0].coupon));
}

pub async fn a_room_is_sold_out_when_its_campaigns_are_issued(sale: &Sale) {
    let spring = sale.campaign(campaign_of(2)).await.id;
    let room = sale.protect_campaigns(&[&spring]).await;
    for (who, is_last) in [("ann", false), ("bob", true)] {
        let pass = sale.activate(&room, who, 0, PASS_TTL_MS).await;
        let issued = sale.issue_with(who, &spring, pass).await.unwrap();
        assert_eq!(issued.recheck_sold_out.is_some(), is_last, "{who}");
        let sold_out = sale.store().is_sold_out(&room.id).await;
        assert_eq!(sold_out, Ok(is_last), "{who}");
    }
    sale.change(&spring, of_stock(3)).await.unwrap();
    assert_eq!(sale.store().is_sold_out(&room.id).await, Ok(false));
}

pub async fn coupons_are_listed_the_latest_first(sale: &Sale) {
    let mut made = Vec::new();
    for n in 0..5 {
        let campaign = sale.campaign(campaign_of(2)).await.id;
        made.push(sale.issue("ann", &campaign).await.unwrap().coupon);
        sale.issue("bob", &campaign).await.unwrap();
        // Some at the same moment.
        sale.advance_ms(n % 2).await;
    }
    made.sort_by_key(|coupon| (coupon.issued_at, coupon.id.clone()));
    made.reverse();
    let store = sale.store();
    let (mut listed, mut page) = (Vec::new(), Page::new(2, None));
    loop {
        let listing = store.coupons(user("ann"), page).await.unwrap();
        assert!(listing.items.len() <= 2);
        listed.extend(listing.items);
        match listing.next {
            None => break,
            next => page = Page::new(2, next),
        }
    }
    assert_eq!(listed, made);
    let nobody = store.coupons(user("zoe"), Page::new(2, None)).await;
    assert!(nobody.unwrap().items.is_empty());
}

pub async fn an_issued_coupon_is_told_once(sale: &Sale) {
    let spring = sale.campaign(campaign_of(1)).await.id;
    let coupon = sale.issue("ann", &spring).await.unwrap().coupon;
    sale.issue("ann", &spring).await.unwrap();
    sale.issue("bob", &spring).await.unwrap_err();
    let aggregate = format!("coupon:{}", coupon.id);
    let told = sale.told_of(&aggregate).await;
    let kinds: Vec<_> = told.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["coupon.issued"]);
    let payload: serde_json::Value = serde_json::from_str(&told[0].payload).unwrap();
    assert_eq!(payload["campaign_id"], spring.as_str());
    assert_eq!(payload["user_id"], "ann");
    assert_eq!(payload["coupon_id"], coupon.id.as_str());
}
