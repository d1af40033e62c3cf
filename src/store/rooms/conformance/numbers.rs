//! Numbers, departed pages, the draw's N: what outlives the queue store.

use futures_util::future::join_all;
use tokio::join;

use super::{CLAIM_WINDOW_MS, Harness, at_epoch, draw_policy, lanes_named, place};
use crate::domain::ids::RoomRef;
use crate::domain::place::EndReason;
use crate::domain::policy::RoomPolicy;
use crate::store::queue::DepartedPage;
use crate::store::rooms::EndCondition;

pub async fn recovery_tells_all_that_is_known(h: &Harness) {
    let policy = RoomPolicy {
        lanes: lanes_named(2),
        ..RoomPolicy::default()
    };
    let room = at_epoch(&h.create(policy).await);
    let r = &h.registry;
    r.reserve_numbers(&room, 0, 40).await.expect("reserves");
    r.reserve_numbers(&room, 1, 7).await.expect("reserves");
    let page = page(1, 3, &[0xA0]);
    r.save_departed(&room, vec![page.clone()])
        .await
        .expect("saves");
    let rows = h.activate_all(&room, &[3, 1, 2], CLAIM_WINDOW_MS).await;
    let left = EndCondition::Always(EndReason::Left);
    r.end_activation(rows[1].id, left).await.expect("ends");
    r.claim_activation(rows[2].id, 5_000).await.expect("claims");

    let recovered = r.raise_epoch(&room, 100).await.expect("raises");
    assert_eq!(recovered.room.epoch, room.epoch + 1);
    assert_eq!(Ok(recovered.room.clone()), r.room(&room.id).await);
    assert_eq!(recovered.as_of, h.now());
    let [first, second] = &recovered.lanes[..] else {
        panic!("two lanes: {:?}", recovered.lanes);
    };
    assert_eq!(
        (first.issued_to, first.reserved_to, first.served),
        (40, 140, 3)
    );
    assert!(first.departed.is_empty());
    assert_eq!(
        (second.issued_to, second.reserved_to, second.served),
        (7, 107, 0)
    );
    assert_eq!(second.departed, [page]);
    assert_eq!(recovered.ended, [place(1)]);
    let mut live: Vec<_> = recovered.live.iter().map(|row| row.place).collect();
    live.sort_unstable();
    assert_eq!(live, [place(2), place(3)]);
    for row in recovered.live {
        assert_eq!(r.activation(row.id).await, Ok(row));
    }
}

pub async fn numbers_are_reserved_upwards_and_given_back(h: &Harness) {
    let room = h.room().await;
    let r = &h.registry;
    assert_eq!(r.reserve_numbers(&room, 0, 100).await, Ok(100));
    assert_eq!(r.reserve_numbers(&room, 0, 60).await, Ok(100), "never down");
    let (a, b) = join!(
        r.reserve_numbers(&room, 0, 200),
        r.reserve_numbers(&room, 0, 300)
    );
    assert!(a.expect("reserves") >= 200);
    assert_eq!(b, Ok(300));
    r.return_numbers(&room, 0, 120).await.expect("returns");
    assert_eq!(r.reserve_numbers(&room, 0, 1).await, Ok(120));
    r.return_numbers(&room, 0, 500).await.expect("returns");
    assert_eq!(r.reserve_numbers(&room, 0, 1).await, Ok(120), "never up");
}

fn page(lane: u16, page: u32, bits: &[u8]) -> DepartedPage {
    DepartedPage {
        lane,
        page,
        bits: bits.to_vec(),
    }
}

async fn departed(h: &Harness, room: &RoomRef) -> Vec<DepartedPage> {
    let recovered = h.registry.raise_epoch(room, 1).await.expect("raises");
    let lanes = recovered.lanes.into_iter();
    lanes.flat_map(|lane| lane.departed).collect()
}

pub async fn departed_pages_are_merged(h: &Harness) {
    let policy = RoomPolicy {
        lanes: lanes_named(2),
        ..RoomPolicy::default()
    };
    let room = at_epoch(&h.create(policy).await);
    let steps = [
        vec![page(0, 0, &[0b0001, 0b1000]), page(1, 0, &[0b1])],
        vec![page(0, 0, &[0b0010]), page(0, 2, &[0, 0, 0b1])],
        vec![page(0, 0, &[0, 0, 0b0100]), page(0, 0, &[0b0100])],
        vec![],
    ];
    for pages in steps {
        h.registry.save_departed(&room, pages).await.expect("saves");
    }
    let expected = [
        page(0, 0, &[0b0111, 0b1000, 0b0100]),
        page(0, 2, &[0, 0, 0b1]),
        page(1, 0, &[0b1]),
    ];
    assert_eq!(departed(h, &room).await, expected);
}

pub async fn racing_pages_are_merged(h: &Harness) {
    let room = h.room().await;
    let saves = (0..8).map(|bit| {
        let bits = [1u8 << bit; 4_096];
        h.registry.save_departed(&room, vec![page(0, 9, &bits)])
    });
    for saved in join_all(saves).await {
        saved.expect("saves");
    }
    assert_eq!(departed(h, &room).await, [page(0, 9, &[0xFF; 4_096])]);
}

pub async fn the_draw_is_fixed_once(h: &Harness) {
    let room = at_epoch(&h.create(draw_policy(2)).await);
    let r = &h.registry;
    let (a, b) = join!(
        r.fix_draw(&room, vec![10, 20]),
        r.fix_draw(&room, vec![11, 21])
    );
    assert_eq!(a, b, "the second is told what the first one fixed");
    let fixed = a.expect("fixes");
    assert!(fixed == [10, 20] || fixed == [11, 21], "{fixed:?}");
    assert_eq!(r.fix_draw(&room, vec![99, 99]).await, Ok(fixed.clone()));
    let draw = r.room(&room.id).await.expect("reads").draw;
    assert_eq!(draw.expect("a draw").participants, fixed);

    let recovered = r.raise_epoch(&room, 1).await.expect("raises");
    let draw = recovered.room.draw.clone().expect("a draw");
    assert_eq!(draw.participants, fixed, "a new epoch changes nothing");
    let again = r.fix_draw(&at_epoch(&recovered.room), vec![0, 0]).await;
    assert_eq!(again, Ok(fixed));
}

pub async fn a_room_without_draw_has_no_participants(h: &Harness) {
    let made = h.create(draw_policy(2)).await;
    let fixed = h.registry.fix_draw(&at_epoch(&made), vec![0, 0]).await;
    assert_eq!(fixed, Ok(vec![0, 0]));
    let draw = h.registry.room(&made.id).await.expect("reads").draw;
    assert_eq!(
        draw.expect("a draw").participants,
        [0, 0],
        "nobody came, which is not the same as not yet fixed"
    );
}
