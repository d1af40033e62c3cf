//! Who is calling: metadata in development mode, signed tokens in JWT mode.
//!
//! Tokens are made ahead of a measurement: signing is the identity provider's
//! work, verifying is the server's.

use std::path::Path;
use std::sync::Arc;

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use usher::clock::{Clock, SystemClock};
use usher::domain::ids::UserId;
use usher::keys::{Keys, files};

use crate::error::BenchError;
use crate::provider::Provider;

const ADMIN: &str = "bench-admin";
/// Longer than any measurement.
const TOKEN_TTL_S: u64 = 24 * 3_600;

/// Makes callers in the way that the server believes.
#[derive(Clone)]
pub enum Callers {
    /// The server takes anyone's word.
    Dev,
    /// The server takes what its own key has signed.
    Jwt(Arc<Keys>),
    /// The server takes what an identity provider has signed.
    Provider(Arc<Provider>),
}

impl Callers {
    /// `key_file`: the server's `keys.json`.
    pub fn signed_with(key_file: &Path) -> Result<Self, BenchError> {
        let dir = key_file.parent().unwrap_or(Path::new("."));
        let ring = files::load(dir).map_err(BenchError::failed)?;
        let keys = Keys::load(&ring, SystemClock.now()).map_err(BenchError::failed)?;
        Ok(Self::Jwt(Arc::new(keys)))
    }

    pub fn is_dev(&self) -> bool {
        matches!(self, Self::Dev)
    }

    pub fn user(&self, name: &str) -> Result<Caller, BenchError> {
        self.make(name, false)
    }

    pub fn admin(&self) -> Result<Caller, BenchError> {
        self.make(ADMIN, true)
    }

    fn make(&self, name: &str, is_admin: bool) -> Result<Caller, BenchError> {
        let user = UserId::parse(name).map_err(BenchError::failed)?;
        let proof = match self {
            Self::Dev => name.to_owned(),
            Self::Jwt(keys) => {
                let now = SystemClock.now();
                let token = keys.issuer.sign(&user, is_admin, now, TOKEN_TTL_S);
                format!("Bearer {token}")
            }
            Self::Provider(provider) => {
                let token = provider.sign(&user, is_admin, TOKEN_TTL_S)?;
                format!("Bearer {token}")
            }
        };
        Ok(Caller {
            user,
            is_dev: self.is_dev(),
            is_admin,
            proof: proof.parse().map_err(BenchError::failed)?,
        })
    }
}

/// One user, ready to call.
#[derive(Clone)]
pub struct Caller {
    pub user: UserId,
    is_dev: bool,
    is_admin: bool,
    proof: MetadataValue<Ascii>,
}

impl Caller {
    /// The metadata by which the server knows the caller.
    pub fn metadata(&self) -> Vec<(&'static str, MetadataValue<Ascii>)> {
        let name = if self.is_dev {
            "x-user-id"
        } else {
            "authorization"
        };
        let mut all = vec![(name, self.proof.clone())];
        if self.is_dev && self.is_admin {
            all.push(("x-user-role", MetadataValue::from_static("admin")));
        }
        all
    }

    pub fn request<M>(&self, message: M, pass: Option<&str>) -> Request<M> {
        let mut request = Request::new(message);
        for (name, value) in self.metadata() {
            request.metadata_mut().insert(name, value);
        }
        if let Some(pass) = pass.and_then(|pass| pass.parse().ok()) {
            request.metadata_mut().insert("x-usher-pass", pass);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_developer_says_who_they_are_and_an_admin_says_so_too() {
        let user = Callers::Dev.user("alice").expect("a caller");
        let request = user.request((), Some("a-pass"));
        assert_eq!(request.metadata().get("x-user-id").expect("said"), "alice");
        assert_eq!(
            request.metadata().get("x-usher-pass").expect("shown"),
            "a-pass"
        );
        assert!(request.metadata().get("x-user-role").is_none());
        let admin = Callers::Dev.admin().expect("a caller").request((), None);
        assert_eq!(admin.metadata().get("x-user-role").expect("said"), "admin");
        assert!(admin.metadata().get("x-usher-pass").is_none());
    }
}
