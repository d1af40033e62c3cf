//! Lists of rows as values of one statement, so that a batch of commands costs
//! as many statements as one command.
//!
//! A statement names its list as `{list}` and its rows as `v`; its own values
//! come first, from `$1` on. Its text does not depend on how long the list is,
//! so it is prepared once. How a list travels, and how an UPDATE or a lock takes
//! one, is the only place where the dialects differ:
//!
//! - PostgreSQL: one array per column, which `unnest` puts side by side. Each
//!   is a text that is cast, since a NULL fits in there.
//! - SQLite and MariaDB: one JSON array of arrays.
//!
//! Rows keep their order.
//!
//! A list stands first and what it looks up is joined to its left: so PostgreSQL
//! goes through the list and looks up each row by its key, however empty a table
//! was when the statement was planned. Conditions on columns of other indexes
//! are hidden from it in a `COALESCE`. MariaDB is told so by `STRAIGHT_JOIN` where
//! rows are locked: it would lock what it reads and does not want.

use std::fmt::Write;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Value};
use serde_json::json;

use super::Tx;
use super::query::{Binds, Row, all, execute};

/// As long as any id or name that a key holds. What is longer would be cut.
const TEXT: &str = "VARCHAR(200)";

/// Of texts, as of the columns they are compared with: a database may default to
/// a set of characters that not all of them are in.
const CHARACTERS: &str = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin";

