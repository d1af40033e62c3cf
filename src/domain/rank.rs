//! Rank over departed orders.

/// Which orders have departed, and how many below any order.
#[derive(Debug, Clone, Default)]
pub struct DepartedRank;
