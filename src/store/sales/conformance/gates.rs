//! Tickets at the gate.

use futures_util::future::join_all;

use super::fixture::{PRICE_MINOR, Sale, id, ids, user};
use crate::domain::ids::ResourceId;
use crate::domain::time::UnixMs;
use crate::store::sales::{Page, Redeemed, SalesError, SoldTicket, VoidedTicket};

const SEATS: [&str; 3] = ["s1-r1-1", "s1-r1-2", "s1-r1-3"];

/// Seats bought by `ann`, and their tickets in the order of the seats.
async fn bought(sale: &Sale, performance: &ResourceId) -> (ResourceId, Vec<SoldTicket>) {
    sale.top_up("ann", 1_000).await;
    let held = sale.hold("ann", performance, &SEATS).await.unwrap();
    sale.pay("ann", &held.id).await.unwrap();
    let seen = sale.store().reservation(user("ann"), held.id.clone()).await;
    let tickets = seen.unwrap().tickets.into_iter().map(|ticket| SoldTicket {
        performance: performance.clone(),
        seat: ticket.seat,
        serial: ticket.serial,
        reservation: held.id.clone(),
    });
    let tickets = tickets.collect();
    (held.id, tickets)
}

async fn voided(sale: &Sale, performance: &ResourceId, since: UnixMs) -> Vec<VoidedTicket> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = Page::new(1, after);
        let store = sale.store();
        let listing = store.voided_tickets(performance.clone(), since, page).await;
        let listing = listing.unwrap();
        all.extend(listing.items);
        after = listing.next;
        if after.is_none() {
            return all;
        }
    }
}

pub async fn a_ticket_is_redeemed_first_by_one(sale: &Sale) {
    let performance = sale.performance().await;
    let (_, tickets) = bought(sale, &performance).await;
    let store = sale.store();
    let at = sale.now().await;
    let gates = (0..20).map(|_| store.redeem_ticket(tickets[0].clone()));
    let told = join_all(gates).await;
    let first = told.iter().flatten().filter(|told| !told.before).count();
    assert_eq!((first, told.iter().flatten().count()), (1, 20));
    sale.advance_ms(5_000).await;
    let again = store.redeem_ticket(tickets[0].clone()).await;
    let before = true;
    let redeemed_at = at;
    assert_eq!(
        again,
        Ok(Redeemed {
            redeemed_at,
            before
        })
    );
    let other = store.redeem_ticket(tickets[1].clone()).await.unwrap();
    assert!(!other.before);
}

pub async fn only_a_ticket_that_was_sold_and_is_not_void_admits(sale: &Sale) {
    let performance = sale.performance().await;
    let (reservation, tickets) = bought(sale, &performance).await;
    let store = sale.store();
    let good = tickets[0].clone();
    for never in [
        SoldTicket {
            serial: good.serial + 1,
            ..good.clone()
        },
        SoldTicket {
            serial: u64::MAX,
            ..good.clone()
        },
        SoldTicket {
            reservation: id("another"),
            ..good.clone()
        },
        SoldTicket {
            performance: id("another"),
            ..good.clone()
        },
        SoldTicket {
            seat: id("s1-r2-1"),
            ..good.clone()
        },
    ] {
        let refused = store.redeem_ticket(never.clone()).await;
        assert_eq!(refused, Err(SalesError::NotFound), "{never:?}");
    }
    // Void; the others stay good.
    let part = sale.cancel_some("ann", &reservation, &SEATS[..2]).await;
    part.unwrap();
    for void in &tickets[..2] {
        let refused = store.redeem_ticket(void.clone()).await;
        assert_eq!(refused, Err(SalesError::NotFound));
    }
    store.redeem_ticket(tickets[2].clone()).await.unwrap();
    // Sold again: the old code stays void, the new one is good.
    let again = sale.hold("ann", &performance, &SEATS[..1]).await.unwrap();
    sale.pay("ann", &again.id).await.unwrap();
    let resold = SoldTicket {
        serial: good.serial + 1,
        reservation: again.id,
        ..good.clone()
    };
    assert!(!store.redeem_ticket(resold).await.unwrap().before);
    let old = store.redeem_ticket(good).await;
    assert_eq!(old, Err(SalesError::NotFound));
}

