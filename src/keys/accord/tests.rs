//! Fleets that disagree, by hand.

use super::*;

fn key(name: &str, signs: bool) -> HeldKey {
    HeldKey {
        family: "pass".to_owned(),
        kid: "00000001".to_owned(),
        mark: name.to_owned(),
        signs,
    }
}

/// Keys by one letter each; the first signs, if it is a capital.
fn holder(node: u64, keys: &str, signs_since: u64) -> Holder {
    let held = keys.chars().map(|name| {
        let signs = name.is_ascii_uppercase();
        key(&name.to_ascii_lowercase().to_string(), signs)
    });
    Holder {
        node,
        held: held.collect(),
        is_accepted: true,
        signs_since: UnixMs(signs_since),
    }
}

fn candidate(keys: &str) -> Holder {
    Holder {
        is_accepted: false,
        ..holder(99, keys, 99)
    }
}

/// Those that serve, after each was judged twice in its turn; and that at least
/// one did at each moment.
fn staying(mut fleet: Vec<Holder>) -> Vec<u64> {
    for at in (0..fleet.len()).chain(0..fleet.len()) {
        let others = fleet.iter().filter(|other| other.node != fleet[at].node);
        let others: Vec<Holder> = others.filter(|other| other.is_accepted).cloned().collect();
        fleet[at].is_accepted = judge(&fleet[at], &others).is_ok();
        assert!(fleet.iter().any(|node| node.is_accepted), "{fleet:?}");
    }
    let staying = fleet.iter().filter(|node| node.is_accepted);
    staying.map(|node| node.node).collect()
}

/// A set of keys for each node, by letters; the later ones sign since later.
fn fleet<const N: usize>(keys: [&str; N]) -> Vec<Holder> {
    let nodes = (1..).zip(keys);
    nodes.map(|(node, keys)| holder(node, keys, node)).collect()
}

#[test]
fn who_comes_must_have_what_signs_and_be_had() {
    let fleet = [holder(1, "bA", 1), holder(2, "bA", 1)];
    for keys in ["A", "bA", "Ba", "cAb"] {
        assert_eq!(judge(&candidate(keys), &fleet), Ok(()), "{keys}");
    }
    let refused = judge(&candidate("B"), &fleet).expect_err("they sign with a");
    assert!(refused.to_string().starts_with("this node does not have"));
    let refused = judge(&candidate("Ca"), &fleet).expect_err("nobody has c");
    assert!(refused.to_string().starts_with("other nodes do not have"));
    assert_eq!(judge(&candidate("Z"), &[]), Ok(()), "the first");
}

#[test]
fn another_key_of_the_same_id_is_another_key() {
    // All keys here have one id.
    assert!(judge(&candidate("B"), &[holder(1, "A", 1)]).is_err());
}

#[test]
fn a_rotation_that_is_told_ahead_unseats_nobody_at_any_moment() {
    let stages = ["A", "bA", "Ba"];
    for (old, new) in [(stages[0], stages[1]), (stages[1], stages[2])] {
        for done in 0..=3 {
            let keys = [1, 2, 3].map(|node| if node <= done { new } else { old });
            assert_eq!(staying(fleet(keys)), [1, 2, 3], "{keys:?}");
        }
    }
}

#[test]
fn who_missed_a_rotation_steps_back_when_the_first_one_signs() {
    assert_eq!(staying(fleet(["Ba", "bA", "A"])), [1, 2]);
    assert_eq!(staying(fleet(["A", "bA", "Ba"])), [2, 3]);
    assert_eq!(staying(fleet(["A", "A", "bA", "bA", "Ba"])), [3, 4, 5]);
    // Of two, the one that has less.
    assert_eq!(staying(fleet(["A", "Ba"])), [2]);
}

#[test]
fn who_is_given_other_keys_steps_back() {
    for keys in ["Z", "Za"] {
        assert_eq!(staying(fleet([keys, "A", "A"])), [2, 3], "{keys}");
        assert_eq!(staying(fleet(["A", "A", keys])), [1, 2], "{keys}");
    }
    // Of two, the one that changed.
    assert_eq!(staying(fleet(["A", "Z"])), [1]);
    assert_eq!(staying(vec![holder(1, "Z", 9), holder(2, "A", 1)]), [2]);
}

#[test]
fn somebody_always_stays_and_those_who_stay_are_at_one() {
    let sets = ["A", "B", "Ba", "bA", "Cb", "Ac", "Z"];
    for first in sets {
        for second in sets {
            for third in sets {
                for last in sets {
                    let fleet = fleet([first, second, third, last]);
                    let staying = staying(fleet.clone());
                    let staying = fleet.iter().filter(|node| staying.contains(&node.node));
                    let staying: Vec<&Holder> = staying.collect();
                    for (own, other) in staying.iter().flat_map(|own| {
                        let others = staying.iter();
                        others.map(move |other| (own, other))
                    }) {
                        assert_eq!(own.missed_by(other), None, "{fleet:?}");
                    }
                }
            }
        }
    }
}
