//! What every [`SalesStore`](super::SalesStore) must do: the promises of the
//! seam as cases that any adapter's tests run unchanged.
//!
//! Each case gets an empty, migrated store with a clock of its own, and ends
//! with an audit that must be clean.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::SalesStore;
use crate::store::outbox::Outbox;

pub mod abandoned;
pub mod cancelled;
pub mod changes;
pub mod cleaning;
pub mod coupon_model;
pub mod coupons;
pub mod fixture;
pub mod gates;
pub mod holds;
pub mod intents;
pub mod lists;
pub mod money;
pub mod notices;
pub mod parts;
pub mod passes;
pub mod races;
pub mod redeemed;
pub mod refunds;
pub mod seats;
pub mod told;
pub mod top_ups;

pub use fixture::{HOLD_TTL_MS, Sale};

/// An adapter under test.
#[async_trait]
pub trait Subject: Send + Sync + 'static {
    fn store(&self) -> Arc<dyn SalesStore>;

    /// Where the store leaves its events. Nobody else takes them.
    fn outbox(&self) -> Arc<dyn Outbox>;

    /// Moves the database's clock.
    async fn advance_ms(&self, step_ms: u64);
}

/// Runs one promise on an empty store.
///
/// # Panics
/// If the store breaks the promise, or its audit says so afterwards.
pub async fn run(
    name: &str,
    subject: Arc<dyn Subject>,
    case: impl for<'a> FnOnce(&'a Sale) -> BoxFuture<'a, ()>,
) {
    let sale = Sale::new(subject);
    case(&sale).await;
    sale.assert_clean_audit(name).await;
    // Whatever is left is over by then, and still adds up.
    sale.advance_ms(86_400_000).await;
    sale.sweep_all().await;
    sale.assert_clean_audit(name).await;
}

