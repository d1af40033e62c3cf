//! A node beside a real standby: what is only shown is read there and says how
//! old it is, no change is hidden by it, and a sale knows nothing of it.

use std::collections::BTreeSet;
use std::time::Duration;

use prost_types::{FieldMask, Timestamp};
use tonic::transport::Channel;
use usher::clock::{Clock, SystemClock};
use usher::proto::v1 as wire;
use usher::proto::v1::pay_reservation_request::Method;
use usher::proto::v1::top_up_wallet_request::Source;

use crate::house::House;
use crate::postgres::Postgres;
use crate::raw::get;
use crate::whole::{Caller, Whole};

/// Longer than anything takes here, on a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const LAG_MAX_MS: u64 = 2_000;
/// Between the database's clock and the steps of this process's own.
const CLOCKS_MS: u64 = 5;
const LIST_CONCERTS: &str = "/usher.v1.CatalogService/ListConcerts";
const GET_CONCERT: &str = "/usher.v1.CatalogService/GetConcert";
const UPDATE_CONCERT: &str = "/usher.v1.AdminService/UpdateConcert";
const GET_RESERVATION: &str = "/usher.v1.ReservationService/GetReservation";
const TOP_UP: &str = "/usher.v1.PaymentService/TopUpWallet";
const PAY: &str = "/usher.v1.PaymentService/PayReservation";
const CLOCK: &str = "SELECT CAST(FLOOR(EXTRACT(EPOCH FROM clock_timestamp()) * 1000) AS BIGINT)";

/// What may be read from a standby, and the mark that says how new it is.
const SHOWN: [&str; 8] = [
    "concerts",
    "marks",
    "performances",
    "protects",
    "sales_days",
    "sales_figures",
    "sections",
    "sold_outs",
];

/// One concert, a room in front of it, and nothing kept in memory.
struct Shop {
    primary: Postgres,
    standby: Postgres,
    database: String,
    app: Whole,
    channel: Channel,
    root: Caller,
    house: House,
}

fn ms(time: Option<Timestamp>) -> u64 {
    let time = time.expect("a time");
    let seconds = u64::try_from(time.seconds).expect("after 1970");
    seconds * 1_000 + u64::try_from(time.nanos).expect("a part") / 1_000_000
}

impl Shop {
    async fn open() -> Self {
        let primary = Postgres::start_not_synced();
        let database = primary.create(None);
        let standby = primary.standby();
        let app = Whole::start(&[
            ("USHER_DATABASE_URL", &primary.url(&database)),
            ("USHER_DATABASE__REPLICA_URL", &standby.url(&database)),
            (
                "USHER_DATABASE__REPLICA_LAG_MAX_MS",
                &LAG_MAX_MS.to_string(),
            ),
            ("USHER_CATALOG__CACHE_TTL_MS", "0"),
        ])
        .await;
        let channel = app.channel().await;
        let root = Caller::admin(&channel);
        let house = House::build(&app, &root).await;
        let shop = Self {
            primary,
            standby,
            database,
            app,
            channel,
            root,
            house,
        };
        shop.until_read_by("standby").await;
        shop
    }

    /// The concert on its page. However old, it says so, and is within the bound.
    async fn listed(&self) -> (wire::Concert, u64) {
        let asked_at = SystemClock.now().0;
        let call = self.root.call(LIST_CONCERTS);
        let call = call.message(&wire::ListConcertsRequest::default());
        let page: wire::ListConcertsResponse = call.send(&self.channel).await.ok();
        let as_of = ms(page.as_of);
        assert!(
            as_of + LAG_MAX_MS + CLOCKS_MS >= asked_at,
            "as of {as_of}, asked at {asked_at}"
        );
        let concert = page.concerts.into_iter().next();
        (concert.expect("a concert"), as_of)
    }

    async fn name(&self) -> String {
        let of = wire::GetConcertRequest {
            concert_id: self.listed().await.0.id,
        };
        let call = self.root.call(GET_CONCERT).message(&of);
        let read: wire::GetConcertResponse = call.send(&self.channel).await.ok();
        read.concert.expect("a concert").name
    }

