//! What of a room a command line may say, as fields of the wire.

use clap::Args;
use prost_types::{Duration, Timestamp};

use crate::proto::v1 as wire;

use super::super::{CliError, span};
use super::codes::{Access, LaneCodes};

#[derive(Debug, Args)]
pub(in crate::cli) struct ChangeArgs {
    /// What people read
    #[arg(long)]
    pub(super) name: Option<String>,
    /// How many may be inside at once
    #[arg(long, value_name = "PLACES")]
    pub(super) capacity: Option<u32>,
    /// How many are let in per second; 0.5 is one every two seconds
    #[arg(long, value_name = "PER_SECOND")]
    pub(super) rate: Option<f64>,
    /// When it opens, as 2030-03-01T10:00:00Z; at once by default
    #[arg(long, value_name = "TIME", value_parser = time)]
    opens_at: Option<Timestamp>,
    /// When it closes by itself; never by default
    #[arg(long, value_name = "TIME", value_parser = time)]
    closes_at: Option<Timestamp>,
    /// How long someone may stay inside: 90s, 5m
    #[arg(long, value_name = "SPAN", value_parser = span::parse_s)]
    pass_ttl: Option<u64>,
    /// How long a turn waits to be taken; 0s: not at all, people go straight in
    #[arg(long, value_name = "SPAN", value_parser = span::parse_s)]
    claim_window: Option<u64>,
    /// How long a place is kept for someone who is away
    #[arg(long, value_name = "SPAN", value_parser = span::parse_s)]
    absence_grace: Option<u64>,
    /// How many may wait; 0: no limit
    #[arg(long, value_name = "PLACES")]
    max_waiting: Option<u64>,
    /// A line of the room and its share of the turns, as members:3; may be repeated. An update adds what is not there
    /// yet and weighs anew what is
    #[arg(long, value_name = "NAME[:WEIGHT]", value_parser = lane)]
    lane: Vec<wire::Lane>,
    /// Codes that lead into a line, from a file with one in each; may be repeated. They are added to those there are
    #[arg(long, value_name = "LANE=FILE", value_parser = LaneCodes::read)]
    codes_file: Vec<LaneCodes>,
    /// Who may join: everyone, or who brings a code
    #[arg(long, value_enum)]
    access: Option<Access>,
    /// Draw lots among those who come before the opening, instead of first come first served
    #[arg(long)]
    draw: bool,
    /// The public source of chance that the draw waits for
    #[arg(long, value_name = "TEXT")]
    beacon: Option<String>,
    /// The beacon's value, once it is published
    #[arg(long, value_name = "TEXT", requires = "beacon")]
    beacon_value: Option<String>,
    /// A concert that needs this room's pass; may be repeated. Any of the three replaces all that the room protected
    #[arg(long, value_name = "ID")]
    protect_concert: Vec<String>,
    /// A performance that needs this room's pass; may be repeated, and replaces as above
    #[arg(long, value_name = "ID")]
    protect_performance: Vec<String>,
    /// A campaign that needs this room's pass; may be repeated, and replaces as above
    #[arg(long, value_name = "ID")]
    protect_campaign: Vec<String>,
}

impl ChangeArgs {
    /// Writes what was said into the room; answers the paths of an update.
    pub(super) fn apply(self, room: &mut wire::Room) -> Vec<String> {
        let mut paths = Vec::new();
        let mut said = |path: &str| paths.push(path.to_owned());
        if let Some(name) = self.name {
            room.name = name;
            said("name");
        }
        let policy = room.policy.get_or_insert_default();
        if let Some(capacity) = self.capacity {
            policy.capacity = capacity;
            said("policy.capacity");
        }
        if let Some(rate) = self.rate {
            policy.rate = rate;
            said("policy.rate");
        }
        if let Some(max_waiting) = self.max_waiting {
            policy.max_waiting = max_waiting;
            said("policy.max_waiting");
        }
        let times = [
            (self.opens_at, &mut policy.opens_at, "policy.opens_at"),
            (self.closes_at, &mut policy.closes_at, "policy.closes_at"),
        ];
        for (given, field, path) in times {
            if given.is_some() {
                *field = given;
                said(path);
            }
        }
        let spans = [
            (self.pass_ttl, &mut policy.pass_ttl, "policy.pass_ttl"),
            (
                self.claim_window,
                &mut policy.claim_window,
                "policy.claim_window",
            ),
            (
                self.absence_grace,
                &mut policy.absence_grace,
                "policy.absence_grace",
            ),
        ];
        for (given, field, path) in spans {
            if let Some(span_s) = given {
                *field = Some(seconds(span_s));
                said(path);
            }
        }
        if !(self.lane.is_empty() && self.codes_file.is_empty()) {
            self.lane
                .into_iter()
                .for_each(|lane| set_lane(policy, lane));
            self.codes_file
                .into_iter()
                .for_each(|codes| codes.add_to(policy));
            said("policy.lanes");
        }
        if let Some(access) = self.access {
            policy.access = access.wire().into();
            said("policy.access");
        }
        if self.draw {
            policy.order = wire::RoomOrder::Draw.into();
            said("policy.order");
        }
        if let Some(description) = self.beacon {
            policy.draw_beacon = Some(wire::DrawBeacon {
                description,
                value: self.beacon_value,
            });
            said("policy.draw_beacon");
        }
        let protects = wire::Protects {
            concert_ids: self.protect_concert,
            performance_ids: self.protect_performance,
            campaign_ids: self.protect_campaign,
        };
        if protects != wire::Protects::default() {
            policy.protects = Some(protects);
            said("policy.protects");
        }
        paths
    }
}

/// The lane of that name, which is there or is appended.
fn set_lane(policy: &mut wire::RoomPolicy, given: wire::Lane) {
    match policy.lanes.iter_mut().find(|lane| lane.name == given.name) {
        Some(lane) => lane.weight = given.weight,
        None => policy.lanes.push(given),
    }
}

fn lane(text: &str) -> Result<wire::Lane, String> {
    let (name, weight) = text.split_once(':').unwrap_or((text, "1"));
    let weight = weight.parse().ok().filter(|weight| *weight > 0);
    Ok(wire::Lane {
        name: name.to_owned(),
        weight: weight.ok_or_else(|| format!("{text} has no weight: write members:3"))?,
        codes: Vec::new(),
    })
}

fn seconds(span_s: u64) -> Duration {
    Duration {
        seconds: i64::try_from(span_s).unwrap_or(i64::MAX),
        nanos: 0,
    }
}

pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("{text} is no time: write 2030-03-01T10:00:00Z"))
}

/// # Errors
/// [`CliError::Usage`] that names what is missing.
pub(super) fn required(what: &str, is_given: bool) -> Result<(), CliError> {
    if is_given {
        return Ok(());
    }
    Err(CliError::Usage(format!("{what} is needed; see --help")))
}
