//! [`SigningKeys`] on SQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::FutureExt;
use sea_orm::DbErr;

use crate::keys::accord::{Discord, HeldKey};
use crate::keys::wrap::WrappedKey;
use crate::store::signing::{SigningError, SigningKeys};

use super::columns::to_column;
use super::query::{Row, all, execute};
use super::{SqlError, SqlStore, Tx, locks};

mod holders;

/// Newest first.
const ALL: &str = "\
SELECT family, kid, created_at_s, sign_from_s, wrap_id, sealed FROM signing_keys \
ORDER BY family, sign_from_s DESC, created_at_s DESC, kid";

const INSERT: &str = "\
INSERT INTO signing_keys (family, kid, created_at_s, sign_from_s, wrap_id, sealed) \
VALUES ($1, $2, $3, $4, $5, $6)";

const FORGET: &str = "DELETE FROM signing_keys WHERE family = $1 AND kid = $2";

/// Who changes the keys does so alone.
const LOCK: &str = "signing keys";

impl From<SqlError> for SigningError {
    fn from(error: SqlError) -> Self {
        Self(error.to_string())
    }
}

impl From<DbErr> for SigningError {
    fn from(error: DbErr) -> Self {
        SqlError::from(error).into()
    }
}

#[async_trait]
impl SigningKeys for SqlStore {
    async fn signing_keys(&self) -> Result<Vec<WrappedKey>, SigningError> {
        self.read((), |tx, ()| load(tx).boxed()).await
    }

    async fn first_signing_keys(
        &self,
        keys: Vec<WrappedKey>,
    ) -> Result<Vec<WrappedKey>, SigningError> {
        self.write(keys, |tx, keys| {
            async move {
                locks::name(tx, LOCK).await?;
                if load(tx).await?.is_empty() {
                    insert(tx, keys).await?;
                }
                load(tx).await
            }
            .boxed()
        })
        .await
    }

    async fn add_signing_keys(
        &self,
        keys: Vec<WrappedKey>,
        kept_max: usize,
    ) -> Result<Vec<WrappedKey>, SigningError> {
        self.write((keys, kept_max), |tx, (keys, kept_max)| {
            async move {
                locks::name(tx, LOCK).await?;
                insert(tx, keys).await?;
                forget(tx, *kept_max).await?;
                load(tx).await
            }
            .boxed()
        })
        .await
    }

    async fn hold_keys(
        &self,
        node: u64,
        held: Vec<HeldKey>,
        lives_ms: u64,
    ) -> Result<Result<(), Discord>, SigningError> {
        self.write((node, held, lives_ms), |tx, (node, held, lives_ms)| {
            holders::hold(tx, *node, held, *lives_ms).boxed()
        })
        .await
    }
}

async fn load(tx: &Tx) -> Result<Vec<WrappedKey>, SigningError> {
    let read = |row: &Row| {
        Ok(WrappedKey {
            family: row.text("family")?,
            kid: row.text("kid")?,
            created_at_s: row.count("created_at_s")?,
            sign_from_s: row.count("sign_from_s")?,
            wrap_id: row.text("wrap_id")?,
            sealed: row.bytes("sealed")?,
        })
    };
    all(tx, ALL, []).await?.iter().map(read).collect()
}

async fn insert(tx: &Tx, keys: &[WrappedKey]) -> Result<(), SigningError> {
    for key in keys {
        let values = [
            key.family.as_str().into(),
            key.kid.as_str().into(),
            to_column(key.created_at_s).into(),
            to_column(key.sign_from_s).into(),
            key.wrap_id.as_str().into(),
            key.sealed.clone().into(),
        ];
        execute(tx, INSERT, values).await?;
    }
    Ok(())
}

async fn forget(tx: &Tx, kept_max: usize) -> Result<(), SigningError> {
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    for key in load(tx).await? {
        let of_family = kept.entry(key.family.clone()).or_default();
        *of_family += 1;
        if *of_family > kept_max {
            execute(tx, FORGET, [key.family.into(), key.kid.into()]).await?;
        }
    }
    Ok(())
}