    /// As an operator does it; answers when it is done.
    async fn rename(&self, name: &str) {
        let (mut concert, _) = self.listed().await;
        name.clone_into(&mut concert.name);
        let update = wire::UpdateConcertRequest {
            etag: concert.etag.clone(),
            concert: Some(concert),
            update_mask: Some(FieldMask {
                paths: vec!["name".to_owned()],
            }),
        };
        let call = self.root.call(UPDATE_CONCERT).message(&update);
        let _: wire::UpdateConcertResponse = call.send(&self.channel).await.ok();
    }

    /// Reads that ended so, as `/metrics` counts them.
    fn reads(&self, outcome: &str) -> u64 {
        let name = format!("usher_sql_standby_reads_total{{outcome=\"{outcome}\"}} ");
        let text = self.app.metrics.render();
        let count = text.lines().find_map(|line| line.strip_prefix(&name));
        count.map_or(0, |count| count.parse().expect("a number"))
    }

    async fn until_read_by(&self, outcome: &str) {
        let before = self.reads(outcome);
        let reading = async {
            let mut looks = tokio::time::interval(LOOK_EVERY);
            while self.reads(outcome) == before {
                looks.tick().await;
                self.listed().await;
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        assert!(read.is_ok(), "no read by {outcome}");
    }

    fn clock_ms(&self) -> u64 {
        let said = self.primary.sql(&self.database, CLOCK);
        said.trim().parse().expect("a number")
    }

    /// From the line to the ticket.
    async fn sell(&self, user: &str) {
        let buyer = Caller::named(&self.channel, user);
        let buyer = buyer
            .clone()
            .with("x-usher-pass", &self.house.pass(&buyer).await);
        let free = self.house.seats_available(&buyer).await;
        let hold = async || -> wire::HoldSeatsResponse {
            self.house.hold(&buyer).send(&self.channel).await.ok()
        };
        let held = hold().await.reservation.expect("a hold");
        let again = hold().await.reservation.expect("the same hold");
        assert_eq!(again, held, "the answer first given");
        assert_eq!(self.house.seats_available(&buyer).await, free - 1);

        let money = wire::TopUpWalletRequest {
            amount: held.total.clone(),
            source: Some(Source::Sandbox(wire::SandboxSource {})),
            idempotency_key: "top-up".to_owned(),
        };
        let call = buyer.call(TOP_UP).message(&money);
        let _: wire::TopUpWalletResponse = call.send(&self.channel).await.ok();
        let pay = wire::PayReservationRequest {
            reservation_id: held.id.clone(),
            method: Some(Method::Wallet(wire::WalletSource {})),
            coupon_id: None,
            idempotency_key: "pay".to_owned(),
        };
        let pay = async || -> wire::PayReservationResponse {
            let call = buyer.call(PAY).message(&pay);
            call.send(&self.channel).await.ok()
        };
        let paid = pay().await.payment.expect("a payment");
        assert_eq!(paid.state(), wire::PaymentState::Succeeded);
        let again = pay().await.payment.expect("the same payment");
        assert_eq!(again.id, paid.id, "the answer first given");
        let of = wire::GetReservationRequest {
            reservation_id: held.id,
        };
        let call = buyer.call(GET_RESERVATION).message(&of);
        let read: wire::GetReservationResponse = call.send(&self.channel).await.ok();
        let bought = read.reservation.expect("a reservation");
        assert_eq!(bought.state(), wire::ReservationState::Confirmed);
        assert_eq!(bought.tickets.len(), 1);
    }

    async fn is_ready(&self) -> bool {
        get(self.app.addr, "/readyz").await.1 == "ready\n"
    }
}

/// The tables that statements name.
fn tables(asked: &str) -> BTreeSet<String> {
    const BEFORE: [&str; 5] = ["FROM", "JOIN", "INTO", "UPDATE", "TABLE"];
    let is_between = |c: char| c.is_whitespace() || "(),;\"".contains(c);
    let words: Vec<&str> = asked
        .split(is_between)
        .filter(|word| !word.is_empty())
        .collect();
    let named = words.windows(2).filter(|pair| {
        let is_query = pair[1].eq_ignore_ascii_case("SELECT");
        !is_query && BEFORE.contains(&pair[0].to_uppercase().as_str())
    });
    named.map(|pair| pair[1].to_owned()).collect()
}

/// One pair of servers for all: they take longer to start than all that follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_shows_within_its_bound_and_decides_nothing() {
    let shop = Shop::open().await;
    a_frozen_standby_is_not_read_for_long(&shop).await;
    a_sale_is_made_beside_a_frozen_standby(&shop).await;
    a_standby_was_asked_for_nothing_but_what_is_shown(&shop);
    a_change_is_shown_at_once_beside_a_standby_that_lags(&shop).await;
    a_standby_that_dies_is_left_until_it_is_back(&shop).await;
    a_standby_that_goes_its_own_way_is_left(&shop).await;
    shop.app.stop().await;
}

/// Its replay is paused: it streams, and shows what it showed.
async fn a_frozen_standby_is_not_read_for_long(shop: &Shop) {
    let (before, _) = shop.listed().await;
    shop.standby.freeze();
    // Nobody tells the node: an old page says that it is of before.
    let change = "UPDATE concerts SET name = 'Untold'";
    shop.primary.sql(&shop.database, change);
    let changed_by = shop.clock_ms();
    let reading = async {
        loop {
            let (concert, as_of) = shop.listed().await;
            if concert.name != before.name {
                break;
            }
            assert!(as_of <= changed_by, "old as of {as_of}");
        }
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    assert!(read.is_ok(), "old pages never end");
    shop.until_read_by("behind").await;
}

async fn a_sale_is_made_beside_a_frozen_standby(shop: &Shop) {
    shop.sell("first").await;
    shop.rename("Told").await;
    assert_eq!(shop.name().await, "Told");
    assert!(shop.is_ready().await);
    shop.standby.thaw();
    shop.until_read_by("standby").await;
    assert_eq!(shop.name().await, "Told");
    shop.sell("second").await;
    shop.until_read_by("standby").await;
}

fn a_standby_was_asked_for_nothing_but_what_is_shown(shop: &Shop) {
    let asked = shop.standby.asked_by("usher");
    let tables = tables(&asked);
    assert!(tables.contains("concerts"), "it was read: {asked}");
    let shown = |table: &String| SHOWN.contains(&table.as_str()) || table.starts_with("pg_");
    assert!(tables.iter().all(shown), "{tables:?}");
}

/// It applies each commit later than whoever made it looks.
async fn a_change_is_shown_at_once_beside_a_standby_that_lags(shop: &Shop) {
    let lag = "ALTER SYSTEM SET recovery_min_apply_delay = '300ms'";
    shop.standby.sql("postgres", lag);
    shop.standby.sql("postgres", "SELECT pg_reload_conf()");
    for name in ["One", "Two", "Three"] {
        shop.until_read_by("standby").await;
        let before = shop.clock_ms();
        shop.rename(name).await;
        for _ in 0..3 {
            assert_eq!(shop.name().await, name);
            let (_, as_of) = shop.listed().await;
            assert!(as_of >= before, "as of {as_of}, changed after {before}");
        }
    }
    assert!(shop.reads("changed") > 0);
}

async fn a_standby_that_dies_is_left_until_it_is_back(shop: &Shop) {
    shop.standby.kill();
    shop.sell("third").await;
    shop.until_read_by("behind").await;
    assert!(shop.is_ready().await, "it is not needed");
    shop.standby.restart();
    shop.until_read_by("standby").await;
}

async fn a_standby_that_goes_its_own_way_is_left(shop: &Shop) {
    shop.standby.sql("postgres", "SELECT pg_promote()");
    let own = "UPDATE concerts SET name = 'Of another history'";
    shop.standby.sql(&shop.database, own);
    // What is counted may be of before; the second time it is not.
    shop.until_read_by("behind").await;
    shop.until_read_by("behind").await;
    assert_ne!(shop.name().await, "Of another history");
    shop.sell("fourth").await;
    assert!(shop.is_ready().await);
}
