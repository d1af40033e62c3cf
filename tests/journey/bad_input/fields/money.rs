//! Amounts and currencies.

use usher::proto::v1 as wire;

use super::super::world;
use super::{Field, bytes, field};
use crate::sale::performance;

/// Amounts that a command moves.
pub const AMOUNTS: &[Field<Option<wire::Money>>] = &[
    field("PaymentService/TopUpWallet", "amount", |_, amount| {
        bytes(world::top_up(amount, "bad"))
    }),
    field("AdminService/CreditWallet", "amount", |_, amount| {
        bytes(world::credit("alice", amount, "bad"))
    }),
    field("AdminService/RefundPayment", "amount", |world, amount| {
        bytes(wire::RefundPaymentRequest {
            amount,
            ..world::refund(&world.payment, "bad")
        })
    }),
];

/// Prices, which move nothing by themselves.
pub const PRICES: &[Field<Option<wire::Money>>] = &[
    field(
        "AdminService/CreatePerformance",
        "performance.sections.price",
        |world, price| {
            let mut performance = performance(&world.concert, 10);
            performance.sections[0].price = price;
            bytes(wire::CreatePerformanceRequest {
                performance: Some(performance),
                idempotency_key: "bad".to_owned(),
            })
        },
    ),
    field(
        "AdminService/UpdatePerformance",
        "performance.sections.price",
        |world, price| {
            let mut terms = performance(&world.concert, 20);
            terms.sections[0].price = price;
            bytes(world::new_terms(&world.performance, terms))
        },
    ),
];

/// Bounds on what is asked for.
pub const BOUNDS: &[Field<Option<wire::Money>>] = &[field(
    "ReservationService/HoldSeats",
    "best_available.max_price",
    |world, max_price| {
        let wish = wire::BestAvailable {
            count: 1,
            max_price,
            ..Default::default()
        };
        bytes(world::best(&world.performance, wish))
    },
)];

/// Whose wallet it is is known; in which currency is asked.
pub const CURRENCIES: &[Field<String>] = &[
    field("PaymentService/GetWallet", "currency_code", |_, code| {
        bytes(wire::GetWalletRequest {
            currency_code: Some(code),
        })
    }),
    field(
        "PaymentService/ListWalletEntries",
        "currency_code",
        |_, code| {
            bytes(wire::ListWalletEntriesRequest {
                currency_code: Some(code),
                ..Default::default()
            })
        },
    ),
];
