//! The part of the contract that leaves through Kafka; the adapter of the sink
//! names it, and no other module below `grpc` names anything of the contract.

pub use super::v1::event::Body;
pub use super::v1::{
    ActivationEvent, CouponEvent, EndReason, Event, Money, OperatorTurn, PaymentEvent,
    PerformanceEvent, PlaceLeft, ReservationEvent, RoomEvent, SeatsEvent, SlotFreed, TicketEvent,
    TicketSerial,
};
