//! The scripts, one per step, each made of shared parts and its own file.

use crate::redis_link::Script;

/// Joins parts into one script.
macro_rules! script {
    ($($part:literal),+ $(,)?) => {
        Script::new(concat!(
            include_str!("scripts/constants.lua"),
            include_str!("scripts/room.lua"),
            $(include_str!(concat!("scripts/", $part, ".lua")),)+
        ))
    };
}

/// All steps of a room.
pub(super) struct Steps {
    pub take: Script,
    pub leave: Script,
    pub find: Script,
    pub tick: Script,
    pub grant_place: Script,
    pub confirm: Script,
    pub claim: Script,
    pub rearm: Script,
    pub free: Script,
    pub present: Script,
    pub absent: Script,
    pub freeze: Script,
    pub redraw: Script,
    pub open: Script,
    pub configure: Script,
    pub reserve: Script,
    pub init_begin: Script,
    pub init_bits: Script,
    pub init_rows: Script,
    pub init_finish: Script,
    pub snapshot: Script,
    pub deltas_since: Script,
    pub departed_pages: Script,
    pub counts: Script,
    pub steer: Script,
    pub forget: Script,
}

impl Steps {
    pub(super) fn new() -> Self {
        Self {
            take: script!("prelude", "line", "token", "numbers", "take"),
            leave: script!("prelude", "line", "leave"),
            find: script!("prelude", "line", "find"),
            tick: script!(
                "prelude", "line", "numbers", "granting", "grace", "delta", "tick"
            ),
            grant_place: script!("prelude", "line", "numbers", "granting", "grant_place"),
            confirm: script!("prelude", "line", "turns", "delta", "confirm"),
            claim: script!("prelude", "line", "turns", "claim"),
            rearm: script!("prelude", "rearm"),
            free: script!("prelude", "line", "free"),
            present: script!("prelude", "line", "token", "present"),
            absent: script!("prelude", "line", "absent"),
            freeze: script!("prelude", "freeze"),
            redraw: script!("prelude", "line", "redraw"),
            open: script!("prelude", "line", "grace", "delta", "open"),
            configure: script!("prelude", "line", "policy", "delta", "configure"),
            reserve: script!("prelude", "reserve"),
            init_begin: script!("build", "policy", "unlink", "init_begin"),
            init_bits: script!("build", "init_bits"),
            init_rows: script!("build", "init_rows"),
            init_finish: script!("build", "grace", "init_finish"),
            snapshot: script!("prelude", "line", "delta", "snapshot"),
            deltas_since: script!("prelude", "deltas_since"),
            departed_pages: script!("prelude", "departed_pages"),
            counts: script!("prelude", "counts"),
            steer: script!("prelude", "steer"),
            forget: script!("build", "unlink", "forget"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::{policy, rank, room, time};

    #[test]
    fn scripts_and_the_machine_have_the_same_limits() {
        let text = include_str!("scripts/constants.lua");
        let constant = |name: &str| -> u64 {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(&format!("local {name} = ")))
                .expect(name);
            line.parse().expect(name)
        };
        assert_eq!(constant("TICK_MS"), room::TICK_MS);
        assert_eq!(constant("LOG_DELTAS_MAX"), room::LOG_DELTAS_MAX as u64);
        assert_eq!(constant("ROOM_STEP_MAX_MS"), time::ROOM_STEP_MAX_MS);
        assert_eq!(constant("GRANT_BATCH_MAX"), room::GRANT_BATCH_MAX as u64);
        assert_eq!(constant("HAND_OUT_AGAIN_MS"), room::HAND_OUT_AGAIN_MS);
        assert_eq!(constant("LEASE_MS"), room::leases::LEASE_MS);
        assert_eq!(constant("STEER_EVERY_MS"), room::steering::STEER_EVERY_MS);
        assert_eq!(constant("RESERVE_MIN"), room::RESERVE_MIN);
        assert_eq!(constant("RESERVE_MAX"), room::RESERVE_MAX);
        assert_eq!(constant("PAGE_BITS"), rank::PAGE_BITS);
        assert_eq!(constant("LANES_MAX"), policy::LANES_MAX as u64);
    }
}
