//! How often each command, fault and state change happened: a run that never
//! met a case has not tested it.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    /// What happened fewer than `least` times, of everything in [`EXPECTED`].
    #[must_use]
    pub fn rare(&self, least: u64) -> Vec<(&'static str, u64)> {
        EXPECTED
            .iter()
            .map(|what| (*what, self.0.get(what).copied().unwrap_or(0)))
            .filter(|(_, times)| *times < least)
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, times) in &self.0 {
            writeln!(f, "{times:>12}  {what}")?;
        }
        Ok(())
    }
}

/// Everything that must happen often enough.
pub const EXPECTED: &[&str] = &[
    "command: join",
    "command: join with token",
    "command: poll",
    "command: open stream",
    "command: close stream",
    "command: read",
    "command: leave",
    "command: claim",
    "command: complete",
    "command: tick",
    "command: node work",
    "command: deliver delta",
    "command: advance",
    "command: save pages",
    "command: switch",
    "command: change policy",
    "command: open room",
    "fault: delta dropped",
    "fault: node crash",
    "fault: queue lost",
    "fault: clock jump",
    "fault: reply lost",
    "state: scheduled to waiting",
    "state: waiting to activated",
    "state: activated to active",
    "state: active to completed",
    "state: to left",
    "state: to expired unclaimed",
    "state: to expired pass",
    "state: to expired absent",
    "state: to expired room closed",
    "state: restored after a loss",
    "state: merged",
    "state: granted again",
    "state: left while granting",
    "room: paused",
    "room: resumed",
    "room: sold out",
    "room: on sale again",
    "room: closed",
    "room: draw opened",
    "view: gap healed",
    "view: new epoch",
    "node: fenced",
    "node: healed",
    "node: refused while cut off",
    "command: answer reports",
    "command: drain node",
    "command: repeat from outbox",
    "command: rotate keys",
    "fault: connection lost",
    "fault: log trimmed",
    "fault: node cut off",
    "outbox: slot freed again",
    "stream: draining node",
    "stream: end looked up",
    "stream: ended",
    "stream: heartbeat",
    "stream: of a finished place",
    "stream: place merged",
    "stream: position",
    "stream: refused",
    "stream: replaced",
    "stream: resumed",
    "stream: room changed",
    "stream: slow reader",
    "stream: told aged",
    "stream: told replaced",
    "stream: told shutdown",
    "token: altered",
    "token: of another room",
    "token: of another user",
    "token: pass shown",
    "command: hold seats",
    "command: pay",
    "command: cancel",
    "command: cancel a seat",
    "command: top up",
    "command: extend hold",
    "command: sweep holds",
    "command: repeat with the key",
    "fault: answer of the sale lost",
    "fault: crash after payment",
    "sale: hold over or paid",
    "sale: insufficient funds",
    "sale: key for another request",
    "sale: key reused",
    "sale: limit per user",
    "sale: pass refused",
    "sale: seat unavailable",
    "state: held",
    "state: hold extended",
    "state: hold swept",
    "state: paid",
    "state: pass completed by payment",
    "state: refunded",
    "state: refunded in part",
    "state: released",
    "state: released in part",
    "state: topped up",
    "command: grant place",
    "command: revoke place",
    "command: join by code",
    "code: redeemed",
    "code: shown again",
    "code: of another user",
    "fault: crash after redemption",
    "grant: waiting place",
    "grant: fresh number",
    "grant: has its turn",
    "grant: no slot",
    "revoke: waiting place",
    "revoke: granting place",
    "revoke: turn",
    "revoke: nothing",
    "state: revoked",
    "state: in the second lane",
    "command: steer",
    "steering: rate lowered",
    "steering: rate raised",
];
