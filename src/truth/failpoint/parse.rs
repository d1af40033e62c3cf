//! The text form of armed failpoints: `point=action[@n][*]`, joined by `;`.

use super::{Action, Point, Repeat};

/// What is wrong with the text of `USHER_FAILPOINTS`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("{0:?} is not of the form point=action")]
    Form(String),
    #[error("{0:?} is not a failpoint")]
    Point(String),
    #[error("{0:?} is not an action (kill, error, delay(ms), pause)")]
    Action(String),
    #[error("{0:?} is not a hit, counted from 1")]
    Hit(String),
}

pub(super) struct Parsed {
    pub point: Point,
    pub action: Action,
    pub after_hits: u64,
    pub repeat: Repeat,
}

pub(super) fn parse(text: &str) -> Result<Vec<Parsed>, ParseError> {
    text.split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(parse_one)
        .collect()
}

fn parse_one(part: &str) -> Result<Parsed, ParseError> {
    let (name, rest) = part
        .split_once('=')
        .ok_or_else(|| ParseError::Form(part.to_owned()))?;
    let point =
        Point::from_name(name.trim()).ok_or_else(|| ParseError::Point(name.trim().to_owned()))?;
    let (rest, repeat) = match rest.trim().strip_suffix('*') {
        Some(rest) => (rest, Repeat::Always),
        None => (rest.trim(), Repeat::Once),
    };
    let (action, after_hits) = match rest.split_once('@') {
        Some((action, hit)) => (action, parse_hit(hit)?),
        None => (rest, 0),
    };
    Ok(Parsed {
        point,
        action: parse_action(action.trim())?,
        after_hits,
        repeat,
    })
}

/// `@n` acts at the n-th hit: n − 1 pass.
fn parse_hit(text: &str) -> Result<u64, ParseError> {
    text.trim()
        .parse::<u64>()
        .ok()
        .and_then(|hit| hit.checked_sub(1))
        .ok_or_else(|| ParseError::Hit(text.to_owned()))
}

fn parse_action(text: &str) -> Result<Action, ParseError> {
    match text {
        "kill" => Ok(Action::Kill),
        "error" => Ok(Action::Error),
        "pause" => Ok(Action::Pause),
        _ => text
            .strip_prefix("delay(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|delay| delay.trim().parse().ok())
            .map(|delay_ms| Action::Delay { delay_ms })
            .ok_or_else(|| ParseError::Action(text.to_owned())),
    }
}
