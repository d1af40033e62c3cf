//! Why a measurement could not be made, or what it found broken.

use std::path::PathBuf;

use crate::session::Refused;

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("cannot start {program}: {why}")]
    Start { program: PathBuf, why: String },
    #[error("cannot connect to {target}: {source}")]
    Connect {
        target: std::net::SocketAddr,
        source: tonic::transport::Error,
    },
    /// What must be there before a measurement begins could not be made.
    #[error("{step} was refused: {why}")]
    Setup { step: &'static str, why: String },
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A promise is broken, or a file cannot be used.
    #[error("{0}")]
    Failed(String),
}

impl From<Refused> for BenchError {
    fn from(refused: Refused) -> Self {
        Self::Setup {
            step: refused.rpc,
            why: refused.reason,
        }
    }
}

impl BenchError {
    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}
