//! Which server is measured, and how its users prove themselves.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use usher::keys::files::KEY_FILE;

use crate::caller::Callers;
use crate::error::BenchError;
use crate::provider::Provider;
use crate::spawn::Server;

#[derive(clap::Args, Clone)]
pub struct TargetOptions {
    /// A running server, such as 127.0.0.1:50051
    #[arg(long, value_name = "ADDR:PORT", required_unless_present = "spawn")]
    target: Option<SocketAddr>,
    /// Start a server for this measurement, with empty data of its own
    #[arg(long, conflicts_with = "target")]
    spawn: bool,
    /// The program to start [default: `usher` beside this program]
    #[arg(long, value_name = "FILE", requires = "spawn")]
    usher: Option<PathBuf>,
    /// Processors that the server may use, as `taskset -c` reads them: 0 or 0,1
    #[arg(long, value_name = "LIST", requires = "spawn")]
    cpus: Option<String>,
    /// Users prove who they are with JWTs; a server that runs needs --jwt-key
    #[arg(long)]
    jwt: bool,
    /// Their JWTs are RS256 of an identity provider, instead of EdDSA of the
    /// server's own key
    #[arg(long, requires_all = ["jwt", "spawn"])]
    rs256: bool,
    /// The running server's `keys.json`, to sign with (it needs
    /// auth.accept_own_tokens)
    #[arg(long, value_name = "FILE")]
    jwt_key: Option<PathBuf>,
    /// The running server's process, to read its CPU time
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Connections that the users share
    #[arg(long, default_value_t = 50)]
    pub connections: usize,
    /// What a server of our own is told besides.
    #[arg(skip)]
    pub env: Vec<(&'static str, String)>,
}

/// A server to be measured.
pub struct Target {
    pub addr: SocketAddr,
    pub callers: Callers,
    /// The server's process, where known.
    pub pid: Option<u32>,
    /// Set if it is ours.
    pub server: Option<Server>,
}

impl TargetOptions {
    pub async fn open(&self) -> Result<Target, BenchError> {
        let Some(addr) = self.target else {
            return self.spawn().await;
        };
        let callers = match &self.jwt_key {
            Some(file) => Callers::signed_with(file)?,
            None if self.jwt => return Err(BenchError::failed("--jwt needs --jwt-key here")),
            None => Callers::Dev,
        };
        Ok(Target {
            addr,
            callers,
            pid: self.server_pid,
            server: None,
        })
    }

    async fn spawn(&self) -> Result<Target, BenchError> {
        // What is logged is not what is measured.
        let mut env = vec![("USHER_LOG__FILTER", "warn".to_owned())];
        if self.jwt {
            env.push(("USHER_AUTH__MODE", "jwt".to_owned()));
        }
        let provider = match self.rs256 {
            true => Some(Arc::new(Provider::start()?)),
            false => None,
        };
        match &provider {
            Some(provider) => env.extend(provider.settings()),
            None if self.jwt => env.push(("USHER_AUTH__ACCEPT_OWN_TOKENS", "true".to_owned())),
            None => {}
        }
        env.extend(self.env.iter().cloned());
        let own = |(name, value): (&str, String)| (name.to_owned(), value);
        let env = env.into_iter().map(own).collect();
        let server = Server::start(self.usher.clone(), env, self.cpus.clone()).await?;
        let callers = match provider {
            Some(provider) => Callers::Provider(provider),
            None if self.jwt => Callers::signed_with(&server.data_dir().join(KEY_FILE))?,
            None => Callers::Dev,
        };
        Ok(Target {
            addr: server.addr,
            callers,
            pid: server.pid(),
            server: Some(server),
        })
    }

    /// Where the server runs, for reports.
    pub fn place(&self) -> String {
        match &self.cpus {
            Some(cpus) => format!("server on processors {cpus}"),
            None => "server on all processors".to_owned(),
        }
    }

    /// How users prove themselves, for reports.
    pub fn mode(&self) -> &'static str {
        match self.jwt || self.jwt_key.is_some() {
            true if self.rs256 => "jwt (RS256)",
            true => "jwt (EdDSA)",
            false => "dev",
        }
    }
}
