//! Changes of what is sold: what is fixed, what is stale, what is not there.

use futures_util::future::join_all;
use tonic::Code;
use usher::proto::v1 as wire;

use super::ask::{asking, assert_refused, fields_of};
use super::world::{self, World, mask};
use crate::people::{euros, reason};
use crate::sale::{PRICE_MINOR, performance, span_ms};

const RPC: &str = "AdminService/UpdatePerformance";

async fn read(world: &World) -> wire::Performance {
    let of = wire::ListPerformancesRequest {
        concert_id: world.concert.clone(),
        ..Default::default()
    };
    let list: wire::ListPerformancesResponse =
        world::read(&world.root, "CatalogService/ListPerformances", of).await;
    list.performances.into_iter().next().expect("one")
}

fn repricing(to: &wire::Performance, price: wire::Money) -> wire::UpdatePerformanceRequest {
    let mut terms = to.clone();
    terms.sections[0].price = Some(price);
    wire::UpdatePerformanceRequest {
        performance: Some(terms),
        update_mask: mask(&["sections"]),
        etag: to.etag.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_fixed_at_creation_does_not_change() {
    let world = World::build().await;
    let before = read(&world).await;
    // Named by no path, so they are not looked at.
    let other = wire::Performance {
        concert_id: "another".to_owned(),
        starts_at: None,
        hold_ttl: span_ms(1),
        hold_total_max: span_ms(u64::MAX / 2_000_000),
        seats_per_user_max: 0,
        state: wire::PerformanceState::Cancelled.into(),
        sold_out: true,
        room_id: "room".to_owned(),
        etag: "x".to_owned(),
        ..repricing(&before, euros(PRICE_MINOR + 1))
            .performance
            .expect("one")
    };
    let message = wire::UpdatePerformanceRequest {
        performance: Some(other),
        ..repricing(&before, euros(1))
    };
    let answer: wire::UpdatePerformanceResponse = world::read(&world.root, RPC, message).await;
    let after = answer.performance.expect("one");
    let mut expected = before.clone();
    expected.sections[0].price = Some(euros(PRICE_MINOR + 1));
    expected.etag.clone_from(&after.etag);
    assert_eq!(after, expected);
    assert_ne!(after.etag, before.etag);

    for path in ["starts_at", "seats_per_user_max", "hold_ttl", "concert_id"] {
        let message = wire::UpdatePerformanceRequest {
            update_mask: mask(&["sections", path]),
            ..repricing(&after, euros(1))
        };
        let answer = asking(&world.root, RPC, message).await;
        let invalid = (Code::InvalidArgument, "FIELD_INVALID");
        assert_eq!(
            fields_of(&assert_refused(answer, invalid, path)),
            ["update_mask"]
        );
    }
    let mut unknown = repricing(&after, euros(1));
    unknown.performance.get_or_insert_default().sections[0].name = "Roof".to_owned();
    let mut rebuilt = repricing(&after, euros(1));
    rebuilt.performance.get_or_insert_default().sections = performance("c", 21).sections;
    for (message, field) in [
        (unknown, "performance.sections.name"),
        (rebuilt, "performance.sections.rows"),
    ] {
        let answer = asking(&world.root, RPC, message).await;
        let invalid = (Code::InvalidArgument, "FIELD_INVALID");
        assert_eq!(fields_of(&assert_refused(answer, invalid, field)), [field]);
    }
    let yen = wire::Money {
        currency_code: "JPY".to_owned(),
        amount_minor: 1,
    };
    let answer = asking(&world.root, RPC, repricing(&after, yen)).await;
    let mismatch = (Code::InvalidArgument, "CURRENCY_MISMATCH");
    assert_refused(answer, mismatch, "another currency");
    assert_eq!(read(&world).await, after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_changes_of_one_version_of_the_catalog_one_is_a_conflict() {
    let world = World::build().await;
    let root = &world.root;
    let terms = read(&world).await;
    let of = wire::GetConcertRequest {
        concert_id: world.concert.clone(),
    };
    let concert: wire::GetConcertResponse =
        world::read(root, "CatalogService/GetConcert", of.clone()).await;
    let concert = concert.concert.expect("one");
    let prices = (1..6).map(|price| asking(root, RPC, repricing(&terms, euros(price))));
    let names = (1..6).map(|name| {
        let message = wire::UpdateConcertRequest {
            update_mask: mask(&["name"]),
            etag: concert.etag.clone(),
            ..world::new_texts(
                &concert.id,
                wire::Concert {
                    name: format!("Night {name}"),
                    ..Default::default()
                },
            )
        };
        asking(root, "AdminService/UpdateConcert", message)
    });
    for edits in [join_all(prices).await, join_all(names).await] {
        assert_eq!(edits.iter().filter(|edit| edit.is_ok()).count(), 1);
        for lost in edits.into_iter().filter_map(Result::err) {
            let got = (lost.code(), reason(&lost));
            assert_eq!(got, (Code::Aborted, "CONFLICT".to_owned()));
        }
    }
    let after: wire::GetConcertResponse = world::read(root, "CatalogService/GetConcert", of).await;
    let after = after.concert.expect("one");
    assert!(after.name.starts_with("Night "), "{after:?}");
    assert_eq!(after.venue, concert.venue, "not named, not changed");
    world.app.assert_audit_is_clean().await;
}
