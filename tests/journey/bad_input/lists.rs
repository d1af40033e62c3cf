//! Lists: walked page by page, sizes clamped, and gone on with only by a token
//! that was given for the very list.

use std::collections::BTreeSet;

use prost::Message as _;
use tonic::Code;
use usher::proto::v1 as wire;

use super::ask::{ask, assert_refused};
use super::fields::Field;
use super::fields::lists::PAGES;
use super::world::{self, World};
use crate::coupons::campaign;
use crate::people::User;
use crate::sale::{PRICE_MINOR, policy};

const INVALID: (Code, &str) = (Code::InvalidArgument, "PAGE_TOKEN_INVALID");
/// More than a page when nothing is said.
const ITEMS: usize = 12;
/// Lists of what is the caller's own.
const PERSONAL: [&str; 3] = [
    "CouponService/ListCoupons",
    "ReservationService/ListReservations",
    "PaymentService/ListWalletEntries",
];

/// What all lists answer, and the id that all their items have.
#[derive(Clone, PartialEq, prost::Message)]
struct Page {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Item>,
    #[prost(string, tag = "2")]
    next: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Item {
    #[prost(string, tag = "1")]
    id: String,
}

type List = Field<(i32, String)>;

async fn page(world: &World, user: &User, list: &List, size: i32, token: &str) -> Page {
    let message = (list.message)(world, (size, token.to_owned()));
    let answer = ask(user, list.rpc, message).await.expect("a page");
    Page::decode(&answer[..]).expect("a page")
}

async fn world_of_lists() -> World {
    let mut world = World::build().await;
    world.given_back = given_back(&world).await;
    let root = &world.root;
    for index in 1..ITEMS {
        let key = format!("another-{index}");
        world.app.make_room(&key, policy()).await;
        world::make_concert(root, &key).await;
        world::make_performance(root, &world.concert, &key).await;
        root.top_up(1, &key).await.expect("money");
        let another = root.make_campaign(campaign(1), &key).await;
        root.issue_coupon(&another.id).await.expect("issued");
        if index > 1 {
            let seat = [world.seats[index].as_str()];
            let held = root.hold(&world.performance, &seat, &key).await;
            held.expect("held");
        }
    }
    world
}

/// A performance with as many voided tickets.
async fn given_back(world: &World) -> String {
    let root = &world.root;
    let performance = world::make_performance(root, &world.concert, "given-back").await;
    let seats: Vec<_> = world.seats[..ITEMS].iter().map(String::as_str).collect();
    let held = root.hold(&performance, &seats, "given-back").await;
    let held = held.expect("held").id;
    let price = PRICE_MINOR * i64::try_from(ITEMS).expect("few");
    root.top_up(price, "given-back").await.expect("money");
    root.pay(&held, "given-back").await.expect("paid");
    root.cancel(&held, "given-back").await.expect("cancelled");
    performance
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_is_walked_by_ones_and_sizes_are_clamped() {
    let world = world_of_lists().await;
    for list in PAGES {
        let all = page(&world, &world.root, list, 100, "").await;
        assert!(all.next.is_empty(), "{}", list.rpc);
        let all: Vec<_> = all.items.into_iter().map(|item| item.id).collect();
        assert!(all.len() >= ITEMS, "{}: {all:?}", list.rpc);
        for default in [0, -1, i32::MIN] {
            let ten = page(&world, &world.root, list, default, "").await;
            assert_eq!(ten.items.len(), 10, "{} by {default}", list.rpc);
            assert!(!ten.next.is_empty(), "{}", list.rpc);
        }
        for huge in [101, 1_000_000_000, i32::MAX] {
            let one = page(&world, &world.root, list, huge, "").await;
            assert_eq!(one.items.len(), all.len(), "{} by {huge}", list.rpc);
        }
        let (mut walked, mut token) = (Vec::new(), String::new());
        loop {
            let one = page(&world, &world.root, list, 1, &token).await;
            assert_eq!(one.items.len(), 1, "{}", list.rpc);
            walked.extend(one.items.into_iter().map(|item| item.id));
            token = one.next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(walked, all, "{}: in the same order", list.rpc);
        let ids: BTreeSet<_> = walked.iter().collect();
        assert_eq!(ids.len(), all.len(), "{}: each once", list.rpc);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_token_is_refused_by_any_other_list_user_or_filter() {
    let world = world_of_lists().await;
    let mallory = world.app.user("mallory");
    let mut tokens = Vec::new();
    for list in PAGES {
        tokens.push(page(&world, &world.root, list, 1, "").await.next);
    }
    for (index, list) in PAGES.iter().enumerate() {
        let mine = &tokens[index];
        let others = tokens.iter().filter(|token| *token != mine);
        let mut bad: Vec<_> = others.cloned().collect();
        bad.extend(tampered(mine));
        bad.push(world.place_token.clone());
        for text in [
            "x", "eyJ9", "..", "a\0", "a\r\nb", "'--", "\u{202e}", "😀", " ",
        ] {
            bad.push(text.to_owned());
        }
        bad.push("A".repeat(10_240));
        for token in bad {
            let message = (list.message)(&world, (1, token.clone()));
            let answer = ask(&world.root, list.rpc, message).await;
            assert_refused(answer, INVALID, &format!("{} {token:.60?}", list.rpc));
        }
        let message = (list.message)(&world, (1, mine.clone()));
        let others = ask(&mallory, list.rpc, message).await;
        let denied = (Code::PermissionDenied, "ROLE_REQUIRED");
        match (PERSONAL.contains(&list.rpc), list.rpc.starts_with("Admin")) {
            (true, _) => drop(assert_refused(others, INVALID, list.rpc)),
            (_, true) => drop(assert_refused(others, denied, list.rpc)),
            _ => drop(others.expect("a public list goes on for everyone")),
        }
    }
    let other_concert = wire::ListPerformancesRequest {
        concert_id: world::make_concert(&world.root, "other").await,
        page_size: 1,
        page_token: tokens[2].clone(),
    };
    let rpc = "CatalogService/ListPerformances";
    assert_eq!(PAGES[2].rpc, rpc);
    let answer = ask(&world.root, rpc, other_concert.encode_to_vec()).await;
    assert_refused(answer, INVALID, "another concert's");
}

/// Each part of a token changed, and tokens cut short or made longer.
fn tampered(token: &str) -> Vec<String> {
    let changed = |at: usize| {
        let mut bytes = token.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).expect("ASCII")
    };
    let mut all: Vec<_> = (0..token.len() - 1).step_by(5).map(changed).collect();
    all.push(token[..token.len() - 2].to_owned());
    all.push(token[1..].to_owned());
    all.push(format!("{token}AA"));
    all
}
