//! Campaigns and coupons that cannot be: field by field, and by what was before.

use tonic::Code;
use usher::proto::v1 as wire;
use wire::campaign::Discount;

use super::ask::{ask, asking, assert_refused, fields_of};
use super::crossed::hostile;
use super::fields::coupons as fields;
use super::world::{self, World, mask};
use crate::coupons::campaign;
use crate::people::euros;

const FIELD_INVALID: (Code, &str) = (Code::InvalidArgument, "FIELD_INVALID");

fn money(code: &str, amount_minor: i64) -> wire::Money {
    wire::Money {
        currency_code: code.to_owned(),
        amount_minor,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terms_of_a_campaign_that_cannot_be_are_refused_by_their_field() {
    let world = World::build().await;
    let before = world.state().await;
    let amounts = [0, -1, i64::MIN, i64::MAX, 1_000_000_000_001];
    let codes = ["", "eur", "EURO", "XXX", "E\0R", "€", "'--"];
    let amounts = amounts.map(|amount| money("EUR", amount));
    let amounts = amounts.into_iter().chain(codes.map(|code| money(code, 1)));
    world
        .refuses_all(fields::AMOUNTS, &amounts.collect::<Vec<_>>())
        .await;
    for (field, values) in fields::NUMBERS {
        world.refuses_all(std::slice::from_ref(field), values).await;
    }
    let texts = ["a b", "../x", "'--", "", "unknown-1"].map(|id| vec![id.to_owned()]);
    world.refuses_all(fields::TARGETS, &texts).await;
    let many = (0..101).map(|n| format!("c{n}")).collect();
    world.refuses_all(fields::TARGETS, &[many]).await;
    world.refuses_all(fields::UNSET, &[()]).await;

    let two_kinds = wire::Campaign {
        discount: Some(Discount::AmountOff(euros(5))),
        discount_max: Some(euros(5)),
        ..campaign(5)
    };
    let two_currencies = wire::Campaign {
        discount: Some(Discount::AmountOff(euros(5))),
        order_min: Some(money("JPY", 5)),
        ..campaign(5)
    };
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let backwards = wire::Campaign {
        valid_from: at(2_000_000_000),
        valid_until: at(2_000_000_000),
        ..campaign(5)
    };
    for (field, terms) in [
        ("campaign.discount_max", two_kinds),
        ("campaign.order_min", two_currencies),
        ("campaign.valid_until", backwards),
    ] {
        let message = world::new_campaign(terms, "bad");
        let answer = asking(&world.root, "AdminService/CreateCampaign", message).await;
        let status = assert_refused(answer, FIELD_INVALID, field);
        assert_eq!(fields_of(&status), [field]);
    }
    world.assert_unchanged(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coupon_that_is_none_or_anothers_pays_nothing() {
    let world = World::build().await;
    let before = world.state().await;
    let texts: Vec<String> = hostile().collect();
    world.refuses_all(fields::COUPONS, &texts).await;
    let alice = world.app.user("alice");
    let hers = alice.issue_coupon(&world.campaign).await.expect("issued");
    let hers = hers.coupon.expect("a coupon").id;
    let before_it = world.state().await;
    assert_ne!(before, before_it, "one more is issued");
    for id in ["unknown-1".to_owned(), hers, world.campaign.clone()] {
        let message = (fields::COUPONS[0].message)(&world, id.clone());
        let answer = ask(&world.root, "PaymentService/PayReservation", message).await;
        let status = assert_refused(answer, (Code::NotFound, ""), &id);
        assert_eq!(status.message(), "not found");
    }
    world.assert_unchanged(&before_it).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_is_changed_within_what_is_issued_and_from_its_etag() {
    let world = World::build().await;
    let root = &world.root;
    let read = async || -> wire::Campaign {
        let of = wire::GetCampaignRequest {
            campaign_id: world.campaign.clone(),
        };
        let answer: wire::GetCampaignResponse =
            world::read(root, "CouponService/GetCampaign", of).await;
        answer.campaign.expect("one")
    };
    let before = read().await;
    assert_eq!((before.stock, before.issued), (5, 1));
    for who in ["alice", "bob"] {
        let user = world.app.user(who);
        user.issue_coupon(&world.campaign).await.expect("issued");
    }
    let change = |stock, etag: &str| wire::UpdateCampaignRequest {
        update_mask: mask(&["stock"]),
        etag: etag.to_owned(),
        ..world::new_stock(&world.campaign, campaign(stock))
    };
    let rpc = "AdminService/UpdateCampaign";
    let below = asking(root, rpc, change(2, &before.etag)).await;
    let status = assert_refused(below, FIELD_INVALID, "below what is issued");
    assert_eq!(fields_of(&status), ["campaign.stock"]);
    let changed: wire::UpdateCampaignResponse =
        world::read(root, rpc, change(3, &before.etag)).await;
    let changed = changed.campaign.expect("one");
    assert_eq!((changed.stock, changed.issued), (3, 3));
    assert_eq!(changed.name, before.name, "not named, not changed");
    let stale = asking(root, rpc, change(4, &before.etag)).await;
    assert_refused(stale, (Code::Aborted, "CONFLICT"), "a stale etag");
    for path in [
        "id",
        "issued",
        "percent",
        "discount",
        "order_min",
        "room_id",
    ] {
        let message = wire::UpdateCampaignRequest {
            update_mask: mask(&["name", path]),
            ..change(4, &changed.etag)
        };
        let status = assert_refused(asking(root, rpc, message).await, FIELD_INVALID, path);
        assert_eq!(fields_of(&status), ["update_mask"], "{path}");
    }
    assert_eq!(read().await, changed);
    let nobody = world.app.user("zoe").issue_coupon(&world.campaign).await;
    let sold_out = (Code::FailedPrecondition, "COUPON_SOLD_OUT");
    assert_refused(nobody, sold_out, "all are issued");
    world.app.assert_audit_is_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_chooses_of_a_campaign_is_ignored() {
    let world = World::build().await;
    let chosen = wire::Campaign {
        id: "mine".to_owned(),
        issued: 3,
        room_id: world.room.clone(),
        etag: "x".to_owned(),
        concert_ids: vec![world.concert.clone(), world.concert.clone()],
        ..campaign(5)
    };
    let message = world::new_campaign(chosen.clone(), "chosen");
    let answer = ask(
        &world.root,
        "AdminService/CreateCampaign",
        prost::Message::encode_to_vec(&message),
    );
    let made: wire::CreateCampaignResponse =
        prost::Message::decode(&answer.await.expect("made")[..]).expect("the answer");
    let made = made.campaign.expect("one");
    assert_ne!(made.id, chosen.id);
    assert_eq!((made.issued, made.room_id.as_str()), (0, ""));
    assert_eq!(made.etag, "1");
    assert_eq!(made.concert_ids.len(), 1, "twice is once");
}
