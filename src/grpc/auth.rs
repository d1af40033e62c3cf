//! Who is calling, and what they may call.
//!
//! [`ACCESS`] puts every RPC of the contract in one class. [`Authenticator`]
//! reads the credentials of a request; [`gate`] joins the two around the
//! services. Public RPCs never look at credentials, so a bad token cannot keep
//! anyone from reading the catalog. A path that is not in the table (health,
//! reflection, plain HTTP) passes untouched; a method of `usher.v1` that is not
//! in it answers as if it needed a user.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;

use crate::domain::ids::UserId;
use crate::domain::time::UnixMs;
use crate::keys::user::{UserClaims, UserTokens};

use super::status::EdgeError;

pub mod gate;

/// Who may call an RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anyone; credentials are ignored.
    Public,
    /// A user, for what is theirs.
    User,
    /// A user with a pass, where a room protects the target.
    UserWithPass,
    /// The role admin.
    Admin,
}

/// Every RPC of the contract, by its path.
pub const ACCESS: &[(&str, Access)] = &[
    ("/usher.v1.AdminService/BlockSeats", Access::Admin),
    ("/usher.v1.AdminService/CancelPerformance", Access::Admin),
    ("/usher.v1.AdminService/CloseRoom", Access::Admin),
    ("/usher.v1.AdminService/CreateCampaign", Access::Admin),
    ("/usher.v1.AdminService/CreateConcert", Access::Admin),
    ("/usher.v1.AdminService/CreatePerformance", Access::Admin),
    ("/usher.v1.AdminService/CreateRoom", Access::Admin),
    ("/usher.v1.AdminService/CreditWallet", Access::Admin),
    ("/usher.v1.AdminService/GrantPlace", Access::Admin),
    ("/usher.v1.AdminService/ListVoidedTickets", Access::Admin),
    ("/usher.v1.AdminService/PauseRoom", Access::Admin),
    ("/usher.v1.AdminService/RedeemTicket", Access::Admin),
    ("/usher.v1.AdminService/RefundPayment", Access::Admin),
    ("/usher.v1.AdminService/ResumeRoom", Access::Admin),
    ("/usher.v1.AdminService/RevokePlace", Access::Admin),
    ("/usher.v1.AdminService/UpdateCampaign", Access::Admin),
    ("/usher.v1.AdminService/UpdateConcert", Access::Admin),
    ("/usher.v1.AdminService/UpdatePerformance", Access::Admin),
    ("/usher.v1.AdminService/UpdateRoom", Access::Admin),
    ("/usher.v1.AdminService/WatchRoomStats", Access::Admin),
    ("/usher.v1.AdminService/WatchSales", Access::Admin),
    ("/usher.v1.CatalogService/GetConcert", Access::Public),
    ("/usher.v1.CatalogService/GetSeatMap", Access::UserWithPass),
    ("/usher.v1.CatalogService/ListConcerts", Access::Public),
    ("/usher.v1.CatalogService/ListPerformances", Access::Public),
    (
        "/usher.v1.CatalogService/WatchSeatMap",
        Access::UserWithPass,
    ),
    ("/usher.v1.CouponService/GetCampaign", Access::User),
    ("/usher.v1.CouponService/IssueCoupon", Access::UserWithPass),
    ("/usher.v1.CouponService/ListCoupons", Access::User),
    ("/usher.v1.PaymentService/GetPayment", Access::User),
    ("/usher.v1.PaymentService/GetWallet", Access::User),
    ("/usher.v1.PaymentService/ListWalletEntries", Access::User),
    ("/usher.v1.PaymentService/PayReservation", Access::User),
    ("/usher.v1.PaymentService/TopUpWallet", Access::User),
    ("/usher.v1.QueueService/Claim", Access::User),
    ("/usher.v1.QueueService/GetPlace", Access::User),
    ("/usher.v1.QueueService/GetPublicKeys", Access::Public),
    ("/usher.v1.QueueService/GetRoom", Access::Public),
    ("/usher.v1.QueueService/Join", Access::User),
    ("/usher.v1.QueueService/Leave", Access::User),
    ("/usher.v1.QueueService/ListRooms", Access::Public),
    ("/usher.v1.QueueService/Watch", Access::User),
    (
        "/usher.v1.ReservationService/CancelReservation",
        Access::User,
    ),
    ("/usher.v1.ReservationService/ExtendHold", Access::User),
    ("/usher.v1.ReservationService/GetReservation", Access::User),
    (
        "/usher.v1.ReservationService/HoldSeats",
        Access::UserWithPass,
    ),
    (
        "/usher.v1.ReservationService/ListReservations",
        Access::User,
    ),
];

