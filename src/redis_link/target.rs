//! What `redis_url` can say.
//!
//! ```text
//! redis://[user:password@]host[:port][/db]          one server
//! redis+sentinel://[user:password@]a[:port],b,…/master-name[/db]
//! redis+cluster://[user:password@]a[:port],b,…      seeds of a cluster
//! ```
//!
//! With `rediss` for `redis` every connection is TLS, those to Sentinels too.
//! User and password are for the servers that hold rooms; Sentinels that ask
//! for a password take `?sentinel_password=`.

use redis::io::tcp::TcpSettings;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};
use redis::{RedisConnectionInfo, TlsCertificates};
use std::time::Duration;

use crate::config::RedisConfig;

use super::slots::Address;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

/// A key and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {why}")]
pub struct TargetError {
    pub key: &'static str,
    pub why: String,
}

fn wrong(why: impl Into<String>) -> TargetError {
    TargetError {
        key: "redis_url",
        why: why.into(),
    }
}

/// How the server of a slot is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Single(Address),
    Sentinel { seeds: Vec<Address>, name: String },
    Cluster { seeds: Vec<Address> },
}

/// Where Redis is, and how one connects to it.
#[derive(Clone)]
pub struct Target {
    pub(super) kind: Kind,
    is_tls: bool,
    login: RedisConnectionInfo,
    sentinel_password: Option<String>,
    /// PEM.
    roots: Option<Vec<u8>>,
    tcp_user_timeout: Duration,
}

impl Target {
    /// # Errors
    /// [`TargetError`] by key.
    pub fn parse(url: &str, config: &RedisConfig) -> Result<Self, TargetError> {
        let parts = Parts::of(url)?;
        let is_tls = parts.scheme.starts_with("rediss");
        let how = parts.scheme.strip_prefix("rediss");
        let kind = match how.or_else(|| parts.scheme.strip_prefix("redis")) {
            Some("") => Kind::Single(one(&parts)?),
            Some("+sentinel") => {
                let name = parts.path.first().filter(|name| !name.is_empty());
                Kind::Sentinel {
                    seeds: parts.addresses(SENTINEL_PORT)?,
                    name: name
                        .ok_or_else(|| wrong("names no master: …/master-name"))?
                        .clone(),
                }
            }
            Some("+cluster") => Kind::Cluster {
                seeds: parts.addresses(REDIS_PORT)?,
            },
            _ => return Err(wrong(format!("{} is no scheme of Redis", parts.scheme))),
        };
        let db = match &kind {
            Kind::Single(_) => parts.path.first(),
            Kind::Sentinel { .. } => parts.path.get(1),
            Kind::Cluster { .. } if parts.path.iter().any(|part| !part.is_empty()) => {
                return Err(wrong("a cluster has no databases"));
            }
            Kind::Cluster { .. } => None,
        };
        Ok(Self {
            kind,
            is_tls,
            login: parts.login(db)?,
            sentinel_password: parts.sentinel_password.clone(),
            roots: roots(config)?,
            tcp_user_timeout: Duration::from_millis(config.tcp_user_timeout_ms),
        })
    }

    /// A client of one server that holds rooms.
    pub(super) fn client(&self, address: &Address) -> redis::RedisResult<redis::Client> {
        self.open(address, self.login.clone())
    }

    /// A client of one Sentinel.
    pub(super) fn sentinel_client(&self, address: &Address) -> redis::RedisResult<redis::Client> {
        let mut login = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
        if let Some(password) = &self.sentinel_password {
            login = login.set_password(password);
        }
        self.open(address, login)
    }

    fn open(
        &self,
        address: &Address,
        login: RedisConnectionInfo,
    ) -> redis::RedisResult<redis::Client> {
        let (host, port) = (address.host.clone(), address.port);
        let addr = match self.is_tls {
            false => ConnectionAddr::Tcp(host, port),
            true => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        };
        let info: ConnectionInfo = addr.into_connection_info()?;
        let tcp = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(self.tcp_user_timeout);
        let info = info.set_redis_settings(login).set_tcp_settings(tcp);
        match self.is_tls {
            false => redis::Client::open(info),
            true => {
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: self.roots.clone(),
                };
                redis::Client::build_with_tls(info, certificates)
            }
        }
    }
}

fn one(parts: &Parts) -> Result<Address, TargetError> {
    match parts.addresses(REDIS_PORT)?.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(wrong(
            "names several servers: redis+cluster or redis+sentinel?",
        )),
    }
}

fn roots(config: &RedisConfig) -> Result<Option<Vec<u8>>, TargetError> {
    let Some(path) = &config.ca_file else {
        return Ok(None);
    };
    match std::fs::read(path) {
        Ok(pem) => Ok(Some(pem)),
        Err(error) => Err(TargetError {
            key: "redis.ca_file",
            why: format!("cannot read {}: {error}", path.display()),
        }),
    }
}

/// A URL in pieces. Several hosts are no URL by the standard, so no library
/// takes them apart.
struct Parts {
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<String>,
    path: Vec<String>,
    sentinel_password: Option<String>,
}

impl Parts {
    fn of(url: &str) -> Result<Self, TargetError> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("is no URL: redis://host:6379"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, "")))
        {
            Some((user, password)) => (decoded(user)?, decoded(password)?),
            None => (None, None),
        };
        let sentinel_password = match query {
            "" => None,
            query => match query.strip_prefix("sentinel_password=") {
                Some(password) => decoded(password)?,
                None => return Err(wrong("knows no parameter but sentinel_password")),
            },
        };
        Ok(Self {
            scheme: scheme.to_owned(),
            user,
            password,
            hosts: hosts.split(',').map(str::to_owned).collect(),
            path: path.split('/').map(str::to_owned).collect(),
            sentinel_password,
        })
    }

    fn addresses(&self, default_port: u16) -> Result<Vec<Address>, TargetError> {
        let parse = |text: &String| {
            let has_port = text.rfind(':') > text.rfind(']');
            let (host, port) = match text.rsplit_once(':') {
                Some((host, port)) if has_port => (host, port.parse().ok()),
                _ => (text.as_str(), Some(default_port)),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            match port {
                Some(port) if !host.is_empty() => Ok(Address {
                    host: host.to_owned(),
                    port,
                }),
                _ => Err(wrong(format!("`{text}` is no host:port"))),
            }
        };
        self.hosts.iter().map(parse).collect()
    }

    fn login(&self, db: Option<&String>) -> Result<RedisConnectionInfo, TargetError> {
        let mut login = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password);
        }
        match db.map(String::as_str) {
            None | Some("") => Ok(login),
            Some(db) => match db.parse() {
                Ok(number) => Ok(login.set_db(number)),
                Err(_) => Err(wrong(format!("`{db}` is no number of a database"))),
            },
        }
    }
}

/// Percent-decoded; `None` when empty.
fn decoded(text: &str) -> Result<Option<String>, TargetError> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let hex = [rest.next(), rest.next()].map(|byte| byte.map(char::from));
        let [Some(high), Some(low)] = hex.map(|digit| digit.and_then(|digit| digit.to_digit(16)))
        else {
            return Err(wrong("has a % that two hex digits do not follow"));
        };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(_) => Err(wrong("a password must be UTF-8")),
    }
}

#[cfg(test)]
mod tests;
