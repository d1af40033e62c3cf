//! One user's turn, from the command line: `usher room grant` and `revoke`.

use clap::Args;
use prost_types::Duration;
use serde_json::json;

use crate::entropy::{Entropy, SystemEntropy};
use crate::proto::v1 as wire;

use super::super::client::refused;
use super::super::{CliError, span};
use super::Rooms;

#[derive(Debug, Args)]
pub(super) struct AboutArgs {
    room: String,
    /// Whose place it is
    #[arg(long, value_name = "ID")]
    user: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Makes a repeat of the same command safe; a new one each time by default
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct GrantArgs {
    #[command(flatten)]
    about: AboutArgs,
    /// How long they may stay inside: 90s, 5m
    #[arg(long, value_name = "SPAN", value_parser = span::parse_s)]
    ttl: u64,
}

fn key(given: Option<String>) -> String {
    given.unwrap_or_else(|| SystemEntropy.uuid().to_string())
}

impl Rooms {
    pub(super) async fn grant(&mut self, args: GrantArgs) -> Result<wire::Place, CliError> {
        let GrantArgs { about, ttl } = args;
        let request = wire::GrantPlaceRequest {
            room_id: about.room,
            user_id: about.user,
            ttl: Some(Duration {
                seconds: i64::try_from(ttl).unwrap_or(i64::MAX),
                nanos: 0,
            }),
            reason: about.reason,
            idempotency_key: key(about.idempotency_key),
        };
        let answer = self.admin.grant_place(request).await;
        place(
            answer
                .map_err(|status| refused(&status))?
                .into_inner()
                .place,
        )
    }

    pub(super) async fn revoke(&mut self, about: AboutArgs) -> Result<wire::Place, CliError> {
        let request = wire::RevokePlaceRequest {
            room_id: about.room,
            user_id: about.user,
            reason: about.reason,
            idempotency_key: key(about.idempotency_key),
        };
        let answer = self.admin.revoke_place(request).await;
        place(
            answer
                .map_err(|status| refused(&status))?
                .into_inner()
                .place,
        )
    }
}

fn place(place: Option<wire::Place>) -> Result<wire::Place, CliError> {
    place.ok_or_else(|| CliError::Failed("the server answered without a place".to_owned()))
}

/// One line for people, one JSON object for programs.
pub(super) fn show(place: &wire::Place, as_json: bool) {
    let state = place.state().as_str_name();
    let state = state.strip_prefix("PLACE_STATE_").unwrap_or(state);
    let until = place.expire_time.as_ref().map(ToString::to_string);
    if as_json {
        println!(
            "{}",
            json!({
                "room": place.room_id,
                "lane": place.lane,
                "number": place.number,
                "state": state,
                "activation_id": place.activation_id,
                "expire_time": until,
            })
        );
        return;
    }
    let until = until.map(|until| format!(" until {until}"));
    println!(
        "{} {} of {}: {state}{}",
        place.lane,
        place.number,
        place.room_id,
        until.unwrap_or_default()
    );
}
