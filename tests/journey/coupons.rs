//! Coupons for those who come first, as their users meet them.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tonic::{Code, Status};
use usher::proto::v1 as wire;
use wire::campaign::Discount;
use wire::coupon_service_client::CouponServiceClient;

use crate::bad_input::world;
use crate::gateway::{LONG_MS, Shop, refused};
use crate::harness::{TestApp, eventually, soon};
use crate::people::{User, euros, reason};
use crate::sale::{PRICE_MINOR, policy};

/// Ten percent off, of so many.
pub fn campaign(stock: u64) -> wire::Campaign {
    wire::Campaign {
        name: "Spring".to_owned(),
        stock,
        discount: Some(Discount::Percent(10)),
        ..wire::Campaign::default()
    }
}

impl User {
    pub fn coupon_service(&self) -> CouponServiceClient<tonic::transport::Channel> {
        CouponServiceClient::new(self.channel())
    }

    pub async fn make_campaign(&self, campaign: wire::Campaign, key: &str) -> wire::Campaign {
        let request = self.ask(wire::CreateCampaignRequest {
            campaign: Some(campaign),
            idempotency_key: key.to_owned(),
        });
        let made = soon("a campaign", self.operator().create_campaign(request)).await;
        made.expect("made").into_inner().campaign.expect("one")
    }

    pub async fn issue_coupon(&self, campaign: &str) -> Result<wire::IssueCouponResponse, Status> {
        let request = self.ask(wire::IssueCouponRequest {
            campaign_id: campaign.to_owned(),
        });
        let answer = soon("a coupon", self.coupon_service().issue_coupon(request)).await;
        answer.map(tonic::Response::into_inner)
    }

    pub async fn campaign(&self, id: &str) -> wire::Campaign {
        let request = self.ask(wire::GetCampaignRequest {
            campaign_id: id.to_owned(),
        });
        let answer = soon("a campaign", self.coupon_service().get_campaign(request)).await;
        answer.expect("OK").into_inner().campaign.expect("one")
    }

    pub async fn coupons(&self) -> Vec<wire::Coupon> {
        let request = self.ask(wire::ListCouponsRequest::default());
        let answer = soon("coupons", self.coupon_service().list_coupons(request)).await;
        answer.expect("OK").into_inner().coupons
    }

    async fn change_stock(&self, of: &wire::Campaign, stock: u64) -> wire::Campaign {
        let request = self.ask(wire::UpdateCampaignRequest {
            campaign: Some(wire::Campaign {
                stock,
                ..of.clone()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: vec!["stock".to_owned()],
            }),
            etag: of.etag.clone(),
        });
        let changed = soon("a change", self.operator().update_campaign(request)).await;
        changed
            .expect("changed")
            .into_inner()
            .campaign
            .expect("one")
    }
}

