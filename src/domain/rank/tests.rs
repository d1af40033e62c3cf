use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn rank_of(orders: &BTreeSet<u64>) -> DepartedRank {
    let mut rank = DepartedRank::new();
    for &order in orders {
        assert!(rank.insert(order));
    }
    rank
}

fn saved(rank: &DepartedRank) -> Vec<(u32, Vec<u8>)> {
    rank.pages()
        .map(|(page_no, _)| (page_no, rank.page_bytes(page_no)))
        .collect()
}

#[test]
fn an_empty_rank_counts_nothing_anywhere() {
    let rank = DepartedRank::new();
    assert_eq!(rank.count(), 0);
    assert_eq!(rank.pages().count(), 0);
    for order in [0, 1, 64, PAGE_BITS, ORDER_MAX, u64::MAX] {
        assert_eq!(rank.count_below(order), 0);
        assert!(!rank.contains(order));
    }
    assert_eq!(rank.page_bytes(7), vec![0; PAGE_BYTES]);
}

#[test]
fn an_order_departs_once() {
    let mut rank = DepartedRank::new();
    assert!(rank.insert(5));
    assert!(!rank.insert(5));
    assert_eq!(
        (rank.count(), rank.count_below(5), rank.count_below(6)),
        (1, 0, 1)
    );
    assert!(rank.contains(5) && !rank.contains(4) && !rank.contains(6));
}

#[test]
fn orders_that_are_never_issued_change_nothing() {
    let mut rank = DepartedRank::new();
    for order in [0, ORDER_MAX + 1, u64::MAX] {
        assert!(!rank.insert(order));
        assert!(!rank.contains(order));
    }
    assert_eq!(rank, DepartedRank::new());
    assert_eq!(
        DepartedRank::from_bits(vec![0b11]).count(),
        1,
        "bit 0 is dropped, order 1 stays"
    );
}

#[test]
fn every_edge_of_word_block_and_page_is_counted_right() {
    let edges = [
        1,
        63,
        64,
        65,
        511,
        512,
        513,
        PAGE_BITS - 1,
        PAGE_BITS,
        PAGE_BITS + 1,
        3 * PAGE_BITS,
    ];
    let rank = rank_of(&edges.into_iter().collect());
    for (below, &order) in edges.iter().enumerate() {
        assert_eq!(rank.count_below(order), below as u64, "below {order}");
        assert_eq!(
            rank.count_below(order + 1),
            below as u64 + 1,
            "below {order} + 1"
        );
    }
    assert_eq!(rank.pages().count(), 4);
}

#[test]
fn a_page_is_little_endian() {
    let mut rank = DepartedRank::new();
    rank.insert(1);
    rank.insert(PAGE_BITS + 9);
    assert_eq!(rank.page_bytes(0)[0], 0b10);
    assert_eq!(rank.page_bytes(1)[1], 0b10);
    assert_eq!(page_of(PAGE_BITS + 9), 1);
}

#[test]
fn a_bad_page_is_refused_and_changes_nothing() {
    let mut rank = rank_of(&[1, 70].into());
    let before = rank.clone();
    let short = PageError::Length {
        page_no: 0,
        found: 1,
    };
    assert_eq!(rank.load_page(0, &[0]), Err(short));
    let full = vec![0xff; PAGE_BYTES];
    let beyond = page_of(ORDER_MAX) + 1;
    assert_eq!(
        rank.load_page(beyond, &full),
        Err(PageError::BeyondMax { page_no: beyond })
    );
    assert_eq!(rank.load_page(0, &full), Err(PageError::OrderZero));
    assert_eq!(rank, before);
}

#[test]
fn loading_an_older_page_brings_nobody_back() {
    let mut rank = rank_of(&[3, 4].into());
    let older = rank.page_bytes(0);
    rank.insert(9);
    rank.load_page(0, &older).expect("a page of the right size");
    assert!(rank.contains(9));
    assert_eq!(rank.count(), 3);
}

#[test]
fn ten_million_orders_load_and_count() {
    let departed_every = 3;
    let mut rank = DepartedRank::new();
    for order in (departed_every..=10_000_000).step_by(departed_every as usize) {
        rank.insert(order);
    }
    let mut loaded = DepartedRank::new();
    for (page_no, bytes) in saved(&rank).into_iter().rev() {
        loaded
            .load_page(page_no, &bytes)
            .expect("a saved page loads");
    }
    assert_eq!(loaded, rank);
    for order in (1..=10_000_000).step_by(9_973) {
        assert_eq!(loaded.count_below(order), (order - 1) / departed_every);
    }
}

/// Prints the cost of a look-up: `cargo test rank -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
#[allow(
    clippy::disallowed_methods,
    reason = "measures real time, which the domain itself never reads"
)]
fn measure_count_below() {
    let mut rank = DepartedRank::new();
    for order in (2..=10_000_000).step_by(2) {
        rank.insert(order);
    }
    let started = std::time::Instant::now();
    let mut order = 1;
    let mut sum = 0;
    for _ in 0..5_000_000 {
        order = (order * 48_271) % 9_999_991;
        sum += rank.count_below(order);
    }
    println!(
        "count_below: {:.1} ns ({sum})",
        started.elapsed().as_nanos() as f64 / 5e6
    );
}

fn order() -> impl Strategy<Value = u64> {
    prop_oneof![
        1..200_u64,
        1..5 * PAGE_BITS,
        (0..4 * PAGE_BITS / 64).prop_map(|word| word * 64 + 1)
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_sorted_set(inserts in prop::collection::vec(order(), 0..300), asked in prop::collection::vec(order(), 1..50)) {
        let mut rank = DepartedRank::new();
        let mut model = BTreeSet::new();
        for order in inserts {
            prop_assert_eq!(rank.insert(order), model.insert(order));
            let probe = order + 1;
            prop_assert_eq!(rank.count_below(probe), model.range(..probe).count() as u64);
        }
        for order in asked {
            prop_assert_eq!(rank.contains(order), model.contains(&order));
            prop_assert_eq!(rank.count_below(order), model.range(..order).count() as u64);
        }
        prop_assert_eq!(rank.count(), model.len() as u64);
        prop_assert_eq!(rank.count_below(u64::MAX), rank.count());
    }

    #[test]
    fn pages_and_bits_rebuild_the_same_rank(orders in prop::collection::btree_set(order(), 0..300), split in 0..300_usize) {
        let rank = rank_of(&orders);
        let words: Vec<u64> = rank.pages().flat_map(|(_, words)| words.to_vec()).collect();
        prop_assert_eq!(&DepartedRank::from_bits(words), &rank);
        // A load over an earlier state of the same lane ends in the later one.
        let mut loaded = rank_of(&orders.iter().copied().take(split).collect());
        for (page_no, bytes) in saved(&rank) {
            prop_assert_eq!(loaded.load_page(page_no, &bytes), Ok(()));
        }
        prop_assert_eq!(loaded, rank);
    }
}
