//! Ticket codes: what a gate reads, and checks offline against the JWKS.
//!
//! The serial rises with each sale of a seat, so a code of an earlier sale is
//! told from the current one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::ids::ResourceId;

use super::TokenError;
use super::pass::PassKeys;

/// `typ` of every ticket code.
pub const TICKET_TYP: &str = "usher-ticket";

/// What a ticket code says. Short names: it is printed as a QR code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketClaims {
    #[serde(rename = "p")]
    pub performance: ResourceId,
    #[serde(rename = "s")]
    pub seat: ResourceId,
    #[serde(rename = "n")]
    pub serial: u64,
    #[serde(rename = "r")]
    pub reservation: ResourceId,
}

/// Signs and reads ticket codes, with the keys of the passes.
#[derive(Debug, Clone)]
pub struct TicketCodes(Arc<PassKeys>);

impl TicketCodes {
    pub(super) fn new(keys: Arc<PassKeys>) -> Self {
        Self(keys)
    }

    #[must_use]
    pub fn sign(&self, claims: &TicketClaims) -> String {
        // Four strings and numbers: nothing that could fail to be JSON.
        let payload = serde_json::to_vec(claims).unwrap_or_default();
        self.0.ed().sign(TICKET_TYP, &payload)
    }

    /// # Errors
    /// [`TokenError::Invalid`] for everything that Usher did not sign as a
    /// ticket code.
    pub fn verify(&self, code: &str) -> Result<TicketClaims, TokenError> {
        let payload = self
            .0
            .ed()
            .verify(TICKET_TYP, code)
            .map_err(TokenError::Invalid)?;
        serde_json::from_slice(&payload).map_err(|_| TokenError::Invalid("ticket claims malformed"))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::Keys;
    use super::super::pass::PassClaims;
    use super::super::ring::KeyRing;
    use super::super::ring::tests::counting_random;
    use super::*;
    use crate::domain::ids::{ActivationId, RoomId, UserId};
    use crate::domain::time::UnixMs;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    #[test]
    fn a_code_is_read_back_and_a_pass_is_no_code() {
        let keys = Keys::load(&KeyRing::generate(NOW, &counting_random()), NOW).expect("keys");
        let id = |text| ResourceId::parse(text).expect("id");
        let claims = TicketClaims {
            performance: id("perf-1"),
            seat: id("A-12"),
            serial: 3,
            reservation: id("res-9"),
        };
        let code = keys.tickets.sign(&claims);
        assert!(code.len() < 300, "fits a QR code: {} bytes", code.len());
        assert_eq!(keys.tickets.verify(&code), Ok(claims));
        let user = UserId::parse("alice").expect("user");
        let pass = keys.passes.sign(&PassClaims {
            user: user.clone(),
            room: RoomId::parse("room").expect("room"),
            activation: ActivationId(Uuid::from_u128(1)),
            issued_at: NOW,
            expire_time: NOW.plus_ms(60_000),
        });
        assert!(keys.tickets.verify(&pass).is_err());
        assert!(keys.passes.verify(&code, &user, NOW).is_err());
        assert!(keys.tickets.verify(&format!("{code}A")).is_err());
    }
}
