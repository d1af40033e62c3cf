//! `usher token`: a user token for tests, tools and small sites without an
//! identity provider. A server takes it in mode "jwt" with
//! `auth.accept_own_tokens`.

use clap::{Args, ValueEnum};

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::domain::ids::UserId;
use crate::keys::Keys;

use super::data::with_keyring;
use super::{CliError, block_on, span};

#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// Who the token speaks for
    #[arg(long, value_name = "ID")]
    user: String,
    #[arg(long)]
    role: Option<Role>,
    /// How long it is good for: 90s, 15m, 1h, 7d
    #[arg(long, default_value = "1h", value_parser = span::parse_s)]
    ttl: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Admin,
}

pub(super) fn token(config: &Config, args: &TokenArgs) -> Result<(), CliError> {
    let user =
        UserId::parse(&args.user).map_err(|error| CliError::Usage(format!("--user {error}")))?;
    let now = SystemClock.now();
    let ring = block_on(with_keyring(config, async |keyring| {
        keyring.read().await.map_err(CliError::failed)
    }))??;
    let keys = Keys::load(&ring, now).map_err(CliError::failed)?;
    let is_admin = args.role == Some(Role::Admin);
    println!("{}", keys.issuer.sign(&user, is_admin, now, args.ttl));
    Ok(())
}
