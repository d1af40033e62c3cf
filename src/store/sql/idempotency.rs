//! The answer first given to `(user, command, key)`, kept in the transaction of
//! the effect and told again to every repeat.

use std::collections::{BTreeMap, HashMap};

use sea_orm::{ConnectionTrait, DbBackend};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::columns::{time_to_column, to_column};
use super::list::{Column, List};
use super::query::{execute, one, unreadable};
use super::{Tx, locks};
use crate::domain::ids::{IdempotencyKey, UserId};
use crate::store::sales::{Asked, Once, SalesError};

mod many {
    //! The same, for commands of one kind that are decided together.

    pub const LOOK_UP: &str = "\
SELECT i.user_id, i.idempotency_key, i.request_hash, i.response, i.created_at \
FROM {list} LEFT JOIN idempotency AS i \
ON i.user_id = v.owner AND i.rpc = $1 AND i.idempotency_key = v.name";

    pub const FORGET: &str = "\
DELETE FROM idempotency WHERE COALESCE(rpc, '') = $1 AND (user_id, idempotency_key) IN \
(SELECT v.owner, v.name FROM {list})";

    /// It would look for each row of the table in the list.
    pub const FORGET_ON_MARIADB: &str = "\
DELETE idempotency FROM {list} STRAIGHT_JOIN idempotency FORCE INDEX (PRIMARY) \
ON idempotency.user_id = v.owner AND idempotency.rpc = $1 \
AND idempotency.idempotency_key = v.name";

    pub const KEEP: &str = "\
INSERT INTO idempotency (user_id, rpc, idempotency_key, request_hash, response, created_at) \
SELECT v.owner, $1, v.name, v.request, v.response, $2 FROM {list}";
}

const KEYS: &[Column] = &[Column::Text("owner"), Column::Text("name")];

const ANSWERS: &[Column] = &[
    Column::Text("owner"),
    Column::Text("name"),
    Column::Bytes("request"),
    Column::Bytes("response"),
];

/// How long an answer is kept, unless the settings say more.
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

/// So that a command may be asked again by its key.
pub async fn forget(tx: &Tx, once: &Once, command: &str) -> Result<(), SalesError> {
    let key = [
        once.user.as_str().into(),
        command.into(),
        once.key.as_str().into(),
    ];
    execute(tx, FORGET, key).await?;
    Ok(())
}

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
        if row.time("created_at")?.plus_ms(tx.answers_kept_ms()) <= tx.now() {
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

/// The slots of commands that are decided together, in their order. Repeats are
/// held off by what the batch has locked: the same request is about the same
/// rows, and the table takes one answer for a key.
pub struct Slots<'a> {
    command: &'static str,
    slots: Vec<Slot<'a>>,
    known: HashMap<(&'a UserId, &'a IdempotencyKey), Answered>,
    /// What is to be written, by key: two nodes that write the same keys at once
    /// do not wait in a circle.
    kept: BTreeMap<(&'a str, &'a str), Kept>,
}

struct Kept {
    hash: [u8; 32],
    response: Vec<u8>,
    replaces: bool,
}

/// The answer of a key, from before or from this batch.
struct Answered {
    hash: Vec<u8>,
    response: Vec<u8>,
    /// Past its time: to be forgotten when there is another.
    is_over: bool,
}

impl<'a> Slots<'a> {
    /// Reads what is kept for them; comes after the batch's locks.
    pub async fn read(
        tx: &Tx,
        command: &'static str,
        slots: Vec<Slot<'a>>,
    ) -> Result<Self, SalesError> {
        let mut keys = List::new(KEYS);
        let mut by_text = HashMap::new();
        for slot in &slots {
            let Once { user, key, .. } = slot.once;
            if by_text
                .insert((user.as_str(), key.as_str()), slot.once)
                .is_none()
            {
                keys.push([user.as_str().into(), key.as_str().into()]);
            }
        }
        let mut known = HashMap::new();
        for row in &keys.all(tx, many::LOOK_UP, [command.into()]).await? {
            let Some(user) = row.opt_text("user_id")? else {
                continue;
            };
            let key = row.text("idempotency_key")?;
            if let Some(once) = by_text.get(&(user.as_str(), key.as_str())) {
                let answered = Answered {
                    hash: row.bytes("request_hash")?,
                    response: row.bytes("response")?,
                    is_over: row.time("created_at")?.plus_ms(tx.answers_kept_ms()) <= tx.now(),
                };
                known.insert((&once.user, &once.key), answered);
            }
        }
        Ok(Self {
            command,
            slots,
            known,
            kept: BTreeMap::new(),
        })
    }

    /// As [`Slot::replay`], for the command of this number.
    pub fn replay<T: DeserializeOwned>(&self, number: usize) -> Result<Option<T>, SalesError> {
        let slot = &self.slots[number];
        let Some(known) = self.known.get(&(&slot.once.user, &slot.once.key)) else {
            return Ok(None);
        };
        if known.is_over {
            return Ok(None);
        }
        if known.hash != slot.hash {
            return Err(SalesError::IdempotencyKeyReused);
        }
        let answer = serde_json::from_slice(&known.response).map_err(|_| unreadable("response"))?;
        Ok(Some(answer))
    }

    /// As [`Slot::keep`].
    pub fn keep<T: Serialize>(&mut self, number: usize, answer: T) -> Result<T, SalesError> {
        let response = serde_json::to_vec(&answer).map_err(|_| unreadable("response"))?;
        let Slot { once, hash, .. } = &self.slots[number];
        let answered = Answered {
            hash: hash.to_vec(),
            response: response.clone(),
            is_over: false,
        };
        let before = self.known.insert((&once.user, &once.key), answered);
        let kept = Kept {
            hash: *hash,
            response,
            replaces: before.is_some(),
        };
        self.kept
            .insert((once.user.as_str(), once.key.as_str()), kept);
        Ok(answer)
    }

    /// Leaves the answers to be written with the effects.
    pub fn write(self, tx: &Tx) {
        let (mut forgotten, mut answers) = (List::new(KEYS), List::new(ANSWERS));
        for ((user, key), kept) in self.kept {
            if kept.replaces {
                forgotten.push([user.into(), key.into()]);
            }
            let hash = kept.hash.to_vec();
            answers.push([user.into(), key.into(), hash.into(), kept.response.into()]);
        }
        let forget = match tx.get_database_backend() {
            DbBackend::MySql => many::FORGET_ON_MARIADB,
            _ => many::FORGET,
        };
        forgotten.defer(tx, forget, [self.command.into()]);
        let values = [self.command.into(), time_to_column(tx.now()).into()];
        answers.defer(tx, many::KEEP, values);
    }
}

/// Forgets about `limit` answers past their time.
pub async fn purge(tx: &Tx, limit: u32) -> Result<(), SalesError> {
    let before = to_column(tx.now().0.saturating_sub(tx.answers_kept_ms()));
    execute(tx, PURGE, [before.into(), i64::from(limit).into()]).await?;
    Ok(())
}
