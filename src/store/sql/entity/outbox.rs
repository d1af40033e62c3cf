//! Events that wait to be published, and those that were.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub aggregate: String,
    pub version: i64,
    pub kind: String,
    pub payload: String,
    pub partition_no: i64,
    pub created_at: i64,
    pub published_at: Option<i64>,
    pub attempts: i64,
    pub next_attempt_at: i64,
    pub dead: bool,
    pub route: Option<i64>,
    pub trace: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
