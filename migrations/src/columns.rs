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
/// letters otherwise, or overlook spaces at the end, and two ids would be one;
/// PostgreSQL would order ids by the rules of a language.
pub async fn create(
    manager: &SchemaManager<'_>,
    table: &mut TableCreateStatement,
) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::MySql {
        let collation = mariadb::collation(manager).await?;
        table.if_not_exists().engine("InnoDB");
        table.character_set("utf8mb4").collate(collation);
        return mariadb::run(manager, table.to_string(MysqlQueryBuilder)).await;
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
    if manager.get_database_backend() == DbBackend::MySql {
        let name = column.get_column_name();
        if manager.has_column(table, &name).await? {
            return Ok(());
        }
        return mariadb::run(manager, alter.to_string(MysqlQueryBuilder)).await;
    }
    manager.alter_table(alter).await?;
    compare_bytes(manager, table, &[column]).await
}

pub async fn drop_column(
    manager: &SchemaManager<'_>,
    table: &'static str,
    column: &'static str,
) -> Result<(), DbErr> {
    let is_mariadb = manager.get_database_backend() == DbBackend::MySql;
    if is_mariadb && !manager.has_column(table, column).await? {
        return Ok(());
    }
    let alter = Table::alter().table(table).drop_column(column).take();
    manager.alter_table(alter).await
}

pub async fn create_index(
    manager: &SchemaManager<'_>,
    index: IndexCreateStatement,
) -> Result<(), DbErr> {
    let created = manager.create_index(index).await;
    match created {
        Err(error) if mariadb::is_there_already(manager, &error) => Ok(()),
        created => created,
    }
}

/// What only MariaDB needs.
mod mariadb {
    use super::{DbErr, SchemaManager};
    use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend, Statement};

    /// Byte by byte, spaces at the end included. MySQL calls it otherwise.
    pub async fn collation(manager: &SchemaManager<'_>) -> Result<&'static str, DbErr> {
        let version = Statement::from_string(DbBackend::MySql, "SELECT VERSION() AS version");
        let row = manager.get_connection().query_one_raw(version).await?;
        let version: String = match row {
            Some(row) => row.try_get("", "version")?,
            None => String::new(),
        };
        Ok(match version.contains("MariaDB") {
            true => "utf8mb4_nopad_bin",
            false => "utf8mb4_0900_bin",
        })
    }

    /// That an index of this name is there.
    pub fn is_there_already(manager: &SchemaManager<'_>, error: &DbErr) -> bool {
        manager.get_database_backend() == DbBackend::MySql
            && error.to_string().contains("Duplicate key name")
    }

    /// Texts and bytes of any length: a plain TEXT ends at 64 KiB.
    pub async fn run(manager: &SchemaManager<'_>, definition: String) -> Result<(), DbErr> {
        let definition = definition.replace("` text", "` longtext");
        let definition = definition.replace("` blob", "` longblob");
        let db = manager.get_connection();
        db.execute_unprepared(&definition).await?;
        Ok(())
    }
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
            .drop_table(Table::drop().table(*table).if_exists().to_owned())
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