/// The class of a path; `None` for what is no RPC of the contract.
#[must_use]
pub fn access(path: &str) -> Option<Access> {
    match ACCESS.binary_search_by_key(&path, |(known, _)| known) {
        Ok(index) => Some(ACCESS[index].1),
        Err(_) if path.starts_with("/usher.v1.") => Some(Access::User),
        Err(_) => None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    Admin,
}

/// Whoever calls, once their credentials were good.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    pub user: UserId,
    pub role: Role,
    /// None in development mode.
    claims: Option<Arc<UserClaims>>,
}

impl Caller {
    /// # Errors
    /// [`EdgeError::Unauthenticated`] unless the user token carries all of them.
    pub fn require_claims(&self, names: &[String]) -> Result<(), EdgeError> {
        let carries = |name: &String| {
            let claims = self.claims.as_ref();
            claims.is_some_and(|claims| claims.carries(name))
        };
        if names.iter().all(carries) {
            Ok(())
        } else {
            Err(EdgeError::Unauthenticated(
                "the token lacks a claim that the room requires",
            ))
        }
    }
}

/// How callers say who they are.
#[derive(Debug, Clone)]
pub enum Authenticator {
    /// `x-user-id` and `x-user-role`, believed.
    Dev,
    /// `authorization: Bearer`, of any of these issuers.
    Jwt(Arc<[UserTokens]>),
}

/// Whether development mode may serve on this address: everyone who reaches it
/// can be anyone.
#[must_use]
pub fn dev_mode_allowed(listen: SocketAddr, said_explicitly: bool) -> bool {
    listen.ip().to_canonical().is_loopback() || said_explicitly
}

impl Authenticator {
    /// Who calls.
    ///
    /// # Errors
    /// [`EdgeError::Unauthenticated`], with a text for the log.
    pub fn identify(&self, headers: &HeaderMap, now: UnixMs) -> Result<Caller, EdgeError> {
        let caller = match self {
            Self::Dev => identify_dev(headers),
            Self::Jwt(issuers) => identify_jwt(issuers, headers, now),
        };
        caller.map_err(EdgeError::Unauthenticated)
    }
}

/// The value of a header that may occur once.
pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err("a credential is given twice");
    }
    value
        .to_str()
        .map(Some)
        .map_err(|_| "a credential is not ASCII")
}

/// A proxy in front means that others can reach this port: nobody is believed.
fn identify_dev(headers: &HeaderMap) -> Result<Caller, &'static str> {
    let is_forwarded = |name: &http::HeaderName| {
        name.as_str() == "forwarded" || name.as_str().starts_with("x-forwarded")
    };
    if headers.keys().any(is_forwarded) {
        return Err("development mode behind a proxy");
    }
    let user = single(headers, "x-user-id")?.ok_or("no x-user-id")?;
    let role = match single(headers, "x-user-role")? {
        None | Some("user") => Role::User,
        Some("admin") => Role::Admin,
        Some(_) => return Err("unknown x-user-role"),
    };
    Ok(Caller {
        user: UserId::parse(user).map_err(|_| "x-user-id is no user id")?,
        role,
        claims: None,
    })
}

/// Exactly `Bearer`, one space, one token.
fn identify_jwt(
    issuers: &[UserTokens],
    headers: &HeaderMap,
    now: UnixMs,
) -> Result<Caller, &'static str> {
    let authorization = single(headers, "authorization")?.ok_or("no authorization")?;
    let token = authorization
        .strip_prefix("Bearer ")
        .ok_or("authorization is no bearer token")?;
    let mut refusal = "no issuer is configured";
    for issuer in issuers {
        match issuer.verify(token, now) {
            Ok(claims) => {
                let role = if claims.is_admin {
                    Role::Admin
                } else {
                    Role::User
                };
                return Ok(Caller {
                    user: claims.user.clone(),
                    role,
                    claims: Some(claims),
                });
            }
            Err(crate::keys::TokenError::Invalid(why)) => refusal = why,
            Err(crate::keys::TokenError::OtherUser) => refusal = "token of another user",
        }
    }
    Err(refusal)
}

#[cfg(test)]
mod tests;
