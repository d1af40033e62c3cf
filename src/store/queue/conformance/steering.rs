//! A rate that gives way to a strained sale.

use super::*;

const CALM: Strain = Strain {
    permille: 0,
    rate_min_fraction: 0.1,
    settle_ms: 1_000,
};

impl Rig {
    /// Ticks of a second, at the end of which it says the same.
    async fn steer(&self, strain: Strain) -> (usize, f64) {
        let mut picked = 0;
        for _ in 0..10 {
            picked += self.activate(100).await.len();
        }
        let steered = self.store.steer(&room(), strain).await;
        (picked, steered.expect("steered"))
    }
}

pub async fn a_strained_sale_lowers_the_rate_for_a_while(rig: Rig) {
    let slow = RoomPolicy {
        rate_per_s: 40.0,
        ..policy(10_000)
    };
    let rig = rig.with_room(slow).await;
    for index in 0..300 {
        rig.join(&format!("u{index}")).await;
    }
    let begun = rig.store.steer(&room(), CALM).await;
    assert_eq!(begun, Ok(4.0), "it begins at the least");
    let mut rates = vec![4.0];
    for _ in 0..4 {
        let (picked, rate) = rig.steer(CALM).await;
        let most = rates[rates.len() - 1] * 1.1 + 1.0;
        assert!(picked as f64 <= most, "{picked} at {most}");
        rates.push(rate);
    }
    assert_eq!(rates, [4.0, 8.0, 16.0, 32.0, 40.0]);
    let strained = Strain {
        permille: 2_000,
        ..CALM
    };
    let (_, cut) = rig.steer(strained).await;
    assert!((cut - 20.0).abs() < 1e-9, "{cut}");
    let snapshot = rig.store.snapshot(&room()).await.expect("a snapshot");
    assert!((snapshot.facts.rate_per_s - 20.0).abs() < 1e-9);
    assert!((snapshot.policy.rate_per_s - 40.0).abs() < 1e-9);
    // Nobody says anything any more.
    for _ in 0..=LEASE_MS / 1_000 {
        rig.activate(1_000).await;
    }
    let (picked, _) = rig.steer(CALM).await;
    assert!((40..=45).contains(&picked), "{picked}");
}
