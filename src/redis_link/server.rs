//! Whether a server may hold rooms.

use super::LinkError;

/// What the scripts need: `SPUBLISH`, and the time in a script that writes.
const MAJOR_MIN: u32 = 7;

/// A server that must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("redis at {address} is version {version}; 7.0 or newer is needed")]
    TooOld { address: String, version: String },
    /// A room that loses a key is a room that lies.
    #[error("redis at {address} has maxmemory-policy {policy}; it must be noeviction")]
    Evicts { address: String, policy: String },
    #[error("redis at {address} refuses the user or the password: {why}")]
    Credentials { address: String, why: String },
}

/// By what `INFO` says.
pub(super) fn judge(address: &str, info: &str) -> Result<(), Unfit> {
    let field = |name: &str| {
        let value = info
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim().to_owned()
    };
    let address = address.to_owned();
    let version = field("redis_version");
    let major = version.split('.').next().unwrap_or_default();
    if major.parse::<u32>().unwrap_or_default() < MAJOR_MIN {
        return Err(Unfit::TooOld { address, version });
    }
    let policy = field("maxmemory_policy");
    match policy.as_str() {
        "noeviction" => Ok(()),
        _ => Err(Unfit::Evicts { address, policy }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_and_those_that_evict_are_unfit() {
        let judged = |version: &str, policy: &str| {
            judge(
                "a:1",
                &format!("# Server\r\nredis_version:{version}\r\nmaxmemory_policy:{policy}\r\n"),
            )
        };
        assert_eq!(judged("7.0.15", "noeviction"), Ok(()));
        assert_eq!(judged("8.2.0", "noeviction"), Ok(()));
        let too_old = judged("6.2.1", "noeviction").unwrap_err().to_string();
        assert!(too_old.contains("6.2.1"), "{too_old}");
        let evicts = judged("7.2.0", "allkeys-lru").unwrap_err().to_string();
        assert!(evicts.contains("maxmemory-policy allkeys-lru"), "{evicts}");
        assert!(judge("a:1", "").is_err());
    }
}