/// Makes a test of each promise. `$open` is an async function that answers an
/// empty store as `Arc<dyn Subject>`.
#[macro_export]
macro_rules! sales_store_conformance {
    ($open:path) => {
        $crate::sales_store_conformance! { @tests $open;
            holds::all_seats_or_none,
            holds::a_choice_that_cannot_be_is_refused,
            holds::an_expired_hold_is_free_at_once_and_dead_for_its_owner,
            holds::the_last_millisecond_of_a_hold_can_be_paid,
            holds::a_hold_is_extended_once,
            holds::a_user_has_at_most_the_limit_held_and_bought_together,
            holds::seats_are_sold_only_in_the_sale_window,
            holds::a_repeat_gets_the_answer_first_given,
            holds::a_key_with_another_request_is_refused,
            holds::refusals_are_not_kept,
            holds::keys_are_forgotten_after_a_day,
            holds::reservations_are_their_owners_alone,
            holds::a_released_hold_frees_its_seats_once,
            seats::the_best_available_are_chosen_inside,
            seats::the_best_available_respect_section_price_and_neighbours,
            seats::expired_holds_are_best_available_again,
            seats::blocked_seats_are_not_sold,
            seats::every_change_raises_the_version,
            seats::a_sale_that_turns_the_room_sold_out_says_so,
            passes::a_protected_performance_needs_its_rooms_pass,
            passes::only_an_active_unexpired_pass_holds,
            passes::payment_completes_the_pass,
            passes::another_live_hold_keeps_the_pass,
            passes::a_hold_outlives_its_pass,
            money::a_top_up_is_between_one_and_the_cap,
            money::only_what_the_wallet_has_is_spent,
            money::a_paid_reservation_is_paid_once,
            money::a_cancellation_refunds_and_voids,
            money::a_resold_seat_has_a_higher_serial,
            money::refunds_never_exceed_the_payment,
            money::a_refund_of_all_takes_back_seats_and_tickets,
            money::a_cancellation_gives_back_what_is_left,
            money::the_price_is_the_one_of_the_hold,
            money::wallets_have_one_balance_per_currency,
            parts::a_hold_goes_on_with_the_seats_that_stay,
            parts::seats_of_a_paid_one_are_freed_and_refunded,
            parts::a_part_after_goodwill_gives_back_what_was_paid_for_it,
            parts::only_seats_that_it_has_are_given_back,
            parts::a_seat_given_back_is_sold_again,
            parts::parts_in_parallel_give_each_seat_back_once,
            gates::a_ticket_is_redeemed_first_by_one,
            gates::only_a_ticket_that_was_sold_and_is_not_void_admits,
            gates::a_redeemed_ticket_is_not_given_back_by_its_owner,
            gates::a_ticket_is_redeemed_or_given_back,
            gates::voided_tickets_are_listed_as_they_were_voided,
            cancelled::a_cancelled_performance_sells_nothing_more,
            cancelled::a_cancelled_performance_gives_all_back,
            cancelled::a_redeemed_ticket_is_refunded_with_the_performance,
            cancelled::a_cancellation_is_done_once,
            cancelled::an_event_asks_for_one_step_however_often_it_comes,
            cancelled::a_room_is_sold_out_when_what_is_left_is_cancelled,
            cancelled::payments_that_race_a_cancellation_are_refunded_or_refused,
            changes::a_change_is_made_from_the_version_it_names,
            changes::a_new_price_is_for_seats_that_nobody_has,
            changes::the_sale_follows_a_window_that_moves,
            cleaning::holds_that_ended_unpaid_are_deleted_in_time,
            cleaning::what_providers_told_is_forgotten_in_time,
            cleaning::declined_intents_are_deleted_in_time,
            cleaning::a_finished_sale_leaves_its_money,
            cleaning::a_cancelled_sale_is_deleted_when_all_is_refunded,
            intents::an_intent_holds_off_everyone_until_it_is_decided,
            intents::an_intent_is_begun_once,
            intents::only_the_first_intent_makes_the_hold_longer,
            intents::money_that_came_in_time_buys_the_seats,
            intents::a_payment_by_a_gateway_completes_the_pass,
            intents::a_declined_intent_leaves_the_hold,
            intents::late_money_gets_its_seats_if_they_are_free,
            intents::late_money_goes_back_if_they_are_not,
            intents::late_money_goes_back_beyond_a_users_limit,
            intents::money_after_a_decline_goes_back,
            intents::refunds_go_back_where_the_money_came_from,
            top_ups::a_top_up_is_posted_once_it_is_captured,
            top_ups::a_top_up_that_a_wallet_cannot_take_goes_back,
            abandoned::what_was_never_begun_may_be_begun_again,
            intents::an_event_is_taken_once,
            intents::what_nobody_told_is_due_after_a_while,
            intents::of_outcomes_at_once_the_first_counts,
            intents::a_cancelled_performance_gives_back_to_the_provider,
            intents::late_money_and_another_hold_never_share_a_seat,
            refunds::a_provider_is_asked_about_its_own_alone,
            refunds::another_amount_sells_nothing_and_goes_back,
            refunds::an_intent_waits_for_its_buyer_until_its_hold_ends,
            refunds::a_user_has_few_undecided_intents,
            refunds::a_refused_refund_is_tried_again_or_closed_once,
            refunds::a_refund_that_was_made_all_the_same_is_done,
            told::a_payment_by_a_provider_says_that_it_began_and_how_it_ended,
            told::another_amount_is_told_as_declined,
            told::what_was_refused_tells_nothing,
            told::an_event_goes_on_with_the_trace_of_its_request,
            told::payments_decided_together_keep_their_traces,
            told::what_a_provider_decides_goes_on_with_the_trace_of_the_payment,
            notices::a_hold_is_asked_for_once_before_it_ends,
            notices::a_hold_that_is_made_longer_is_asked_for_once,
            notices::only_a_hold_that_waits_for_its_payment_is_asked_for,
            notices::a_request_to_pay_is_true_until_it_is_paid,
            notices::who_has_tickets_is_reminded_once,
            notices::who_gave_tickets_back_is_not_reminded,
            notices::a_reminder_is_true_for_one_date,
            notices::steps_at_once_leave_one_notice_each,
            coupons::a_campaign_is_read_as_it_was_created,
            coupons::a_campaign_is_changed_from_the_version_it_names,
            coupons::a_user_has_one_coupon_of_a_campaign,
            coupons::exactly_the_stock_is_issued_to_thousands_at_once,
            coupons::one_user_who_asks_a_hundred_times_at_once_takes_one,
            coupons::a_raised_stock_is_issued_again,
            coupons::a_campaign_that_is_over_issues_nothing,
            coupons::a_protected_campaign_needs_its_rooms_pass,
            coupons::issuing_completes_the_pass,
            coupons::a_room_is_sold_out_when_its_campaigns_are_issued,
            coupons::coupons_are_listed_the_latest_first,
            coupons::an_issued_coupon_is_told_once,
            coupon_model::coupons_live_as_their_model_says,
            redeemed::a_coupon_takes_its_discount_off_and_is_used_once,
            redeemed::only_its_owner_uses_a_coupon_within_its_terms,
            redeemed::of_two_payments_at_once_one_uses_the_coupon,
            redeemed::a_coupon_that_takes_all_off_leaves_nothing_to_pay,
            redeemed::a_coupon_comes_back_with_the_whole_purchase_alone,
            redeemed::a_cancelled_performance_gives_coupons_back,
            redeemed::a_provider_reserves_the_coupon_until_it_decides,
            redeemed::money_that_bought_nothing_uses_no_coupon,
            redeemed::a_wallet_and_a_provider_do_not_share_a_coupon,
            lists::concerts_come_by_the_opening_of_their_sale,
            lists::pages_meet_without_a_gap_or_a_repeat,
            lists::a_performance_is_read_as_it_was_created,
            races::a_hot_seat_has_one_winner,
            races::limits_hold_in_parallel,
            races::the_best_available_are_never_given_twice,
            races::one_of_many_payments_wins,
            races::one_key_has_one_effect_in_parallel,
            races::refunds_in_parallel_stay_within_the_payment,
            races::cancel_and_pay_exclude_each_other,
            races::a_caller_that_goes_away_leaves_nothing_half_done,
        }
    };
    (@tests $open:path; $($module:ident::$case:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                use $crate::store::sales::conformance;
                conformance::run(stringify!($case), $open().await, |sale| {
                    Box::pin(conformance::$module::$case(sale))
                })
                .await;
            }
        )+
    };
}