#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// An id, a name: what a key may hold.
    Text(&'static str),
    /// A text of any length.
    Long(&'static str),
    Integer(&'static str),
    Bytes(&'static str),
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Long(name) | Self::Integer(name) | Self::Bytes(name) => name,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Text(String),
    Integer(i64),
    Bytes(Vec<u8>),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<Vec<u8>> for Cell {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// An UPDATE of the rows that a list names.
pub struct Update {
    pub table: &'static str,
    /// Columns of the table, without its name in front.
    pub set: &'static str,
    /// Which row of the table belongs to `v`, and what must hold of it.
    pub on: &'static str,
}

impl Update {
    fn sql(&self, backend: DbBackend) -> String {
        let Self { table, set, on } = self;
        match backend {
            DbBackend::MySql => format!(
                "UPDATE {{list}} STRAIGHT_JOIN {table} FORCE INDEX (PRIMARY) ON {on} SET {set}"
            ),
            _ => format!("UPDATE {table} SET {set} FROM {{list}} WHERE {on}"),
        }
    }
}

/// Rows that a list names by their whole key. Its columns are called as the key's.
pub struct Rows {
    pub table: &'static str,
    pub key: &'static [&'static str],
    pub columns: &'static [&'static str],
}

/// What to do about rows that somebody else has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// Wait until they are let go.
    Await,
    /// Go without them.
    Skip,
}

pub struct List {
    columns: &'static [Column],
    rows: Vec<Vec<Cell>>,
}

impl List {
    pub fn new(columns: &'static [Column]) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// One column, named `id`.
    pub fn of_ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Self {
        let mut list = Self::new(&[Column::Text("id")]);
        for id in ids {
            list.push([id.into()]);
        }
        list
    }

    pub fn push<const N: usize>(&mut self, row: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(row.into());
    }

    pub fn rows(&self) -> u64 {
        u64::try_from(self.rows.len()).unwrap_or(u64::MAX)
    }

    /// The rows that a statement finds for a list; none for an empty one.
    pub async fn all(
        &self,
        tx: &Tx,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, DbErr> {
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        let (sql, values) = self.statement(tx.get_database_backend(), sql, values);
        all(tx, &sql, values).await
    }

    /// As [`Tx::defer`]: one row for each of the list.
    pub fn defer(&self, tx: &Tx, sql: &str, values: impl IntoIterator<Item = Value>) {
        if self.rows.is_empty() {
            return;
        }
        let (sql, values) = self.statement(tx.get_database_backend(), sql, values);
        tx.defer(&sql, values, self.rows());
    }

    /// As [`List::defer`].
    pub fn update(&self, tx: &Tx, update: &Update, values: impl IntoIterator<Item = Value>) {
        self.defer(tx, &update.sql(tx.get_database_backend()), values);
    }

    /// Updates at once what there is of it.
    pub async fn update_any(
        &self,
        tx: &Tx,
        update: &Update,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<(), DbErr> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let backend = tx.get_database_backend();
        let (sql, values) = self.statement(backend, &update.sql(backend), values);
        execute(tx, &sql, values).await.map(drop)
    }

    /// Selects rows and locks them, one after the other in the order of their key,
    /// which is the list's own. SQLite has nobody to hold off.
    pub fn lock(&self, backend: DbBackend, rows: &Rows, others: Others) -> (String, Vec<Value>) {
        let Rows {
            table,
            key,
            columns,
        } = rows;
        let skip = match others {
            Others::Await => "",
            Others::Skip => " SKIP LOCKED",
        };
        let sql = match backend {
            DbBackend::MySql => {
                let columns = columns.iter().map(|column| format!("{table}.{column}"));
                let columns = columns.collect::<Vec<_>>().join(", ");
                let on = key.iter().map(|part| format!("{table}.{part} = v.{part}"));
                let on = on.collect::<Vec<_>>().join(" AND ");
                format!(
                    "SELECT {columns} FROM {{list}} \
                     STRAIGHT_JOIN {table} FORCE INDEX (PRIMARY) ON {on} FOR UPDATE{skip}"
                )
            }
            _ => {
                let named = key.iter().map(|part| format!("v.{part}"));
                let named = named.collect::<Vec<_>>().join(", ");
                let (key, columns) = (key.join(", "), columns.join(", "));
                let lock = match backend {
                    DbBackend::Sqlite => String::new(),
                    _ => format!(" FOR NO KEY UPDATE{skip}"),
                };
                format!(
                    "SELECT {columns} FROM {table} \
                     WHERE ({key}) IN (SELECT {named} FROM {{list}}) ORDER BY {key}{lock}"
                )
            }
        };
        self.statement(backend, &sql, [])
    }

    /// The text with the list in it, and its values.
    pub fn statement(
        &self,
        backend: DbBackend,
        sql: &str,
        values: impl IntoIterator<Item = Value>,
    ) -> (String, Vec<Value>) {
        let mut binds = Binds::default();
        for value in values {
            binds.bind(value);
        }
        let table = match backend {
            DbBackend::Sqlite => self.json_each(&mut binds),
            DbBackend::MySql => self.json_table(&mut binds),
            _ => self.unnested(&mut binds),
        };
        (sql.replacen("{list}", &table, 1), binds.values())
    }

    fn unnested(&self, binds: &mut Binds) -> String {
        let (mut arrays, mut names) = (Vec::new(), Vec::new());
        for (index, column) in self.columns.iter().enumerate() {
            let of_type = match column {
                Column::Text(_) | Column::Long(_) => "text",
                Column::Integer(_) => "bigint",
                Column::Bytes(_) => "bytea",
            };
            let literal = array_literal(self.rows.iter().map(|row| &row[index]));
            arrays.push(format!("CAST({} AS {of_type}[])", binds.bind(literal)));
            names.push(column.name());
        }
        let (arrays, names) = (arrays.join(", "), names.join(", "));
        format!("unnest({arrays}) AS v ({names})")
    }

    fn json_each(&self, binds: &mut Binds) -> String {
        let columns = self.columns.iter().enumerate().map(|(index, column)| {
            let value = match column {
                Column::Bytes(_) => format!("unhex(value ->> {index})"),
                _ => format!("value ->> {index}"),
            };
            format!("{value} AS {}", column.name())
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        let rows = binds.bind(self.json());
        format!("(SELECT {columns} FROM json_each({rows})) AS v")
    }

    fn json_table(&self, binds: &mut Binds) -> String {
        let (mut columns, mut paths) = (Vec::new(), Vec::new());
        for (index, column) in self.columns.iter().enumerate() {
            let name = column.name();
            let of_type = match column {
                Column::Text(_) => format!("{TEXT} {CHARACTERS}"),
                Column::Long(_) => format!("LONGTEXT {CHARACTERS}"),
                Column::Integer(_) => "BIGINT".to_owned(),
                // As hexadecimal digits.
                Column::Bytes(_) => "LONGTEXT".to_owned(),
            };
            paths.push(format!("{name} {of_type} PATH '$[{index}]'"));
            columns.push(match column {
                Column::Bytes(_) => format!("UNHEX({name}) AS {name}"),
                _ => name.to_owned(),
            });
        }
        let (columns, paths) = (columns.join(", "), paths.join(", "));
        let rows = binds.bind(self.json());
        format!("(SELECT {columns} FROM JSON_TABLE({rows}, '$[*]' COLUMNS ({paths})) AS j) AS v")
    }

    fn json(&self) -> String {
        let rows = self.rows.iter();
        let rows = rows.map(|row| row.iter().map(json_cell).collect());
        serde_json::Value::Array(rows.collect()).to_string()
    }
}

fn json_cell(cell: &Cell) -> serde_json::Value {
    match cell {
        Cell::Null => serde_json::Value::Null,
        Cell::Text(text) => json!(text),
        Cell::Integer(number) => json!(number),
        Cell::Bytes(bytes) => {
            let mut text = String::with_capacity(bytes.len() * 2);
            push_hex(bytes, &mut text);
            serde_json::Value::String(text)
        }
    }
}

/// As PostgreSQL reads an array.
fn array_literal<'a>(cells: impl Iterator<Item = &'a Cell>) -> String {
    let mut literal = String::from("{");
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            literal.push(',');
        }
        match cell {
            Cell::Null => literal.push_str("NULL"),
            Cell::Integer(number) => {
                // Writing to a string cannot fail.
                let _ = write!(literal, "{number}");
            }
            Cell::Text(text) => {
                literal.push('"');
                for c in text.chars() {
                    if matches!(c, '"' | '\\') {
                        literal.push('\\');
                    }
                    literal.push(c);
                }
                literal.push('"');
            }
            Cell::Bytes(bytes) => {
                literal.push_str("\"\\\\x");
                push_hex(bytes, &mut literal);
                literal.push('"');
            }
        }
    }
    literal.push('}');
    literal
}

fn push_hex(bytes: &[u8], to: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        to.push(char::from(DIGITS[usize::from(byte >> 4)]));
        to.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests;
