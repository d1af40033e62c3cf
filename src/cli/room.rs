//! `usher room`: what an operator does with rooms, over `AdminService`.

mod codes;
mod grants;
mod plan;
mod policy;
mod show;

use clap::{Args, Subcommand};
use prost_types::Timestamp;

use crate::config::Config;
use crate::entropy::{Entropy, SystemEntropy};
use crate::proto::v1 as wire;
use crate::proto::v1::admin_service_client::AdminServiceClient;
use crate::proto::v1::queue_service_client::QueueServiceClient;

use self::grants::{AboutArgs, GrantArgs};
use self::policy::{ChangeArgs, required};
use super::client::{Caller, Line, TargetArgs, connect, refused};
use super::{CliError, block_on};

/// Rooms asked for at once; the server lowers more to this.
const PAGE_SIZE: i32 = 100;

#[derive(Debug, Args)]
pub(super) struct RoomArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Who calls, on a server in development mode
    #[arg(
        long = "as",
        value_name = "ID",
        default_value = "operator",
        global = true
    )]
    user: String,
    /// An admin's token, for every other server: `usher token --user ID --role admin`
    #[arg(long, value_name = "TOKEN", global = true)]
    token: Option<String>,
    /// One JSON object per room instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: RoomCommand,
}

#[derive(Debug, Subcommand)]
enum RoomCommand {
    #[command(flatten)]
    Ask(Box<RoomAction>),
    /// Say what rate and capacity a room needs, from what the sale can take; asks no server
    ///
    /// `usher room plan --tps 300 --calls-per-user 6 --people 10000`
    Plan(plan::PlanArgs),
}

#[derive(Debug, Subcommand)]
enum RoomAction {
    /// All rooms, one a line
    List,
    /// One room: its state, its lines, its policy
    Show { room: String },
    /// Make a room
    ///
    /// `usher room create --name "Opening night" --capacity 500 --rate 20
    /// --protect-concert aurora` lets 500 buy at once, 20 more each second.
    Create {
        #[command(flatten)]
        change: ChangeArgs,
        /// Makes a repeat of the same command safe; a new one each time by default
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
    /// Change what is said, leave the rest
    Update {
        room: String,
        #[command(flatten)]
        change: ChangeArgs,
        /// Only if the room is still at this version (`show` tells it)
        #[arg(long)]
        etag: Option<String>,
    },
    /// Let nobody in for now; people may still join the line
    Pause {
        room: String,
        /// What to tell the line
        #[arg(long)]
        message: Option<String>,
        /// When it goes on by itself, as 2030-03-01T10:00:00Z; with `resume` by default
        #[arg(long, value_name = "TIME", value_parser = policy::time)]
        resumes_at: Option<Timestamp>,
    },
    /// Let people in again
    Resume {
        room: String,
        /// What to tell the line
        #[arg(long)]
        message: Option<String>,
    },
    /// Close for good: the line ends, who is inside may finish
    Close {
        room: String,
        /// What to tell the line
        #[arg(long)]
        message: Option<String>,
    },
    /// Let one user in now, out of turn; a slot must be free
    Grant(GrantArgs),
    /// End one user's place or pass at once; what they hold they keep
    Revoke(AboutArgs),
}

/// What there is to show.
enum Answer {
    Rooms(Vec<wire::Room>),
    Place(Box<wire::Place>),
}

pub(super) fn room(config: &Config, args: RoomArgs) -> Result<(), CliError> {
    let action = match args.command {
        RoomCommand::Plan(numbers) => return plan::plan(&numbers, args.json),
        RoomCommand::Ask(action) => *action,
    };
    let endpoint = args.target.endpoint(config)?;
    let caller = match &args.token {
        Some(token) => Caller::bearer(token)?,
        None => Caller::dev(&args.user, true)?,
    };
    block_on(async {
        let channel = connect(&endpoint).await?;
        let mut rooms = Rooms {
            queue: QueueServiceClient::with_interceptor(channel.clone(), caller.clone()),
            admin: AdminServiceClient::with_interceptor(channel, caller),
        };
        let is_list = matches!(action, RoomAction::List);
        match rooms.act(action).await? {
            Answer::Place(place) => grants::show(&place, args.json),
            Answer::Rooms(rooms) if args.json => show::json(&rooms),
            Answer::Rooms(rooms) if is_list => show::table(&rooms),
            Answer::Rooms(rooms) => rooms.iter().for_each(show::details),
        }
        Ok(())
    })?
}

struct Rooms {
    queue: QueueServiceClient<Line>,
    admin: AdminServiceClient<Line>,
}

impl Rooms {
    async fn act(&mut self, action: RoomAction) -> Result<Answer, CliError> {
        let room = match action {
            RoomAction::List => return Ok(Answer::Rooms(list(&mut self.queue).await?)),
            RoomAction::Grant(grant) => {
                return Ok(Answer::Place(Box::new(self.grant(grant).await?)));
            }
            RoomAction::Revoke(about) => {
                return Ok(Answer::Place(Box::new(self.revoke(about).await?)));
            }
            RoomAction::Show { room } => Some(self.get(room).await?),
            RoomAction::Create {
                change,
                idempotency_key,
            } => self.create(change, idempotency_key).await?,
            RoomAction::Update { room, change, etag } => self.update(room, change, etag).await?,
            RoomAction::Pause {
                room,
                message,
                resumes_at,
            } => {
                let request = wire::PauseRoomRequest {
                    room_id: room,
                    message,
                    resumes_at,
                };
                let answer = self.admin.pause_room(request).await;
                answer.map_err(|status| refused(&status))?.into_inner().room
            }
            RoomAction::Resume { room, message } => {
                let request = wire::ResumeRoomRequest {
                    room_id: room,
                    message,
                };
                let answer = self.admin.resume_room(request).await;
                answer.map_err(|status| refused(&status))?.into_inner().room
            }
            RoomAction::Close { room, message } => {
                let request = wire::CloseRoomRequest {
                    room_id: room,
                    message,
                };
                let answer = self.admin.close_room(request).await;
                answer.map_err(|status| refused(&status))?.into_inner().room
            }
        };
        Ok(Answer::Rooms(room.into_iter().collect()))
    }

