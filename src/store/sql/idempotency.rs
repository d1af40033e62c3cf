//! The answer first given to `(user, command, key)`, kept in the transaction of
//! the effect and told again to every repeat.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::columns::{time_to_column, to_column};
use super::query::{execute, one, unreadable};
use super::{Tx, locks};
use crate::store::sales::{Asked, Once, SalesError};

/// How long an answer is kept.
pub const KEPT_MS: u64 = 86_400_000;

const LOOK_UP: &str = "\
SELECT request_hash, response, created_at FROM idempotency \
WHERE user_id = $1 AND rpc = $2 AND idempotency_key = $3";

const FORGET: &str = "\
DELETE FROM idempotency WHERE user_id = $1 AND rpc = $2 AND idempotency_key = $3";

const KEEP: &str = "\
INSERT INTO idempotency (user_id, rpc, idempotency_key, request_hash, response, created_at) \
VALUES ($1, $2, $3, $4, $5, $6)";

/// Bounded, so that a sweep never holds the writer for long.
const PURGE: &str = "\
DELETE FROM idempotency WHERE created_at <= $1 AND created_at <= (\
SELECT MAX(created_at) FROM (SELECT created_at FROM idempotency \
ORDER BY created_at LIMIT $2) AS oldest)";

/// One command under its key.
pub struct Slot<'a> {
    once: &'a Once,
    command: &'static str,
    hash: [u8; 32],
}

impl<'a> Slot<'a> {
    /// `request` is everything that makes another request another one.
    pub fn new(
        once: &'a Once,
        command: &'static str,
        request: &impl Serialize,
    ) -> Result<Self, SalesError> {
        let canonical = serde_json::to_vec(request).map_err(|_| unreadable("request_hash"))?;
        Ok(Self {
            once,
            command,
            hash: Sha256::digest(canonical).into(),
        })
    }

    pub fn of(asked: &'a Asked) -> Result<Self, SalesError> {
        Self::new(&asked.once, asked.command, &asked.request)
    }

    /// The answer kept for it, if any. Holds off repeats until this unit is
    /// over: it comes before everything that a command looks at.
    pub async fn replay<T: DeserializeOwned>(&self, tx: &Tx) -> Result<Option<T>, SalesError> {
        let (user, key) = (&self.once.user, &self.once.key);
        locks::name(tx, &format!("command:{user}/{}/{key}", self.command)).await?;
        let Some(row) = one(tx, LOOK_UP, self.key()).await? else {
            return Ok(None);
        };
        if row.time("created_at")?.plus_ms(KEPT_MS) <= tx.now() {
            execute(tx, FORGET, self.key()).await?;
            return Ok(None);
        }
        if row.bytes("request_hash")? != self.hash {
            return Err(SalesError::IdempotencyKeyReused);
        }
        let answer =
            serde_json::from_slice(&row.bytes("response")?).map_err(|_| unreadable("response"))?;
        Ok(Some(answer))
    }

    /// Keeps the answer with the effect.
    pub fn keep<T: Serialize>(&self, tx: &Tx, answer: T) -> Result<T, SalesError> {
        let response = serde_json::to_vec(&answer).map_err(|_| unreadable("response"))?;
        let [user, command, key] = self.key();
        tx.defer(
            KEEP,
            [
                user,
                command,
                key,
                self.hash.to_vec().into(),
                response.into(),
                time_to_column(tx.now()).into(),
            ],
            1,
        );
        Ok(answer)
    }

    fn key(&self) -> [sea_orm::Value; 3] {
        [
            self.once.user.as_str().into(),
            self.command.into(),
            self.once.key.as_str().into(),
        ]
    }
}

/// Forgets about `limit` answers past their time.
pub async fn purge(tx: &Tx, limit: u32) -> Result<(), SalesError> {
    let before = to_column(tx.now().0.saturating_sub(KEPT_MS));
    execute(tx, PURGE, [before.into(), i64::from(limit).into()]).await?;
    Ok(())
}
