//! What was sold before anyone counted it, and what was counted wrongly since.
//!
//! Figures are computed anew from what they are figures of: seats sold from the
//! sections, revenue from its accounts, days from tickets. Every event that is
//! still in the outbox is in them, so it is noted as consumed, whether it was or
//! is on its way, and letters of such events end. Whoever leaves or consumes
//! events waits meanwhile.
//!
//! An event that was published more than seven days ago and is consumed only
//! after this counts twice: the outbox does not know it any more.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Events that count, by the consumer that counts them.
const COUNTED: [(&str, &str); 2] = [
    (
        "sales",
        "'reservation.confirmed', 'reservation.cancelled', 'payment.succeeded', 'payment.refunded'",
    ),
    (
        "ranking",
        "'reservation.confirmed', 'reservation.cancelled'",
    ),
];

/// Consumers first, as they note an event before they count it.
const LOCK_ON_POSTGRES: &str = "\
LOCK TABLE inbox, outbox, dead_letters, sales_figures, sales_days, sold_outs \
IN SHARE ROW EXCLUSIVE MODE";

/// Under each name that a statement reads a table by.
const LOCK_ON_MARIADB: &str = "\
LOCK TABLES inbox WRITE, outbox WRITE, dead_letters WRITE, sales_figures WRITE, \
sales_days WRITE, sold_outs WRITE, performances READ, sections READ, accounts READ, \
tickets AS issued READ, tickets AS voided READ, tickets AS last_sold READ";

const FIGURES: &str = "\
INSERT INTO sales_figures (performance_id, currency, sold, revenue_minor) \
SELECT found.id, found.currency, found.sold, found.revenue_minor FROM (\
SELECT performances.id, performances.currency, \
(SELECT COALESCE(SUM(sections.sold), 0) FROM sections \
WHERE sections.performance_id = performances.id) AS sold, \
COALESCE(accounts.balance_minor, 0) AS revenue_minor \
FROM performances LEFT JOIN accounts ON accounts.name = {account} \
AND accounts.currency = performances.currency) AS found \
WHERE found.sold <> 0 OR found.revenue_minor <> 0";

const DAYS: &str = "\
INSERT INTO sales_days (performance_id, day, sold) \
SELECT moved.performance_id, moved.day, SUM(moved.seats) FROM (\
SELECT issued.performance_id, issued.issued_at {div} 86400000 AS day, 1 AS seats \
FROM tickets AS issued \
UNION ALL SELECT voided.performance_id, voided.voided_at {div} 86400000, -1 \
FROM tickets AS voided WHERE voided.voided_at IS NOT NULL) AS moved \
GROUP BY moved.performance_id, moved.day";

const SOLD_OUT: &str = "\
INSERT {ignore} INTO sold_outs (performance_id, sold_out_at) \
SELECT sections.performance_id, COALESCE((SELECT MAX(last_sold.issued_at) \
FROM tickets AS last_sold WHERE last_sold.performance_id = sections.performance_id \
AND last_sold.live = 1), {now}) FROM sections WHERE 1 = 1 \
GROUP BY sections.performance_id \
HAVING SUM(sections.available + sections.held) = 0 AND SUM(sections.sold) > 0 {unless_there}";

const NOTES: &str = "\
INSERT {ignore} INTO inbox (consumer, event_id, received_at) \
SELECT '{consumer}', CAST(outbox.id AS {text}), {now} FROM outbox \
WHERE outbox.kind IN ({kinds}) {unless_there}";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let words = Words::of(manager.get_database_backend());
        let db = manager.get_connection();
        let lock = words.lock.map(str::to_owned);
        let mut statements: Vec<String> = lock.into_iter().collect();
        for (consumer, kinds) in COUNTED {
            let notes = NOTES.replace("{consumer}", consumer);
            statements.push(words.say(&notes.replace("{kinds}", kinds)));
            statements.push(format!(
                "DELETE FROM dead_letters WHERE consumer = '{consumer}' AND kind IN ({kinds})"
            ));
        }
        statements.push("DELETE FROM sales_figures".to_owned());
        statements.push(words.say(FIGURES));
        statements.push("DELETE FROM sales_days".to_owned());
        statements.push(words.say(DAYS));
        statements.push(words.say(SOLD_OUT));
        let mut done = Ok(());
        for statement in &statements {
            done = db.execute_unprepared(statement).await.map(drop);
            if done.is_err() {
                break;
            }
        }
        if let Some(unlock) = words.unlock {
            db.execute_unprepared(unlock).await?;
        }
        done
    }

    /// An earlier server goes on counting from these figures.
    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}

/// What each database calls it.
struct Words {
    lock: Option<&'static str>,
    unlock: Option<&'static str>,
    text: &'static str,
    div: &'static str,
    account: &'static str,
    now: &'static str,
    ignore: &'static str,
    unless_there: &'static str,
}

impl Words {
    fn of(backend: DbBackend) -> Self {
        match backend {
            DbBackend::MySql => Self {
                lock: Some(LOCK_ON_MARIADB),
                unlock: Some("UNLOCK TABLES"),
                text: "CHAR",
                div: "DIV",
                account: "CONCAT('revenue:', performances.id)",
                now: "CAST(FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000) AS SIGNED)",
                ignore: "IGNORE",
                unless_there: "",
            },
            DbBackend::Postgres => Self {
                lock: Some(LOCK_ON_POSTGRES),
                now: "CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS BIGINT)",
                ..Self::of(DbBackend::Sqlite)
            },
            _ => Self {
                lock: None,
                unlock: None,
                text: "TEXT",
                div: "/",
                account: "'revenue:' || performances.id",
                now: "CAST(strftime('%s', 'now') AS INTEGER) * 1000",
                ignore: "",
                unless_there: "ON CONFLICT DO NOTHING",
            },
        }
    }

    fn say(&self, statement: &str) -> String {
        [
            ("{text}", self.text),
            ("{div}", self.div),
            ("{account}", self.account),
            ("{now}", self.now),
            ("{ignore}", self.ignore),
            ("{unless_there}", self.unless_there),
        ]
        .into_iter()
        .fold(statement.to_owned(), |said, (name, word)| {
            said.replace(name, word)
        })
    }
}
