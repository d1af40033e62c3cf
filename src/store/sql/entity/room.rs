//! Rooms: policy as JSON, switches as columns.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "rooms")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub display_name: String,
    pub epoch: i64,
    pub version: i64,
    pub policy: String,
    pub opened: bool,
    pub paused: bool,
    pub sold_out: bool,
    pub closed: bool,
    pub message: String,
    pub resumes_at: Option<i64>,
    pub draw_secret: Option<Vec<u8>>,
    pub created_at: i64,
    pub closed_at: Option<i64>,
    /// Set: the room is unknown to everyone but to who deletes it.
    pub forgotten_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
