//! Columns and tables as every migration makes them.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// A resource's id: rooms, concerts, seats, reservations.
pub fn id(name: &'static str) -> ColumnDef {
    required(name, |column| column.string_len(64))
}

/// A random id that the server made.
pub fn uuid(name: &'static str) -> ColumnDef {
    required(name, |column| column.string_len(36))
}

pub fn user(name: &'static str) -> ColumnDef {
    required(name, |column| column.string_len(128))
}

/// A name out of a fixed set: a state, a reason, a kind.
pub fn name_of(name: &'static str) -> ColumnDef {
    required(name, |column| column.string_len(32))
}

/// Text of any length; JSON too.
pub fn text(name: &'static str) -> ColumnDef {
    required(name, |column| column.text())
}

/// Counts, numbers, versions; a point in time as Unix milliseconds.
pub fn integer(name: &'static str) -> ColumnDef {
    required(name, |column| column.big_integer())
}

pub fn flag(name: &'static str) -> ColumnDef {
    required(name, |column| column.boolean())
}

pub fn bytes(name: &'static str) -> ColumnDef {
    required(name, |column| column.blob())
}

/// The same column, allowed to be NULL.
pub fn optional(mut column: ColumnDef) -> ColumnDef {
    column.null();
    column
}

fn required(
    name: &'static str,
    of_type: impl FnOnce(&mut ColumnDef) -> &mut ColumnDef,
) -> ColumnDef {
    let mut column = ColumnDef::new(name);
    of_type(&mut column).not_null();
    column
}

/// Creates a table whose text is compared byte by byte: MariaDB would fold
/// letters otherwise, and two ids would be one; PostgreSQL would order ids by
/// the rules of a language.
pub async fn create(
    manager: &SchemaManager<'_>,
    table: &mut TableCreateStatement,
) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::MySql {
        table.character_set("utf8mb4").collate("utf8mb4_bin");
    }
    let table = table.take();
    manager.create_table(table.clone()).await?;
    let Some(TableRef::Table(TableName(_, name), _)) = table.get_table_name() else {
        return Err(DbErr::Custom("a table without a name".to_owned()));
    };
    compare_bytes(manager, &name.to_string(), table.get_columns()).await
}

/// Adds a column, as [`create`] would make it.
pub async fn add(
    manager: &SchemaManager<'_>,
    table: &'static str,
    column: ColumnDef,
) -> Result<(), DbErr> {
    let alter = Table::alter()
        .table(table)
        .add_column(column.clone())
        .take();
    manager.alter_table(alter).await?;
    compare_bytes(manager, table, &[column]).await
}

/// On PostgreSQL the order is a column's, and its default is the database's.
async fn compare_bytes(
    manager: &SchemaManager<'_>,
    table: &str,
    columns: &[ColumnDef],
) -> Result<(), DbErr> {
    if manager.get_database_backend() != DbBackend::Postgres {
        return Ok(());
    }
    for column in columns {
        let of_type = match column.get_column_type() {
            Some(ColumnType::String(StringLen::N(length))) => format!("varchar({length})"),
            Some(ColumnType::Text) => "text".to_owned(),
            _ => continue,
        };
        let alter = format!(
            "ALTER TABLE \"{table}\" ALTER COLUMN \"{}\" TYPE {of_type} COLLATE \"C\"",
            column.get_column_name()
        );
        manager.get_connection().execute_unprepared(&alter).await?;
    }
    Ok(())
}

pub async fn drop_all(manager: &SchemaManager<'_>, tables: &[&'static str]) -> Result<(), DbErr> {
    for table in tables {
        manager
            .drop_table(Table::drop().table(*table).to_owned())
            .await?;
    }
    Ok(())
}

/// A reference to another table's key.
pub fn refers(
    column: &'static str,
    table: &'static str,
    key: &'static str,
) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .from_col(column)
        .to(table, key)
        .to_owned()
}
