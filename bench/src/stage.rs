//! What a measurement stands on: the server, the connections, and a room with
//! something to sell.
//!
//! Room and sale are made through `AdminService`, so that a run knows its own
//! policy and can be judged by `usher check`; or a room that exists is taken.
//! What is done before [`Stage::begin`] is not counted.

mod sale;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use usher::truth::cli::check;

use crate::error::BenchError;
use crate::pool::Pool;
use crate::session::{Ground, Session};
use crate::spawn::Server;
use crate::tally::Tally;
use crate::target::{Target, TargetOptions};
use crate::trace::Trace;

pub use sale::{RoomPlan, SEATS_PER_PERFORMANCE, Sale, make_concert};

const STOP_PATIENCE: Duration = Duration::from_secs(20);

pub struct Stage {
    pub target: Target,
    pub ground: Arc<Ground>,
    pub operator: Arc<Session>,
    history: Option<PathBuf>,
}

impl Stage {
    /// `streams`: how many will be open at once.
    pub async fn open(
        options: &TargetOptions,
        streams: usize,
        history: Option<PathBuf>,
        patience: Duration,
    ) -> Result<Self, BenchError> {
        let target = options.open().await?;
        let trace = history.as_deref().map(Trace::to_file).transpose()?;
        let ground = Arc::new(Ground {
            pool: Pool::open(target.addr, options.connections, streams).await?,
            tally: Tally::default(),
            trace,
            patience,
        });
        let operator = Arc::new(Session {
            ground: Arc::clone(&ground),
            caller: target.callers.admin()?,
            nth: 0,
        });
        Ok(Self {
            target,
            ground,
            operator,
            history,
        })
    }

    /// Users of this run, with what proves them made ahead.
    pub fn users(&self, count: usize) -> Result<Vec<Session>, BenchError> {
        self.users_named("bench", count)
    }

    /// One user over other connections than the stage's own.
    pub fn user_on(
        &self,
        ground: &Arc<Ground>,
        name: &str,
        nth: usize,
    ) -> Result<Session, BenchError> {
        Ok(Session {
            ground: Arc::clone(ground),
            caller: self.target.callers.user(name)?,
            nth,
        })
    }

    /// The same, for a run of several stages.
    pub fn users_named(&self, name: &str, count: usize) -> Result<Vec<Session>, BenchError> {
        let run = std::process::id();
        (0..count)
            .map(|nth| {
                Ok(Session {
                    ground: Arc::clone(&self.ground),
                    caller: self.target.callers.user(&format!("{name}-{run}-{nth}"))?,
                    nth,
                })
            })
            .collect()
    }

    /// From here on it counts.
    pub fn begin(&self) {
        self.ground.tally.clear();
    }

    /// Stops a server of our own, and judges the history and the database.
    /// Answers what was found, and whether all of it is clean.
    pub async fn judge(self) -> Result<(String, bool), BenchError> {
        let Self {
            mut target,
            ground,
            operator,
            history,
        } = self;
        drop(operator);
        let (mut text, mut is_clean) = (String::new(), true);
        if let Some(server) = &mut target.server {
            server.terminate(STOP_PATIENCE).await?;
            let (report, holds) = audit(server).await?;
            is_clean &= holds;
            text += &report;
        }
        if let Some(path) = history {
            let ground = Arc::into_inner(ground);
            let trace = ground.and_then(|ground| ground.trace);
            let trace = trace.ok_or_else(|| BenchError::failed("the history is still in use"))?;
            trace.finish()?;
            let (report, holds) = check(&path).map_err(BenchError::failed)?;
            is_clean &= holds;
            text += "history: ";
            text += report.trim_end();
            text += "\n";
        }
        Ok((text, is_clean))
    }
}

/// Asks the stopped server's own program about its database.
async fn audit(server: &Server) -> Result<(String, bool), BenchError> {
    let mut command = Command::new(server.program());
    let known = command.args(["audit", "--help"]).output().await?;
    if !known.status.success() {
        return Ok(("audit: not in this build of usher\n".to_owned(), true));
    }
    let mut command = Command::new(server.program());
    command
        .arg("audit")
        .arg("--data-dir")
        .arg(server.data_dir());
    let audited = command.output().await?;
    let said = String::from_utf8_lossy(&audited.stdout).into_owned();
    let failed = String::from_utf8_lossy(&audited.stderr).into_owned();
    let text = format!("audit: {}{}\n", said.trim_end(), failed.trim_end());
    Ok((text, audited.status.success()))
}