    async fn get(&mut self, room_id: String) -> Result<wire::Room, CliError> {
        let answer = self.queue.get_room(wire::GetRoomRequest { room_id }).await;
        let room = answer.map_err(|status| refused(&status))?.into_inner().room;
        room.ok_or_else(|| CliError::Failed("the server answered without a room".to_owned()))
    }

    async fn create(
        &mut self,
        change: ChangeArgs,
        key: Option<String>,
    ) -> Result<Option<wire::Room>, CliError> {
        required("--name", change.name.is_some())?;
        required("--capacity", change.capacity.is_some())?;
        required("--rate", change.rate.is_some())?;
        let mut room = wire::Room::default();
        change.apply(&mut room);
        let request = wire::CreateRoomRequest {
            room: Some(room),
            idempotency_key: key.unwrap_or_else(|| SystemEntropy.uuid().to_string()),
        };
        let answer = self.admin.create_room(request).await;
        Ok(answer.map_err(|status| refused(&status))?.into_inner().room)
    }

    async fn update(
        &mut self,
        room_id: String,
        change: ChangeArgs,
        etag: Option<String>,
    ) -> Result<Option<wire::Room>, CliError> {
        let mut room = self.get(room_id).await?;
        let paths = change.apply(&mut room);
        required("something to change", !paths.is_empty())?;
        let etag = etag.unwrap_or_else(|| room.etag.clone());
        let request = wire::UpdateRoomRequest {
            room: Some(room),
            update_mask: Some(prost_types::FieldMask { paths }),
            etag,
        };
        let answer = self.admin.update_room(request).await;
        Ok(answer.map_err(|status| refused(&status))?.into_inner().room)
    }
}

/// Every room, page by page.
pub(super) async fn list(
    queue: &mut QueueServiceClient<Line>,
) -> Result<Vec<wire::Room>, CliError> {
    let (mut rooms, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = wire::ListRoomsRequest {
            page_size: PAGE_SIZE,
            page_token,
        };
        let answer = queue.list_rooms(request).await;
        let page = answer.map_err(|status| refused(&status))?.into_inner();
        rooms.extend(page.rooms);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(rooms);
        }
    }
}