pub async fn a_redeemed_ticket_is_not_given_back_by_its_owner(sale: &Sale) {
    let performance = sale.performance().await;
    let (reservation, tickets) = bought(sale, &performance).await;
    let store = sale.store();
    let paid = sale.balance("ann").await;
    let redeemed_at = sale.now().await;
    store.redeem_ticket(tickets[1].clone()).await.unwrap();
    sale.advance_ms(1_000).await;
    let refused = Err(SalesError::TicketRedeemed {
        seats: ids(&SEATS[1..2]),
    });
    // Not with others either, and none of them goes.
    assert_eq!(sale.cancel("ann", &reservation).await, refused);
    for seats in [&SEATS[..], &SEATS[..2], &SEATS[1..2]] {
        let part = sale.cancel_some("ann", &reservation, seats).await;
        assert_eq!(part, refused, "{seats:?}");
    }
    assert_eq!(sale.balance("ann").await, paid);
    assert!(voided(sale, &performance, UnixMs(0)).await.is_empty());
    let others = [SEATS[0], SEATS[2]];
    let rest = sale.cancel_some("ann", &reservation, &others).await;
    let rest = rest.unwrap().reservation;
    assert_eq!(rest.tickets.len(), 1, "{:?}", rest.tickets);
    assert_eq!(sale.cancel("ann", &reservation).await, refused);
    sale.assert_clean_audit("a redeemed ticket stays").await;

    // An operator may, and what was redeemed is still to be seen.
    let payment = rest.payment.unwrap();
    let whole = sale.refunding(&payment, None);
    store.refund_payment(whole).await.unwrap();
    assert_eq!(sale.balance("ann").await, 1_000);
    let redeemed = voided(sale, &performance, UnixMs(0)).await;
    let redeemed = redeemed.into_iter().map(|it| (it.seat, it.redeemed_at));
    let expected = [
        (id(SEATS[0]), None),
        (id(SEATS[2]), None),
        (id(SEATS[1]), Some(redeemed_at)),
    ];
    let redeemed: Vec<_> = redeemed.collect();
    assert!(
        expected.iter().all(|it| redeemed.contains(it)),
        "{redeemed:?}"
    );
    let void = store.redeem_ticket(tickets[1].clone()).await;
    assert_eq!(void, Err(SalesError::NotFound));
}

pub async fn a_ticket_is_redeemed_or_given_back(sale: &Sale) {
    for round in 0..8 {
        let performance = sale.performance().await;
        let who = format!("ann{round}");
        sale.top_up(&who, 1_000).await;
        let held = sale.hold(&who, &performance, &SEATS).await.unwrap();
        sale.pay(&who, &held.id).await.unwrap();
        let store = sale.store();
        let gate = store.redeem_ticket(SoldTicket {
            performance: performance.clone(),
            seat: id(SEATS[1]),
            serial: 1,
            reservation: held.id.clone(),
        });
        let (admitted, given_back) = match round % 2 {
            0 => tokio::join!(gate, sale.cancel(&who, &held.id)),
            _ => {
                let (given_back, admitted) = tokio::join!(sale.cancel(&who, &held.id), gate);
                (admitted, given_back)
            }
        };
        let balance = sale.balance(&who).await;
        match (admitted, given_back) {
            (Ok(first), Err(SalesError::TicketRedeemed { seats })) => {
                assert!(!first.before);
                assert_eq!(seats, ids(&SEATS[1..2]));
                assert_eq!(balance, 1_000 - 3 * PRICE_MINOR);
            }
            (Err(SalesError::NotFound), Ok(_)) => assert_eq!(balance, 1_000),
            other => panic!("{other:?}"),
        }
    }
}

pub async fn voided_tickets_are_listed_as_they_were_voided(sale: &Sale) {
    let performance = sale.performance().await;
    let store = sale.store();
    let (reservation, _) = bought(sale, &performance).await;
    assert!(voided(sale, &performance, UnixMs(0)).await.is_empty());
    let mut times = Vec::new();
    for seat in [SEATS[2], SEATS[0]] {
        times.push(sale.now().await);
        let part = sale.cancel_some("ann", &reservation, &[seat]).await;
        part.unwrap();
        sale.advance_ms(1_000).await;
    }
    let again = sale.hold("ann", &performance, &[SEATS[2]]).await.unwrap();
    sale.pay("ann", &again.id).await.unwrap();
    times.push(sale.now().await);
    // In one millisecond: the first of the hall's seats last.
    sale.cancel("ann", &again.id).await.unwrap();
    sale.cancel("ann", &reservation).await.unwrap();
    let next_ms = times[2].plus_ms(1);
    let expected: Vec<VoidedTicket> = [
        (SEATS[2], 1, times[0]),
        (SEATS[0], 1, times[1]),
        (SEATS[2], 2, times[2]),
        (SEATS[1], 1, next_ms),
    ]
    .map(|(seat, serial, voided_at)| VoidedTicket {
        seat: id(seat),
        serial,
        voided_at,
        redeemed_at: None,
    })
    .into();
    for (since, from) in [
        (UnixMs(0), 0),
        (times[0], 0),
        (times[0].plus_ms(1), 1),
        (times[1], 1),
        (times[2], 2),
        (next_ms, 3),
        (next_ms.plus_ms(1), 4),
    ] {
        let listed = voided(sale, &performance, since).await;
        assert_eq!(listed, expected[from..], "since {since:?}");
    }
    let other = sale.performance().await;
    assert!(voided(sale, &other, UnixMs(0)).await.is_empty());
    let page = Page::new(1, None);
    let unknown = store.voided_tickets(id("unknown"), UnixMs(0), page).await;
    assert_eq!(unknown, Err(SalesError::NotFound));
}
