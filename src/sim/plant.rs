//! Faults that a test switches on, each at the place where a real mistake
//! would be made.

/// One planted fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plant {
    /// The queue admits one more than the capacity.
    CapacityOffByOne,
    /// The bucket is twice as fast as the policy.
    RateDoubled,
    /// Recovery issues numbers from before the loss again.
    NumbersReused,
    /// Recovery forgets the last reserved numbers were given.
    IssuedForgotten,
    /// A delta loses one departure on its way to a view.
    DepartureLost,
    /// A delta departs one place too many in a view.
    DepartureInvented,
    /// A client is told of its turn before the row is committed.
    ToldBeforeCommit,
    /// Two nodes write two rows for one place.
    RowWrittenTwice,
    /// A row is written by a node of an older epoch.
    FenceIgnored,
    /// Recovery forgets live activations.
    LiveRowsForgotten,
    /// Recovery lets ended activations wait again.
    EndedRowsForgotten,
    /// Recovery ignores the saved departed pages.
    PagesForgotten,
    /// A view takes an old snapshot for new.
    StaleSnapshot,
    /// A view skips a delta and does not notice.
    GapUnnoticed,
    /// A slot is freed twice: capacity grows.
    SlotFreedTwice,
    /// A freed slot never comes back.
    SlotLeaked,
    /// A user who joins again gets a second place.
    SecondPlace,
    /// A merge keeps the higher order.
    MergeKeepsHigher,
    /// Absence lapses at once.
    NoGrace,
    /// A pick passes over the first eligible place.
    OrderInverted,
    /// A paused room activates.
    PauseIgnored,
    /// A node never writes the rows of what it picked, and nobody else does.
    PicksForgotten,
    /// Positions count from zero.
    PositionFromZero,
    /// The hub is not told what changed in its view.
    ChangeNotMarked,
    /// A heartbeat is never sent.
    HeartbeatForgotten,
    /// A position is sent again with the cursor it was sent with.
    PositionRepeated,
    /// A stream that must go is not told.
    DrainForgotten,
    /// Nothing follows the snapshot of an activated place.
    TurnNotRepeated,
    /// A token counts without its tag.
    AlteredTokenAccepted,
    /// A token counts for whoever shows it.
    TokenOfAnotherUser,
    /// A seat that is sold counts as free.
    SoldSeatHeldAgain,
    /// A pass whose row has ended holds seats.
    EndedPassHolds,
    /// A hold counts until it is swept.
    ExpiredHoldPayable,
    /// Seats of one user are not counted.
    LimitIgnored,
    /// A key is not looked up, and a paid hold is paid again.
    RepeatPaysTwice,
    /// A cancelled reservation is given back again.
    RefundedTwice,
    /// A part of a reservation is given back at the price of all.
    PartRefundedWhole,
    /// A wallet pays what it does not have.
    WalletOverdrawn,
    /// A payment ends the pass and never frees its slot.
    SlotKeptAfterPayment,
    /// An operator's grant asks for no free slot.
    GrantBeyondCapacity,
    /// A pass that an operator revoked holds seats.
    RevokedPassHolds,
    /// A code that is someone's is redeemed again.
    CodeRedeemedTwice,
    /// The least served lane is not the next.
    WeightsIgnored,
    /// A room says that its rate gave way, and keeps it.
    SteeringIgnored,
}

impl Plant {
    pub const ALL: [Self; 44] = [
        Self::CapacityOffByOne,
        Self::RateDoubled,
        Self::NumbersReused,
        Self::IssuedForgotten,
        Self::DepartureLost,
        Self::DepartureInvented,
        Self::ToldBeforeCommit,
        Self::RowWrittenTwice,
        Self::FenceIgnored,
        Self::LiveRowsForgotten,
        Self::EndedRowsForgotten,
        Self::PagesForgotten,
        Self::StaleSnapshot,
        Self::GapUnnoticed,
        Self::SlotFreedTwice,
        Self::SlotLeaked,
        Self::SecondPlace,
        Self::MergeKeepsHigher,
        Self::NoGrace,
        Self::OrderInverted,
        Self::PauseIgnored,
        Self::PicksForgotten,
        Self::PositionFromZero,
        Self::ChangeNotMarked,
        Self::HeartbeatForgotten,
        Self::PositionRepeated,
        Self::DrainForgotten,
        Self::TurnNotRepeated,
        Self::AlteredTokenAccepted,
        Self::TokenOfAnotherUser,
        Self::SoldSeatHeldAgain,
        Self::EndedPassHolds,
        Self::ExpiredHoldPayable,
        Self::LimitIgnored,
        Self::RepeatPaysTwice,
        Self::RefundedTwice,
        Self::PartRefundedWhole,
        Self::WalletOverdrawn,
        Self::SlotKeptAfterPayment,
        Self::GrantBeyondCapacity,
        Self::RevokedPassHolds,
        Self::CodeRedeemedTwice,
        Self::WeightsIgnored,
        Self::SteeringIgnored,
    ];

    /// Only where there are operators and lanes.
    #[must_use]
    pub fn needs_operators(self) -> bool {
        matches!(
            self,
            Self::GrantBeyondCapacity
                | Self::RevokedPassHolds
                | Self::CodeRedeemedTwice
                | Self::WeightsIgnored
        )
    }

    /// Only where nodes steer.
    #[must_use]
    pub fn needs_steering(self) -> bool {
        self == Self::SteeringIgnored
    }

    /// The invariants that notice it.
    #[must_use]
    pub fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::CapacityOffByOne | Self::SlotFreedTwice => &["Q6"],
            Self::RateDoubled | Self::PauseIgnored => &["Q6"],
            Self::NumbersReused | Self::IssuedForgotten => &["Q1", "Q2"],
            Self::DepartureLost | Self::DepartureInvented => &["Q5"],
            Self::StaleSnapshot | Self::GapUnnoticed | Self::PositionFromZero => &["Q5"],
            Self::ToldBeforeCommit | Self::LiveRowsForgotten => &["Q9"],
            Self::RowWrittenTwice => &["Q6", "Q8"],
            Self::FenceIgnored => &["Q6", "Q8"],
            Self::EndedRowsForgotten | Self::PagesForgotten | Self::NoGrace => &["Q10"],
            Self::SlotLeaked | Self::PicksForgotten => &["Q11"],
            Self::SecondPlace | Self::MergeKeepsHigher => &["Q3"],
            Self::OrderInverted => &["Q7"],
            Self::SoldSeatHeldAgain => &["S1", "S2"],
            Self::EndedPassHolds | Self::ExpiredHoldPayable => &["S4"],
            Self::LimitIgnored => &["S5"],
            Self::RepeatPaysTwice => &["M3"],
            Self::RefundedTwice => &["M7"],
            Self::PartRefundedWhole => &["S7"],
            Self::WalletOverdrawn => &["M2"],
            Self::SlotKeptAfterPayment => &["Q11"],
            Self::ChangeNotMarked | Self::PositionRepeated => &["Q12"],
            Self::DrainForgotten | Self::TurnNotRepeated => &["Q12"],
            Self::HeartbeatForgotten => &["Q14"],
            Self::AlteredTokenAccepted | Self::TokenOfAnotherUser => &["Q15"],
            Self::GrantBeyondCapacity => &["Q6"],
            Self::RevokedPassHolds => &["S4"],
            Self::CodeRedeemedTwice => &["Q15"],
            Self::WeightsIgnored => &["Q7"],
            Self::SteeringIgnored => &["Q6"],
        }
    }
}
