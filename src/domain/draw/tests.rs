use proptest::prelude::*;

use super::*;

const SECRET: [u8; 32] = {
    let mut secret = [0; 32];
    let mut index = 0;
    while index < 32 {
        secret[index] = index as u8;
        index += 1;
    }
    secret
};

fn published(n: u64, beacon: Option<&str>) -> Published {
    Published {
        room_id: "room-1".into(),
        lane: "main".into(),
        commitment: commitment(&SECRET),
        secret: SECRET,
        n,
        beacon: beacon.map(Into::into),
    }
}

fn orders(published: &Published) -> Vec<u64> {
    let permutation = published.permutation();
    (1..=published.n)
        .map(|number| permutation.order(number))
        .collect()
}

fn nth_secret(index: u64) -> [u8; 32] {
    let mut secret = [7; 32];
    secret[..8].copy_from_slice(&index.to_le_bytes());
    secret
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Computed by a second implementation, written in Python from this module's header alone.
#[test]
fn the_vectors_of_an_independent_implementation_hold() {
    assert_eq!(
        hex(&commitment(&SECRET)),
        "bfeb6acfbe17cdfd9066e8c2fca31520710feed380f571e970bccdb035b9bb12"
    );
    assert_eq!(
        hex(&seed(&SECRET, "room-1", "main", 10, None)),
        "db6065218710d618873f232b0629e757ec07885589375f28416bfd00d332357b"
    );
    assert_eq!(
        hex(&seed(&SECRET, "room-1", "main", 10, Some("draw 1234"))),
        "c3999c8b1039b115be9d60401cb33de52541cb6c284e11a3871a70ba8a518018"
    );
    assert_eq!(
        orders(&published(10, None)),
        [10, 9, 3, 7, 5, 4, 2, 1, 8, 6]
    );
    assert_eq!(
        orders(&published(10, Some("draw 1234"))),
        [5, 9, 6, 2, 3, 7, 1, 4, 8, 10]
    );

    let vip = Published {
        lane: "vip".into(),
        ..published(1_000_000, Some("draw 1234"))
    }
    .permutation();
    let numbers = [1, 2, 3, 500_000, 1_000_000, 1_000_001];
    assert_eq!(
        numbers.map(|number| vip.order(number)),
        [140_360, 800_951, 281_232, 796_499, 232_999, 1_000_001]
    );

    let vast = Published {
        lane: "vip".into(),
        ..published((1 << 63) + 5, None)
    }
    .permutation();
    assert_eq!(
        [1, 2, 3, 1 << 63].map(|number| vast.order(number)),
        [
            4_826_760_478_049_649_476,
            7_980_376_521_566_357_171,
            4_124_298_212_209_187_808,
            5_387_829_675_677_622_084
        ]
    );
}

#[test]
fn every_small_draw_is_a_bijection_and_inverts() {
    for n in 1..=2_000 {
        let permutation = Permutation::new(&nth_secret(n), n);
        let mut taken = vec![false; n as usize];
        for number in 1..=n {
            let order = permutation.order(number);
            assert!((1..=n).contains(&order), "order {order} of {n}");
            assert!(
                !std::mem::replace(&mut taken[order as usize - 1], true),
                "order {order} of {n} twice"
            );
            assert_eq!(permutation.number(order), number);
        }
    }
}

#[test]
fn a_hundred_thousand_places_are_a_bijection() {
    let n = 100_003;
    let mut drawn = orders(&published(n, Some("beacon")));
    drawn.sort_unstable();
    assert!(drawn.into_iter().eq(1..=n));
}

#[test]
fn places_behind_the_draw_keep_their_number() {
    let permutation = published(10, None).permutation();
    for number in [0, 11, 12, u64::MAX] {
        assert_eq!(
            (permutation.order(number), permutation.number(number)),
            (number, number)
        );
    }
    let nobody = Permutation::new(&SECRET, 0);
    assert_eq!((nobody.order(1), nobody.number(1)), (1, 1));
}

/// The value a chi-square statistic of `freedom` degrees exceeds with probability 10⁻⁶ at most
/// (the approximation of Wilson and Hilferty, 1931).
fn chi_square_critical(freedom: usize) -> f64 {
    const Z_OF_ONE_IN_A_MILLION: f64 = 4.753_424;
    let spread = 2.0 / (9.0 * freedom as f64);
    freedom as f64 * (1.0 - spread + Z_OF_ONE_IN_A_MILLION * spread.sqrt()).powi(3)
}

fn chi_square(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    counts
        .iter()
        .map(|&count| (count as f64 - expected).powi(2) / expected)
        .sum()
}

/// Over 10⁵ seeds: is each number's order uniform, and is each chosen pair's pair of orders?
fn assert_uniform(n: u64, seeds: u64) {
    let size = n as usize;
    let pairs = [(0, 1), (0, size - 1), (size / 2, size / 2 + 1)];
    let mut single = vec![vec![0; size]; size];
    let mut paired = vec![vec![0; size * size]; pairs.len()];
    for index in 0..seeds {
        let seed = seed(&nth_secret(index), "room", "main", n, None);
        let permutation = Permutation::new(&seed, n);
        let drawn: Vec<usize> = (1..=n)
            .map(|number| permutation.order(number) as usize - 1)
            .collect();
        for (number, &order) in drawn.iter().enumerate() {
            single[number][order] += 1;
        }
        for (counts, &(a, b)) in paired.iter_mut().zip(&pairs) {
            counts[drawn[a] * size + drawn[b]] += 1;
        }
    }
    for (number, counts) in single.iter().enumerate() {
        let (found, critical) = (chi_square(counts), chi_square_critical(size - 1));
        assert!(
            found < critical,
            "number {} of {n}: {found:.1} > {critical:.1}",
            number + 1
        );
    }
    for (counts, pair) in paired.iter().zip(&pairs) {
        // Two places never share an order: the diagonal is empty and no cell of the test.
        let cells: Vec<u64> = counts
            .iter()
            .enumerate()
            .filter(|(at, _)| at % (size + 1) != 0)
            .map(|(_, &c)| c)
            .collect();
        assert_eq!(cells.iter().sum::<u64>(), seeds);
        let (found, critical) = (chi_square(&cells), chi_square_critical(cells.len() - 1));
        assert!(
            found < critical,
            "pair {pair:?} of {n}: {found:.1} > {critical:.1}"
        );
    }
}

#[test]
fn orders_over_a_hundred_thousand_seeds_are_uniform() {
    for n in [10, 13] {
        assert_uniform(n, 100_000);
    }
}

#[test]
fn draws_that_fill_their_domain_are_uniform() {
    for n in [4, 16] {
        assert_uniform(n, 30_000);
    }
}

#[test]
fn the_uniformity_test_can_fail() {
    // One order a twentieth too frequent, over as many seeds as above.
    let mut counts = vec![10_000; 10];
    counts[3] += 500;
    assert!(chi_square(&counts) < chi_square_critical(9));
    counts[3] += 500;
    assert!(chi_square(&counts) > chi_square_critical(9));
    // The exact value at 9 degrees is 44.81; the approximation means 6 in 10⁷ there.
    assert!((44.8..46.0).contains(&chi_square_critical(9)));
}

#[test]
fn every_input_changes_the_drawn_orders() {
    let n = 1_000;
    let base = orders(&published(n, None));
    let altered = [
        Published {
            secret: nth_secret(1),
            ..published(n, None)
        },
        Published {
            room_id: "room-2".into(),
            ..published(n, None)
        },
        Published {
            lane: "vip".into(),
            ..published(n, None)
        },
        published(n + 1, None),
        published(n, Some("")),
        published(n, Some("1234")),
    ];
    for other in altered {
        let same = base
            .iter()
            .zip(orders(&other))
            .filter(|(a, b)| **a == *b)
            .count();
        assert!(same < 10, "{same} of {n} orders are the same: {other:?}");
    }
}

#[test]
fn fields_cannot_run_into_each_other() {
    assert_ne!(
        seed(&SECRET, "ab", "c", 1, None),
        seed(&SECRET, "a", "bc", 1, None)
    );
    assert_ne!(
        seed(&SECRET, "a", "b", 1, None),
        seed(&SECRET, "a", "b", 1, Some(""))
    );
}

#[test]
fn the_published_draw_verifies_every_place() {
    let published = published(500, Some("beacon"));
    let permutation = published.permutation();
    for number in 1..=510 {
        assert_eq!(
            verify(&published, number, permutation.order(number)),
            Ok(())
        );
    }
}

#[test]
fn an_altered_secret_is_named() {
    let mut altered = published(1_000_000, None);
    let order = altered.permutation().order(77);
    altered.secret[31] ^= 1;
    assert_eq!(verify(&altered, 77, order), Err(DrawMismatch::Secret));
    let mut altered = published(1_000_000, None);
    altered.commitment[0] ^= 1;
    assert_eq!(verify(&altered, 77, order), Err(DrawMismatch::Secret));
}

#[test]
fn an_altered_count_beacon_or_order_fails() {
    let (number, n) = (77, 1_000_000);
    let honest = published(n, Some("1234"));
    let order = honest.permutation().order(number);
    for altered in [
        published(n - 1, Some("1234")),
        published(n, Some("1235")),
        published(n, None),
    ] {
        let drawn = altered.permutation().order(number);
        let expected = DrawMismatch::Order {
            number,
            drawn,
            claimed: order,
        };
        assert_eq!(verify(&altered, number, order), Err(expected));
    }
    let claimed = order % n + 1;
    assert_eq!(
        verify(&honest, number, claimed),
        Err(DrawMismatch::Order {
            number,
            drawn: order,
            claimed
        })
    );
}

#[test]
fn claims_outside_the_draw_are_named() {
    let honest = published(10, None);
    let outside = |claimed| {
        Err(DrawMismatch::OutsideDraw {
            number: 3,
            n: 10,
            claimed,
        })
    };
    assert_eq!(verify(&honest, 3, 0), outside(0));
    assert_eq!(verify(&honest, 3, 11), outside(11));
    assert_eq!(
        verify(&honest, 11, 2),
        Err(DrawMismatch::NotDrawn {
            number: 11,
            n: 10,
            claimed: 2
        })
    );
    assert_eq!(verify(&honest, 0, 0), Err(DrawMismatch::NumberZero));
}

/// Prints the cost of one order: `cargo test draw -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a check"]
#[allow(
    clippy::disallowed_methods,
    reason = "measures real time, which the domain itself never reads"
)]
fn measure_a_million_orders() {
    for n in [1_000_000_u64, 1 << 20, 1_100_000] {
        let permutation = Permutation::new(&SECRET, n);
        let started = std::time::Instant::now();
        let sum = (1..=1_000_000).fold(0, |sum: u64, number| sum ^ permutation.order(number));
        println!(
            "n = {n}: {:.1} ns an order ({sum})",
            started.elapsed().as_nanos() as f64 / 1e6
        );
    }
}

proptest! {
    #[test]
    fn any_draw_inverts(seed in any::<[u8; 32]>(), n in 1..=u64::MAX, pick in any::<u64>()) {
        let permutation = Permutation::new(&seed, n);
        let number = pick % n + 1;
        let order = permutation.order(number);
        prop_assert!((1..=n).contains(&order));
        prop_assert_eq!(permutation.number(order), number);
        prop_assert_eq!(permutation.order(permutation.number(number)), number);
    }

    #[test]
    fn no_two_places_share_an_order(seed in any::<[u8; 32]>(), n in 2..5_000_000_u64, a in any::<u64>(), b in any::<u64>()) {
        let permutation = Permutation::new(&seed, n);
        let (a, b) = (a % n + 1, b % n + 1);
        prop_assert_eq!(a == b, permutation.order(a) == permutation.order(b));
    }
}
