//! Pages of lists, and what else a read may be asked by.

use usher::proto::v1 as wire;

use super::{Field, bytes, field};

/// Size and token of a page. The paths are `page_size` and `page_token`.
pub const PAGES: &[Field<(i32, String)>] = &[
    field(
        "QueueService/ListRooms",
        "page_token",
        |_, (page_size, page_token)| {
            bytes(wire::ListRoomsRequest {
                page_size,
                page_token,
            })
        },
    ),
    field(
        "CatalogService/ListConcerts",
        "page_token",
        |_, (page_size, page_token)| {
            bytes(wire::ListConcertsRequest {
                order: 0,
                page_size,
                page_token,
            })
        },
    ),
    field(
        "CatalogService/ListPerformances",
        "page_token",
        |world, (page_size, page_token)| {
            bytes(wire::ListPerformancesRequest {
                concert_id: world.concert.clone(),
                page_size,
                page_token,
            })
        },
    ),
    field(
        "ReservationService/ListReservations",
        "page_token",
        |_, (page_size, page_token)| {
            bytes(wire::ListReservationsRequest {
                page_size,
                page_token,
            })
        },
    ),
    field(
        "CouponService/ListCoupons",
        "page_token",
        |_, (page_size, page_token)| {
            bytes(wire::ListCouponsRequest {
                page_size,
                page_token,
            })
        },
    ),
    field(
        "AdminService/ListVoidedTickets",
        "page_token",
        |world, (page_size, page_token)| {
            bytes(wire::ListVoidedTicketsRequest {
                performance_id: world.given_back.clone(),
                since: None,
                page_size,
                page_token,
            })
        },
    ),
    field(
        "PaymentService/ListWalletEntries",
        "page_token",
        |_, (page_size, page_token)| {
            bytes(wire::ListWalletEntriesRequest {
                currency_code: None,
                page_size,
                page_token,
            })
        },
    ),
];
