//! What an operator does for a crowd: its room, and the look at the database.

use std::process::Stdio;

use tokio::process::Command;
use usher::domain::ids::RoomId;
use usher::domain::policy::ServingOrder;
use usher::proto::v1 as wire;
use usher::proto::v1::admin_service_client::AdminServiceClient;
use usher::truth::history::{AdminOp, Answer, Op, Policy, RoomSwitch};

use super::{ABSENCE_GRACE_S, CLAIM_WINDOW_S, Crowd, CrowdPlan, PASS_TTL_S, Site};
use crate::client::{Caller, World};
use crate::harness::soon;

impl Crowd {
    /// An operator stops activation, or lets it go on.
    pub async fn pause_room(&self, is_paused: bool) {
        let invoked_ms = self.shared.world.now_ms();
        let (_, channel) = self.shared.door(0);
        let mut admin = AdminServiceClient::new(channel);
        let room_id = self.room().to_owned();
        let told = async {
            if is_paused {
                let request = wire::PauseRoomRequest {
                    room_id,
                    ..wire::PauseRoomRequest::default()
                };
                return admin.pause_room(root().ask(request)).await.map(drop);
            }
            let request = wire::ResumeRoomRequest {
                room_id,
                ..wire::ResumeRoomRequest::default()
            };
            admin.resume_room(root().ask(request)).await.map(drop)
        };
        soon("an operator's word", told).await.expect("taken");
        let switched = AdminOp::SwitchRoom {
            room: self.shared.room.clone(),
            switch: match is_paused {
                true => RoomSwitch::Pause,
                false => RoomSwitch::Resume,
            },
            answer: Answer::Ok(()),
        };
        let world = &self.shared.world;
        world.record(&root().user, invoked_ms, Op::Admin(switched));
    }
}

pub fn root() -> Caller {
    Caller {
        is_admin: true,
        ..Caller::new("root")
    }
}

/// Made on the first node; devices try again until theirs knows it.
pub async fn make_room(world: &World, plan: &CrowdPlan) -> RoomId {
    let span = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let policy = wire::RoomPolicy {
        capacity: plan.capacity,
        rate: plan.rate_per_s,
        pass_ttl: span(PASS_TTL_S),
        claim_window: span(CLAIM_WINDOW_S),
        absence_grace: span(ABSENCE_GRACE_S),
        ..wire::RoomPolicy::default()
    };
    let request = root().ask(wire::CreateRoomRequest {
        room: Some(wire::Room {
            name: plan.name.to_owned(),
            policy: Some(policy),
            ..wire::Room::default()
        }),
        idempotency_key: plan.name.to_owned(),
    });
    let invoked_ms = world.now_ms();
    let mut admin = AdminServiceClient::new(world.channel.clone());
    let made = soon("a room", admin.create_room(request)).await;
    let room = made.expect("made").into_inner().room.expect("a room").id;
    let room = RoomId::parse(&room).expect("an id");
    let configured = AdminOp::ConfigureRoom {
        room: room.clone(),
        policy: Policy {
            order: ServingOrder::Fifo,
            capacity: plan.capacity.into(),
            rate_per_s: plan.rate_per_s,
            pass_ttl_ms: PASS_TTL_S as u64 * 1_000,
            claim_window_ms: CLAIM_WINDOW_S as u64 * 1_000,
        },
        answer: Answer::Ok(()),
    };
    world.record(&root().user, invoked_ms, Op::Admin(configured));
    room
}

/// Every promise that the database can be asked about.
pub async fn audit(site: &Site) {
    let audit = Command::new(env!("CARGO_BIN_EXE_usher"))
        .env_clear()
        .env("USHER_DATABASE_URL", &site.database_url)
        .env("USHER_DATA_DIR", &site.dir)
        .arg("audit")
        .stdin(Stdio::null())
        .output();
    let audit = soon("an audit", audit).await.expect("it runs");
    let said = String::from_utf8_lossy(&audit.stdout);
    let failed = String::from_utf8_lossy(&audit.stderr);
    assert!(audit.status.success(), "{said}{failed}");
}