fn sold_out(answer: &Result<wire::IssueCouponResponse, Status>) -> bool {
    let is_it = |status: &Status| {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        reason(status) == "COUPON_SOLD_OUT"
    };
    answer.as_ref().is_err_and(is_it)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_ask_at_once_as_many_as_there_are_get_one() {
    let app = TestApp::start().await;
    let root = app.admin();
    let spring = root.make_campaign(campaign(40), "spring").await;
    let users: Vec<User> = (0..100).map(|n| app.user(&format!("user{n}"))).collect();
    let asked = users.iter().flat_map(|user| [user, user]);
    let answers = join_all(asked.map(|user| user.issue_coupon(&spring.id))).await;
    let refused = answers.iter().filter(|answer| sold_out(answer)).count();
    let coupons: BTreeSet<_> = answers
        .iter()
        .flatten()
        .map(|answer| answer.coupon.clone().expect("a coupon").id)
        .collect();
    assert_eq!((coupons.len(), refused), (40, 120), "each twice");
    let fresh = answers.iter().flatten();
    assert_eq!(fresh.filter(|answer| !answer.already_issued).count(), 40);
    assert_eq!(root.campaign(&spring.id).await.issued, 40);
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sold_out_is_told_from_memory_until_the_stock_is_raised() {
    let app = TestApp::start().await;
    let root = app.admin();
    let spring = root.make_campaign(campaign(1), "spring").await;
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let first = alice.issue_coupon(&spring.id).await.expect("issued");
    assert!(!first.already_issued);
    let from_memory = "usher_coupon_issues_total{outcome=\"sold_out_known\"} 1";
    eventually("sold out from memory", async || {
        assert!(sold_out(&bob.issue_coupon(&spring.id).await));
        app.measures(from_memory).then_some(())
    })
    .await;
    // Who has one gets it again.
    let again = alice.issue_coupon(&spring.id).await.expect("hers");
    assert!(again.already_issued);
    assert_eq!(again.coupon, first.coupon);
    let raised = root.change_stock(&spring, 2).await;
    assert_eq!((raised.stock, raised.issued), (2, 1));
    let his = bob.issue_coupon(&spring.id).await.expect("at once");
    assert!(!his.already_issued);
    assert!(sold_out(&app.user("carol").issue_coupon(&spring.id).await));
    let mine = bob.coupons().await;
    assert_eq!(mine.len(), 1);
    assert_eq!(mine[0].state(), wire::CouponState::Available);
    assert_eq!(mine[0].campaign_id, spring.id);
    app.assert_audit_is_clean().await;
}

/// Each press beyond the limit is refused before anything is decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_hammers_takes_one_and_keeps_nobody_from_theirs() {
    let limit = [("USHER_LIMITS__COUPON_PER_MINUTE", "5")];
    let app = TestApp::start_with(&limit).await;
    let root = app.admin();
    let spring = root.make_campaign(campaign(2), "spring").await;
    let alice = app.user("alice");
    let mut answers = Vec::new();
    for _ in 0..6 {
        let alice = alice.clone().on(app.connect().await);
        answers.extend(join_all((0..50).map(|_| alice.issue_coupon(&spring.id))).await);
    }
    let fresh = answers.iter().flatten();
    assert_eq!(fresh.filter(|answer| !answer.already_issued).count(), 1);
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!(refused.len() > 200, "{}", refused.len());
    for status in refused {
        assert_eq!(reason(&status), "RATE_LIMITED", "{status:?}");
    }
    alice
        .top_up(PRICE_MINOR, "money")
        .await
        .expect("is no coupon");
    let his = app.user("bob").issue_coupon(&spring.id).await;
    assert!(!his.expect("the other").already_issued);
    assert_eq!(root.campaign(&spring.id).await.issued, 2);
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_lets_in_for_a_coupon_and_issuing_ends_the_pass() {
    let app = TestApp::start().await;
    let root = app.admin();
    let spring = root.make_campaign(campaign(2), "spring").await;
    let one_at_a_time = wire::RoomPolicy {
        capacity: 1,
        protects: Some(wire::Protects {
            campaign_ids: vec![spring.id.clone()],
            ..wire::Protects::default()
        }),
        ..policy()
    };
    let room = app.make_room("room", one_at_a_time).await;
    assert_eq!(root.campaign(&spring.id).await.room_id, room);
    let (alice, bob) = (app.user("alice"), app.user("bob"));
    let without = alice.issue_coupon(&spring.id).await.expect_err("no pass");
    assert_eq!(
        (without.code(), reason(&without).as_str()),
        (Code::PermissionDenied, "PASS_REQUIRED")
    );
    let (hers, his) = (alice.join(&room).await, bob.join(&room).await);
    let pass = alice.await_pass(&hers.token).await;
    let mut stream = alice.watch(&hers.token).await;
    let admitted = alice.clone().with_pass(&pass);
    let issued = admitted.issue_coupon(&spring.id).await.expect("issued");
    let ended = stream.ended().await;
    assert_eq!(ended.state(), wire::PlaceState::Completed);
    let again = alice
        .issue_coupon(&spring.id)
        .await
        .expect("without a pass");
    assert!(again.already_issued);
    assert_eq!(again.coupon, issued.coupon);
    // Her slot is his.
    let pass = bob.await_pass(&his.token).await;
    let bob = bob.with_pass(&pass);
    bob.issue_coupon(&spring.id).await.expect("the last");
    let mut late = 0;
    eventually("a room without coupons", async || {
        // Who has joined keeps the place.
        late += 1;
        let refused = app.user(&format!("late{late}")).try_join(&room).await;
        let refused = refused.err().map(|status| reason(&status));
        (refused.as_deref() == Some("ROOM_SOLD_OUT")).then_some(())
    })
    .await;
    let spring = root.campaign(&spring.id).await;
    root.change_stock(&spring, 3).await;
    eventually("a room with a coupon", async || {
        app.user("carol").try_join(&room).await.ok().map(drop)
    })
    .await;
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coupon_is_still_there_after_a_restart() {
    let app = TestApp::start().await;
    let spring = app.admin().make_campaign(campaign(1), "spring").await;
    let issued = app.user("alice").issue_coupon(&spring.id).await;
    let issued = issued.expect("issued").coupon;
    let app = app.restart(&[]).await;
    let again = app.user("alice").issue_coupon(&spring.id).await;
    let again = again.expect("hers");
    assert_eq!((again.already_issued, again.coupon), (true, issued));
    assert!(sold_out(&app.user("bob").issue_coupon(&spring.id).await));
    app.assert_audit_is_clean().await;
}

async fn pay_with(
    user: &User,
    reservation: &str,
    coupon: &str,
    key: &str,
) -> Result<wire::Payment, Status> {
    let request = user.ask(wire::PayReservationRequest {
        coupon_id: Some(coupon.to_owned()),
        ..world::pay(reservation, key)
    });
    let answer = soon("a payment", user.payments().pay_reservation(request)).await?;
    Ok(answer.into_inner().payment.expect("a payment"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coupon_pays_a_part_and_comes_back_with_the_whole_purchase() {
    let app = TestApp::start().await;
    let root = app.admin();
    let concert = world::make_concert(&root, "concert").await;
    let hall = world::make_performance(&root, &concert, "hall").await;
    let only_here = wire::Campaign {
        concert_ids: vec![concert],
        ..campaign(5)
    };
    let spring = root.make_campaign(only_here, "spring").await;
    let alice = app.user("alice");
    let coupon = alice.issue_coupon(&spring.id).await.expect("issued");
    let coupon = coupon.coupon.expect("a coupon").id;
    alice
        .top_up(10 * PRICE_MINOR, "money")
        .await
        .expect("money");
    let seats = world::seats_of(&alice, &hall).await;
    let held = alice.hold(&hall, &[&seats[0], &seats[1]], "hold").await;
    let held = held.expect("held").id;
    let paid = pay_with(&alice, &held, &coupon, "pay").await.expect("paid");
    let discount = 2 * PRICE_MINOR / 10;
    assert_eq!(paid.amount, Some(euros(2 * PRICE_MINOR - discount)));
    assert_eq!(paid.discount, Some(euros(discount)));
    assert_eq!(paid.coupon_id.as_deref(), Some(coupon.as_str()));
    assert_eq!(alice.payment(&paid.id).await, paid);
    let again = pay_with(&alice, &held, &coupon, "pay").await;
    assert_eq!(again.expect("as first answered"), paid);
    let mine = alice.coupons().await;
    assert_eq!(mine[0].state(), wire::CouponState::Used);
    assert_eq!(mine[0].reservation_id.as_deref(), Some(held.as_str()));

    let other = alice
        .hold(&hall, &[&seats[2]], "hold-2")
        .await
        .expect("held");
    let used = pay_with(&alice, &other.id, &coupon, "pay-2").await;
    let used = used.expect_err("it is used");
    assert_eq!(
        (used.code(), reason(&used).as_str()),
        (Code::FailedPrecondition, "COUPON_NOT_APPLICABLE")
    );
    let cancelled = alice.cancel(&held, "cancel").await.expect("cancelled");
    assert_eq!(cancelled.refunded, paid.amount);
    let mine = alice.coupons().await;
    assert_eq!(mine[0].state(), wire::CouponState::Available);
    assert_eq!(mine[0].reservation_id, None);
    let paid = pay_with(&alice, &other.id, &coupon, "pay-3").await;
    assert_eq!(paid.expect("paid").discount, Some(euros(PRICE_MINOR / 10)));
    app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_takes_what_a_coupon_leaves() {
    let shop = Shop::open(LONG_MS, &[]).await;
    let root = shop.app.admin();
    let spring = root.make_campaign(campaign(5), "spring").await;
    let alice = shop.app.user("alice");
    let coupon = alice.issue_coupon(&spring.id).await.expect("issued");
    let coupon = coupon.coupon.expect("a coupon").id;
    let held = shop.hold(&alice, 0).await.id;
    let pay = async |token: &str, key: &str| {
        let gateway = wire::GatewaySource {
            token: token.to_owned(),
        };
        let request = alice.ask(wire::PayReservationRequest {
            method: Some(wire::pay_reservation_request::Method::Gateway(gateway)),
            coupon_id: Some(coupon.clone()),
            ..world::pay(&held, key)
        });
        let answer = soon("a payment", alice.payments().pay_reservation(request)).await;
        answer.map(|answer| answer.into_inner().payment.expect("a payment"))
    };
    assert_eq!(refused(pay("declined", "pay").await), "PAYMENT_DECLINED");
    assert_eq!(
        alice.coupons().await[0].state(),
        wire::CouponState::Available
    );
    let paid = pay("ok", "pay-2").await.expect("paid");
    assert_eq!(paid.state(), wire::PaymentState::Succeeded);
    let left = PRICE_MINOR - PRICE_MINOR / 10;
    assert_eq!(paid.amount, Some(euros(left)));
    assert_eq!(shop.stub.charge(&paid.id).amount_minor, left);
    assert_eq!(alice.coupons().await[0].state(), wire::CouponState::Used);
    let cancelled = alice.cancel(&held, "cancel").await.expect("cancelled");
    assert_eq!(cancelled.refunded, Some(euros(left)));
    assert_eq!(
        alice.coupons().await[0].state(),
        wire::CouponState::Available
    );
    shop.await_state(&alice, &paid.id, wire::PaymentState::Refunded)
        .await;
    shop.close().await;
}
