//! The waiting room as one user meets it: join, watch until the turn, claim,
//! leave.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::{Status, Streaming};
use usher::domain::ids::{PlaceKey, RoomId};
use usher::proto::v1 as wire;
use usher::proto::v1::queue_service_client::QueueServiceClient;
use usher::proto::v1::watch_response::Event;
use usher::truth::history::{Answer, Op, QueueOp, StreamEnd, StreamId, TurnSeen};

use super::{Refused, Session, back_off, may_have_happened, reason, retry_after};
use crate::trace;

/// Twice the server's default heartbeat: a stream silent for longer is dead.
const SILENCE_MAX: Duration = Duration::from_secs(50);
const JOIN: &str = "Join";
const WATCH: &str = "Watch";
const CLAIM: &str = "Claim";
const LEAVE: &str = "Leave";

/// A place that was taken.
pub struct Place {
    pub room: RoomId,
    pub key: PlaceKey,
    pub token: String,
    /// Whether the turn had come before the join.
    pub has_turn: bool,
}

/// The moment of a place, as the stream told it.
pub struct Turn {
    pub activation_id: String,
    /// The activation's own time plus the claim window: larger is later.
    pub claim_by_ms: u64,
    pub pass: Option<String>,
}

enum Watched {
    Turn(Turn),
    /// The stream is over; come back after this.
    Again(Duration),
    Over(String),
}

impl Session {
    pub async fn join(&self, room: &RoomId) -> Result<Place, Refused> {
        let message = wire::JoinRequest {
            room_id: room.as_str().to_owned(),
            ..Default::default()
        };
        let note = |answer: Answer<&wire::JoinResponse>| {
            Op::Queue(QueueOp::Join {
                room: room.clone(),
                presented: None,
                code: None,
                answer: answered(answer, |reply| {
                    trace::place(&reply.place.clone().unwrap_or_default())
                }),
            })
        };
        let send =
            |channel, request| async move { QueueServiceClient::new(channel).join(request).await };
        let reply = self.call(JOIN, message, None, send, note).await?;
        let place = reply.place.unwrap_or_default();
        Ok(Place {
            room: room.clone(),
            key: trace::place_key(&place),
            token: reply.place_token,
            has_turn: matches!(
                place.state(),
                wire::PlaceState::Activated | wire::PlaceState::Active
            ),
        })
    }

    /// Watches, and watches again by the stream's rules, until the turn comes.
    pub async fn wait_for_turn(&self, place: &mut Place) -> Result<Turn, Refused> {
        let mut resume = None;
        let (mut failures, mut failing_since) = (0, None);
        loop {
            let seen_before = resume;
            let delay = match self.watch_once(place, &mut resume).await {
                Ok(Watched::Turn(turn)) => return Ok(turn),
                Ok(Watched::Over(reason)) => {
                    self.ground.tally.refusal(WATCH, &reason);
                    return Err(Refused { rpc: WATCH, reason });
                }
                Ok(Watched::Again(delay)) => delay,
                Err(status) => {
                    let reason = reason(&status);
                    let retry = retry_after(&status);
                    if retry.is_none() && !may_have_happened(&status) {
                        self.ground.tally.refusal(WATCH, &reason);
                        return Err(Refused { rpc: WATCH, reason });
                    }
                    self.ground.tally.error(WATCH, &reason);
                    retry.unwrap_or_else(|| back_off(failures))
                }
            };
            if resume != seen_before {
                (failures, failing_since) = (0, None);
            }
            failures += 1;
            let since = *failing_since.get_or_insert_with(Instant::now);
            if since.elapsed() > self.ground.patience {
                let reason = "PATIENCE".to_owned();
                return Err(Refused { rpc: WATCH, reason });
            }
            sleep(delay).await;
        }
    }

