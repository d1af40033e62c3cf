//! Statements and typed columns, for modules that write their SQL by hand.
//!
//! Placeholders are `$1`, `$2`, …; a statement with lists is put together with
//! [`Binds`].

use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, TryGetable, Value};

use super::columns::{from_column, time_from_column};
use super::{Tx, dialect};
use crate::domain::ids::{ResourceId, RoomId, UserId};
use crate::domain::sale::currency::Currency;
use crate::domain::sale::money::Money;
use crate::domain::time::UnixMs;

/// Runs a statement; answers how many rows it changed.
pub async fn execute(
    tx: &Tx,
    sql: &str,
    values: impl IntoIterator<Item = Value> + Send,
) -> Result<u64, DbErr> {
    Ok(tx
        .execute_raw(statement(tx, sql, values))
        .await?
        .rows_affected())
}

pub async fn one(
    tx: &Tx,
    sql: &str,
    values: impl IntoIterator<Item = Value> + Send,
) -> Result<Option<Row>, DbErr> {
    Ok(tx.query_one_raw(statement(tx, sql, values)).await?.map(Row))
}

pub async fn all(
    tx: &Tx,
    sql: &str,
    values: impl IntoIterator<Item = Value> + Send,
) -> Result<Vec<Row>, DbErr> {
    let rows = tx.query_all_raw(statement(tx, sql, values)).await?;
    Ok(rows.into_iter().map(Row).collect())
}

fn statement(tx: &Tx, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    dialect::statement(tx.get_database_backend(), sql, values)
}

/// Values of a statement that is put together from parts.
#[derive(Default)]
pub struct Binds(Vec<Value>);

impl Binds {
    /// The placeholder of a further value.
    pub fn bind(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("${}", self.0.len())
    }

    /// The placeholders of a list of ids.
    pub fn ids(&mut self, ids: &[ResourceId]) -> String {
        let placeholders: Vec<String> = ids.iter().map(|id| self.bind(id.as_str())).collect();
        placeholders.join(", ")
    }

    pub fn values(self) -> Vec<Value> {
        self.0
    }
}

/// One row, read by column name. What no writer of ours could have stored is a
/// [`DbErr`].
pub struct Row(QueryResult);

impl Row {
    fn get<T: TryGetable>(&self, column: &str) -> Result<T, DbErr> {
        self.0.try_get("", column)
    }

    pub fn text(&self, column: &str) -> Result<String, DbErr> {
        self.get(column)
    }

    pub fn opt_text(&self, column: &str) -> Result<Option<String>, DbErr> {
        self.get(column)
    }

    pub fn bytes(&self, column: &str) -> Result<Vec<u8>, DbErr> {
        self.get(column)
    }

    pub fn opt_bytes(&self, column: &str) -> Result<Option<Vec<u8>>, DbErr> {
        self.get(column)
    }

    pub fn signed(&self, column: &str) -> Result<i64, DbErr> {
        self.get(column)
    }

    pub fn opt_signed(&self, column: &str) -> Result<Option<i64>, DbErr> {
        self.get(column)
    }

    pub fn flag(&self, column: &str) -> Result<bool, DbErr> {
        self.get(column)
    }

    pub fn count(&self, column: &str) -> Result<u64, DbErr> {
        Ok(from_column(self.get(column)?))
    }

    pub fn small(&self, column: &str) -> Result<u32, DbErr> {
        u32::try_from(self.count(column)?).map_err(|_| unreadable(column))
    }

    pub fn time(&self, column: &str) -> Result<UnixMs, DbErr> {
        Ok(time_from_column(self.get(column)?))
    }

    pub fn opt_time(&self, column: &str) -> Result<Option<UnixMs>, DbErr> {
        Ok(self.get::<Option<i64>>(column)?.map(time_from_column))
    }

    pub fn id(&self, column: &str) -> Result<ResourceId, DbErr> {
        self.parsed(column, |text| ResourceId::parse(text).ok())
    }

    pub fn opt_id(&self, column: &str) -> Result<Option<ResourceId>, DbErr> {
        self.opt_parsed(column, |text| ResourceId::parse(text).ok())
    }

    pub fn opt_room(&self, column: &str) -> Result<Option<RoomId>, DbErr> {
        self.opt_parsed(column, |text| RoomId::parse(text).ok())
    }

    pub fn user(&self, column: &str) -> Result<UserId, DbErr> {
        self.parsed(column, |text| UserId::parse(text).ok())
    }

    pub fn currency(&self, column: &str) -> Result<Currency, DbErr> {
        self.parsed(column, |text| Currency::parse(text).ok())
    }

    /// An amount beside its currency, which is in the column `currency`.
    pub fn money(&self, column: &str) -> Result<Money, DbErr> {
        Ok(Money::new(self.currency("currency")?, self.signed(column)?))
    }

    pub fn parsed<T>(
        &self,
        column: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, DbErr> {
        parse(&self.text(column)?).ok_or_else(|| unreadable(column))
    }

    pub fn opt_parsed<T>(
        &self,
        column: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, DbErr> {
        match self.opt_text(column)? {
            None => Ok(None),
            Some(text) => parse(&text).map(Some).ok_or_else(|| unreadable(column)),
        }
    }
}

/// A stored value that cannot be.
pub fn unreadable(column: &str) -> DbErr {
    DbErr::Custom(format!("column {column} holds what was never written"))
}

/// A row that a condition should have found has changed under its transaction.
pub fn changed_meanwhile(table: &str) -> DbErr {
    DbErr::Custom(format!("a row of {table} changed under its transaction"))
}
