//! Activations: who has, or had, a turn.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "activations")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub room_id: String,
    pub lane: i64,
    pub number: i64,
    pub user_id: String,
    pub state: String,
    pub reason: Option<String>,
    pub activated_at: i64,
    pub claim_by: Option<i64>,
    pub claimed_at: Option<i64>,
    pub expire_time: Option<i64>,
    pub ended_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