    /// One stream, from its opening to its end.
    async fn watch_once(
        &self,
        place: &mut Place,
        resume: &mut Option<wire::Cursor>,
    ) -> Result<Watched, Status> {
        let message = wire::WatchRequest {
            place_token: place.token.clone(),
            resume: *resume,
            end_on_activation: Some(true),
            ..Default::default()
        };
        let stream = self.ground.trace.as_ref().map(trace::Trace::stream_id);
        let began = Instant::now();
        self.take_down(trace::now_ms(), || {
            Op::Queue(QueueOp::StreamOpened {
                stream: stream.unwrap_or(0),
                room: place.room.clone(),
                place: place.key,
                resume: resume.as_ref().map(|cursor| trace::cursor(Some(cursor))),
            })
        });
        let request = self.caller.request(message, None);
        let mut client = QueueServiceClient::new(self.ground.pool.streams(self.nth));
        let watched = match timeout(SILENCE_MAX, client.watch(request)).await {
            Ok(Ok(opened)) => {
                let mut messages = opened.into_inner();
                self.read(&mut messages, place, resume, stream, began).await
            }
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Status::deadline_exceeded("the stream did not open")),
        };
        let end = match &watched {
            Ok(_) => StreamEnd::Ok,
            Err(status) if is_broken(status) => StreamEnd::Broken,
            Err(status) => StreamEnd::Status(reason(status)),
        };
        let stream = stream.unwrap_or(0);
        self.take_down(trace::now_ms(), || {
            Op::Queue(QueueOp::StreamClosed { stream, end })
        });
        watched
    }

    async fn read(
        &self,
        messages: &mut Streaming<wire::WatchResponse>,
        place: &mut Place,
        resume: &mut Option<wire::Cursor>,
        stream: Option<StreamId>,
        began: Instant,
    ) -> Result<Watched, Status> {
        let mut watched = Watched::Again(back_off(0));
        let mut is_first = true;
        loop {
            let Ok(next) = timeout(SILENCE_MAX, messages.message()).await else {
                return Err(Status::deadline_exceeded("the stream fell silent"));
            };
            let Some(response) = next? else {
                return Ok(watched);
            };
            if is_first {
                self.ground
                    .tally
                    .time("Watch, first message", began.elapsed());
                is_first = false;
            }
            self.take_down_message(stream.unwrap_or(0), &response);
            *resume = response.cursor.or(*resume);
            match response.event {
                Some(Event::Snapshot(snapshot)) => {
                    if let Some(token) = snapshot.place_token {
                        place.token = token;
                    }
                    if let Some(seen) = &snapshot.place {
                        place.key = trace::place_key(seen);
                    }
                }
                Some(Event::Activated(turn)) => {
                    watched = Watched::Turn(Turn {
                        activation_id: turn.activation_id,
                        claim_by_ms: trace::expire_ms(turn.claim_by.as_ref()),
                        pass: turn.pass,
                    });
                }
                Some(Event::Drain(drain)) if !matches!(watched, Watched::Turn(_)) => {
                    let after = drain.reconnect_after.unwrap_or_default();
                    watched = Watched::Again(after.try_into().unwrap_or_default());
                }
                Some(Event::Ended(ended)) => {
                    watched = Watched::Over(ended.reason().as_str_name().to_owned());
                }
                _ => {}
            }
        }
    }

    fn take_down_message(&self, stream: StreamId, response: &wire::WatchResponse) {
        let Some(message) = response.event.as_ref().and_then(trace::message) else {
            return;
        };
        self.take_down(trace::now_ms(), || {
            Op::Queue(QueueOp::StreamMessage {
                stream,
                cursor: trace::cursor(response.cursor.as_ref()),
                as_of_ms: trace::expire_ms(response.as_of.as_ref()),
                message,
            })
        });
    }

    /// Answers the turn; gives the pass.
    pub async fn claim(&self, place: &Place, turn: &Turn) -> Result<String, Refused> {
        let message = wire::ClaimRequest {
            place_token: place.token.clone(),
        };
        let note = |answer: Answer<&wire::ClaimResponse>| {
            Op::Queue(QueueOp::Claim {
                room: place.room.clone(),
                place: place.key,
                answer: answered(answer, |reply| TurnSeen {
                    activation_id: trace::activation(&turn.activation_id),
                    expire_ms: trace::expire_ms(reply.expire_time.as_ref()),
                }),
            })
        };
        let send =
            |channel, request| async move { QueueServiceClient::new(channel).claim(request).await };
        let reply = self.call(CLAIM, message, None, send, note).await?;
        Ok(reply.pass)
    }

    pub async fn leave(&self, place: &Place) -> Result<(), Refused> {
        let message = wire::LeaveRequest {
            place_token: place.token.clone(),
        };
        let note = |answer: Answer<&wire::LeaveResponse>| {
            Op::Queue(QueueOp::Leave {
                room: place.room.clone(),
                place: place.key,
                answer: answered(answer, |_| ()),
            })
        };
        let send =
            |channel, request| async move { QueueServiceClient::new(channel).leave(request).await };
        self.call(LEAVE, message, None, send, note).await?;
        Ok(())
    }

    /// The place as the node sees it.
    pub async fn look_at(&self, place: &Place) -> Result<wire::Place, Refused> {
        let message = wire::GetPlaceRequest {
            place_token: place.token.clone(),
        };
        let send = |channel, request| async move {
            QueueServiceClient::new(channel).get_place(request).await
        };
        let seen = self.look("GetPlace", message, None, send).await?;
        Ok(seen.place.unwrap_or_default())
    }

    /// From the end of the line to a pass.
    pub async fn admit(&self, room: &RoomId) -> Result<(Turn, String), Refused> {
        let mut place = self.join(room).await?;
        let turn = self.wait_for_turn(&mut place).await?;
        let pass = match &turn.pass {
            Some(pass) => pass.clone(),
            None => self.claim(&place, &turn).await?,
        };
        Ok((turn, pass))
    }
}

/// A status that the transport made up, not the server.
fn is_broken(status: &Status) -> bool {
    may_have_happened(status) && retry_after(status).is_none()
}

pub(super) fn answered<R, S>(answer: Answer<&R>, read: impl FnOnce(&R) -> S) -> Answer<S> {
    match answer {
        Answer::Ok(reply) => Answer::Ok(read(reply)),
        Answer::Refused(reason) => Answer::Refused(reason),
        Answer::Unknown(reason) => Answer::Unknown(reason),
    }
}
