//! A hold as one would first write it: a transaction of its own on a pool of
//! connections, which locks the seat, changes it, and writes the same rows as
//! the store does, one statement after the other.

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    IsolationLevel, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, Value,
};
use usher::clock::{Clock as _, SystemClock};
use usher::store::sql::columns::time_to_column;

use super::{HOLD_TTL_MS, Wanted};
use crate::error::BenchError;

const SELECT: &str = "\
SELECT state, price_minor FROM seats WHERE performance_id = $1 AND id = $2";

const UPDATE: &str = "\
UPDATE seats SET state = 'held', reservation_id = $3, user_id = $4, held_until = $5, \
version = version + 1 WHERE performance_id = $1 AND id = $2 AND state = 'available'";

const VERSION: &str = "UPDATE performances SET seats_version = seats_version + 1 WHERE id = $1";

const COUNTERS: &str = "\
UPDATE sections SET available = available - 1, held = held + 1 \
WHERE performance_id = $1 AND ordinal = 0";

const RESERVATION: &str = "\
INSERT INTO reservations (id, performance_id, user_id, state, currency, total_minor, \
created_at, expires_at, extended, version) VALUES ($1, $2, $3, 'held', 'KRW', $4, $5, $6, FALSE, 1)";

const RESERVED_SEAT: &str = "\
INSERT INTO reservation_seats (reservation_id, ordinal, seat_id, price_minor) \
VALUES ($1, 0, $2, $3)";

const ANSWER: &str = "\
INSERT INTO idempotency (user_id, rpc, idempotency_key, request_hash, response, created_at) \
VALUES ($1, 'HoldSeats', $2, $3, $4, $5)";

pub struct Naive {
    pool: DatabaseConnection,
    counters: bool,
}

impl Naive {
    pub async fn open(url: &str, connections: u32, counters: bool) -> Result<Self, BenchError> {
        let mut options = ConnectOptions::new(url.to_owned());
        options
            .max_connections(connections)
            .min_connections(connections)
            .acquire_timeout(std::time::Duration::from_secs(60))
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(|sqlite| {
                use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
                sqlite
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(std::time::Duration::from_secs(60))
            });
        let pool = Database::connect(options).await;
        Ok(Self {
            pool: pool.map_err(BenchError::failed)?,
            counters,
        })
    }

    /// Tells the database what the tables are like now, as it finds out by itself
    /// later: else it may look for a seat among all free ones.
    pub async fn analyze(&self) -> Result<(), BenchError> {
        let done = self.pool.execute_unprepared("ANALYZE seats").await;
        done.map(drop).map_err(BenchError::failed)
    }

    pub async fn hold(&self, wanted: &Wanted) -> Result<(), BenchError> {
        let backend = self.pool.get_database_backend();
        let is_sqlite = backend == DbBackend::Sqlite;
        let options = TransactionOptions {
            sqlite_transaction_mode: is_sqlite.then_some(SqliteTransactionMode::Immediate),
            // What PostgreSQL does anyway: asking for it costs a round trip.
            isolation_level: (backend == DbBackend::MySql).then_some(IsolationLevel::ReadCommitted),
            ..TransactionOptions::default()
        };
        let tx = self.pool.begin_with_options(options).await;
        let tx = tx.map_err(BenchError::failed)?;
        self.write(&tx, wanted, is_sqlite).await?;
        tx.commit().await.map_err(BenchError::failed)
    }

    async fn write(
        &self,
        tx: &DatabaseTransaction,
        wanted: &Wanted,
        is_sqlite: bool,
    ) -> Result<(), BenchError> {
        let performance = || Value::from(wanted.performance.as_str());
        let (seat, id) = (
            || Value::from(wanted.seat.as_str()),
            || Value::from(wanted.id.as_str()),
        );
        let user = || Value::from(wanted.user.as_str());
        let now = SystemClock.now();
        let until = time_to_column(now.plus_ms(HOLD_TTL_MS));
        let now = time_to_column(now);

        let lock = if is_sqlite { "" } else { " FOR UPDATE" };
        let select = statement(tx, &format!("{SELECT}{lock}"), [performance(), seat()]);
        let row = tx.query_one_raw(select).await.map_err(BenchError::failed)?;
        let row = row.ok_or_else(|| BenchError::Failed("no such seat".to_owned()))?;
        let state: String = row.try_get("", "state").map_err(BenchError::failed)?;
        if state != "available" {
            return Err(BenchError::Failed(format!("the seat is {state}")));
        }
        let price: i64 = row.try_get("", "price_minor").map_err(BenchError::failed)?;
        let mut writes = vec![(
            UPDATE,
            vec![performance(), seat(), id(), user(), until.into()],
        )];
        if self.counters {
            writes.push((VERSION, vec![performance()]));
            writes.push((COUNTERS, vec![performance()]));
        }
        // As long as the answer that the store keeps.
        let answer = vec![b'x'; 420];
        writes.extend([
            (
                RESERVATION,
                vec![
                    id(),
                    performance(),
                    user(),
                    price.into(),
                    now.into(),
                    until.into(),
                ],
            ),
            (RESERVED_SEAT, vec![id(), seat(), price.into()]),
            (
                ANSWER,
                vec![
                    user(),
                    id(),
                    vec![7_u8; 32].into(),
                    answer.into(),
                    now.into(),
                ],
            ),
        ]);
        for (sql, values) in writes {
            let done = tx.execute_raw(statement(tx, sql, values)).await;
            if done.map_err(BenchError::failed)?.rows_affected() != 1 {
                return Err(BenchError::Failed("a row changed meanwhile".to_owned()));
            }
        }
        Ok(())
    }
}

fn statement(
    tx: &DatabaseTransaction,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Statement {
    Statement::from_sql_and_values(tx.get_database_backend(), sql, values)
}
