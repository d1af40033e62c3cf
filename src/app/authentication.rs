//! Who may say who they are: the authenticator that the configuration asks for.
//!
//! In "jwt" there are up to two issuers, each with its own keys and rules, so
//! that a token of one is never judged by the keys of the other: the identity
//! provider, and Usher itself where `auth.accept_own_tokens` says so.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::config::{AuthConfig, AuthMode};
use crate::grpc::auth::Authenticator;
use crate::keys::live::LiveKeys;
use crate::keys::user::{UserKey, UserTokenRules, UserTokens};

use super::StartError;

/// # Errors
/// [`StartError::Setting`] with the key whose file cannot be used.
pub fn authenticator(
    config: &AuthConfig,
    keys: &Arc<LiveKeys>,
) -> Result<Authenticator, StartError> {
    if config.mode == AuthMode::Dev {
        return Ok(Authenticator::Dev);
    }
    let mut issuers = Vec::new();
    let provider_keys = provider_keys(config)?;
    if !provider_keys.is_empty() {
        let rules = UserTokenRules {
            issuer: config.issuer.clone().unwrap_or_default(),
            audience: config.audience.clone().unwrap_or_default(),
            role_claim: config.role_claim.clone(),
            leeway_s: config.leeway_s,
            ..UserTokenRules::default()
        };
        issuers.push(UserTokens::new(provider_keys, rules));
    }
    if config.accept_own_tokens {
        let rules = UserTokenRules {
            leeway_s: config.leeway_s,
            ..UserTokenRules::default()
        };
        issuers.push(UserTokens::own(Arc::clone(keys), rules));
    }
    Ok(Authenticator::Jwt(issuers.into()))
}

fn provider_keys(config: &AuthConfig) -> Result<Vec<UserKey>, StartError> {
    let mut keys = Vec::new();
    if let Some(path) = &config.jwks_file {
        let refuse = |why: String| refused("auth.jwks_file", path, &why);
        let text = fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
        keys.extend(UserKey::from_jwks(&text).map_err(|error| refuse(error.to_string()))?);
    }
    for public in &config.public_keys {
        let refuse = |why: String| refused("auth.public_keys", &public.file, &why);
        let pem = fs::read(&public.file).map_err(|error| refuse(error.to_string()))?;
        let key = UserKey::from_pem(&public.kid, &pem);
        keys.push(key.map_err(|error| refuse(error.to_string()))?);
    }
    Ok(keys)
}

fn refused(key: &'static str, path: &Path, why: &str) -> StartError {
    StartError::Setting {
        key,
        why: format!("{}: {why}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::config::{Config, Sources};
    use crate::domain::ids::UserId;
    use crate::domain::time::UnixMs;
    use crate::entropy::{Entropy, SeededEntropy};
    use crate::keys::Keys;
    use crate::keys::ring::KeyRing;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn keys(seed: u64) -> Arc<LiveKeys> {
        let entropy = SeededEntropy::new(seed);
        let ring = KeyRing::generate(NOW, &|bytes: &mut [u8]| entropy.fill(bytes));
        Arc::new(LiveKeys::new(Keys::load(&ring, NOW).expect("a fresh ring")))
    }

    fn config(env: &[(&str, &str)]) -> Config {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let sources = Sources {
            env: env.iter().map(own).collect(),
            ..Sources::default()
        };
        sources.load().expect("valid")
    }

    fn bearer(token: &str) -> HeaderMap {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("ASCII");
        HeaderMap::from_iter([(http::header::AUTHORIZATION, value)])
    }

    #[test]
    fn own_tokens_are_taken_where_the_configuration_says_so() {
        let (ours, others) = (keys(1), keys(2));
        let config = config(&[
            ("USHER_AUTH__MODE", "jwt"),
            ("USHER_AUTH__ACCEPT_OWN_TOKENS", "true"),
        ]);
        let authenticator = authenticator(&config.auth, &ours).expect("built");
        let alice = UserId::parse("alice").expect("an id");
        let token = ours.current().issuer.sign(&alice, false, NOW, 60);
        let caller = authenticator.identify(&bearer(&token), NOW);
        assert_eq!(caller.expect("known").user, alice);
        let foreign = others.current().issuer.sign(&alice, false, NOW, 60);
        assert!(authenticator.identify(&bearer(&foreign), NOW).is_err());
        let mut claimed = HeaderMap::new();
        claimed.insert("x-user-id", HeaderValue::from_static("alice"));
        assert!(authenticator.identify(&claimed, NOW).is_err());
    }

    #[test]
    fn a_key_file_that_cannot_be_used_is_refused_by_its_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("keys");
        let path = path.to_str().expect("text");
        let listed = format!("[{{kid=\"a\", file=\"{path}\"}}]");
        for (name, value, key) in [
            ("USHER_AUTH__JWKS_FILE", path, "auth.jwks_file"),
            ("USHER_AUTH__PUBLIC_KEYS", &listed, "auth.public_keys"),
        ] {
            let config = config(&[
                ("USHER_AUTH__MODE", "jwt"),
                ("USHER_AUTH__ISSUER", "https://login.example"),
                ("USHER_AUTH__AUDIENCE", "usher"),
                (name, value),
            ]);
            let built = || authenticator(&config.auth, &keys(1));
            let _ = fs::remove_file(path);
            let missing = built().expect_err("missing").to_string();
            assert!(missing.starts_with(key), "{missing}");
            fs::write(path, "no key").expect("written");
            let malformed = built().expect_err("malformed").to_string();
            assert!(malformed.starts_with(key), "{malformed}");
        }
    }
}
