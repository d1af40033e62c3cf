//! Which implementation stands behind each seam, and how the services are made
//! of them: chosen here, once.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::ServiceBuilder;

use crate::bus::{BusEvent, BusMessage};
use crate::config::{AuthMode, Config};
use crate::domain::time::UnixMs;
use crate::fanout::event::DrainReason;
use crate::grpc::admin::Admin;
use crate::grpc::auth::gate::{AdmitLayer, IdentifyLayer};
use crate::grpc::catalog::Catalog;
use crate::grpc::catalog::feed::SeatFeeds;
use crate::grpc::coupon::Coupons;
use crate::grpc::edge::{Edge, EdgeSettings};
use crate::grpc::limits::seats::{Seats, StreamSeats};
use crate::grpc::limits::{LimitSettings, RateLimits};
use crate::grpc::payment::Payments;
use crate::grpc::queue::Queue;
use crate::grpc::reservation::Reservations;
use crate::metrics::STREAMS_REFUSED;
use crate::proto::v1::admin_service_server::AdminServiceServer;
use crate::proto::v1::catalog_service_server::CatalogServiceServer;
use crate::proto::v1::coupon_service_server::CouponServiceServer;
use crate::proto::v1::payment_service_server::PaymentServiceServer;
use crate::proto::v1::queue_service_server::QueueServiceServer;
use crate::proto::v1::reservation_service_server::ReservationServiceServer;
use crate::redis_link::RedisClient;
use crate::view::catalog::CatalogCache;

use super::authentication::authenticator;
use super::keyring;
use super::node::{Node, POLL_AFTER_MS};
use super::payments;
use super::stores::Stores;
use super::{Readiness, Services, StartError};

const PRUNE_EVERY: Duration = Duration::from_secs(60);
const WARM_UP_EVERY: Duration = Duration::from_secs(2);

/// The services of one node.
///
/// # Errors
/// [`StartError::Setting`] for keys of user tokens that cannot be used, and for
/// development mode where others can reach it.
pub async fn services(
    config: &Config,
    stores: &Stores,
    node: &Node,
) -> Result<Services, StartError> {
    let draining = CancellationToken::new();
    let feeds = Arc::new(SeatFeeds::new(Arc::clone(&stores.sql) as _));
    follow_catalog(node, Arc::clone(&feeds), Arc::clone(&stores.catalog)).await?;
    keep_warm(config, stores, node);
    let limits = RateLimits::new(&LimitSettings {
        join_per_minute: config.limits.join_per_minute,
        stream_open_per_minute: config.limits.stream_open_per_minute,
        money_per_minute: config.limits.money_per_minute,
        coupon_per_minute: config.limits.coupon_per_minute,
        trusted_proxies: config.limits.trusted_proxies,
    });
    prune_limits(node, limits.clone());
    let of = |max, limit| Seats::new(max, stores.metrics.counter(&STREAMS_REFUSED, &[limit]));
    let seats = StreamSeats::new(
        of(config.stream.streams_per_user, "user"),
        of(config.stream.streams_per_address, "address"),
        config.limits.trusted_proxies,
    );
    keyring::follow(config, stores, node);
    let authenticator = Arc::new(authenticator(&config.auth, &stores.keys)?);
    let grpc = routes(config, edge(config, stores, node, draining.clone()), feeds);
    let grpc = grpc.into_axum_router().layer(
        ServiceBuilder::new()
            .layer(IdentifyLayer::new(authenticator, Arc::clone(&stores.clock)))
            .layer(limits)
            .layer(seats)
            .layer(AdmitLayer),
    );
    let keys = Arc::clone(&stores.keys);
    let hub = Arc::clone(&node.hub);
    let spread_ms = config.stream.reconnect_spread_ms;
    Ok(Services {
        grpc: Routes::from(grpc),
        http: payments::webhooks(config, &node.sale, &stores.clock),
        jwks: Arc::new(move || keys.current().passes.jwks()),
        readiness: Arc::new(NodeReadiness {
            engine: Arc::clone(&node.engine),
            keys: Arc::clone(&stores.keys),
            redis: node.redis.clone(),
        }),
        drain: Arc::new(move || {
            draining.cancel();
            hub.drain_all(DrainReason::Shutdown, spread_ms);
        }),
    })
}

/// Ready while the database answers, and the keys are those of other nodes.
/// Redis is away for all nodes or for none: were they unready, nobody would
/// serve those who have their turn, which needs no Redis.
struct NodeReadiness {
    engine: Arc<crate::engine::ticker::Engine>,
    keys: Arc<crate::keys::live::LiveKeys>,
    redis: Option<RedisClient>,
}

impl Readiness for NodeReadiness {
    fn ready(&self) -> Result<(), String> {
        if self.engine.is_degraded() {
            return Err("the database does not answer".to_owned());
        }
        self.keys.trouble().map_or(Ok(()), Err)
    }

    fn lacks(&self) -> Option<String> {
        self.redis.as_ref().and_then(RedisClient::trouble)
    }
}

fn edge(config: &Config, stores: &Stores, node: &Node, draining: CancellationToken) -> Arc<Edge> {
    Arc::new(Edge {
        engine: Arc::clone(&node.engine),
        sale: node.sale.clone(),
        showing: Arc::clone(&stores.sql) as _,
        catalog: Arc::clone(&stores.catalog),
        views: Arc::clone(&node.views),
        hub: Arc::clone(&node.hub),
        keys: Arc::clone(&stores.keys),
        clock: Arc::clone(&stores.clock),
        entropy: Arc::clone(&stores.entropy),
        draining,
        settings: EdgeSettings {
            poll_after_ms: POLL_AFTER_MS,
            sandbox: config.auth.mode == AuthMode::Dev,
            heartbeat_interval_ms: config.stream.heartbeat_interval_ms,
            write_stall_ms: config.stream.write_stall_ms,
        },
    })
}

fn routes(config: &Config, edge: Arc<Edge>, feeds: Arc<SeatFeeds>) -> Routes {
    let bytes_max = config.limits.request_bytes_max;
    let queue = QueueServiceServer::new(Queue::new(Arc::clone(&edge)));
    let catalog = CatalogServiceServer::new(Catalog::new(Arc::clone(&edge), feeds));
    let reservations = ReservationServiceServer::new(Reservations::new(Arc::clone(&edge)));
    let payments = PaymentServiceServer::new(Payments::new(Arc::clone(&edge)));
    let coupons = CouponServiceServer::new(Coupons::new(Arc::clone(&edge)));
    let admin = AdminServiceServer::new(Admin::new(edge));
    Routes::new(queue.max_decoding_message_size(bytes_max))
        .add_service(catalog.max_decoding_message_size(bytes_max))
        .add_service(reservations.max_decoding_message_size(bytes_max))
        .add_service(payments.max_decoding_message_size(bytes_max))
        .add_service(admin.max_decoding_message_size(bytes_max))
        .add_service(coupons.max_decoding_message_size(bytes_max))
}

/// What is kept of the catalog and of campaigns, and seat maps that someone
/// watches, are read again when the bus says so.
async fn follow_catalog(
    node: &Node,
    feeds: Arc<SeatFeeds>,
    catalog: Arc<CatalogCache>,
) -> Result<(), StartError> {
    let sale = node.sale.clone();
    let mut bus = node
        .bus
        .subscribe()
        .await
        .map_err(|error| StartError::Store {
            why: error.to_string(),
        })?;
    node.spawn("catalog", async move {
        while let Some(event) = bus.next().await {
            catalog.heard(&event);
            sale.heard(&event);
            match event {
                BusEvent::Message(BusMessage::Seats { performance }) => {
                    feeds.changed(&performance);
                }
                BusEvent::Message(
                    BusMessage::Room(..)
                    | BusMessage::RoomChanged(_)
                    | BusMessage::CatalogChanged
                    | BusMessage::SoldOutTurned { .. }
                    | BusMessage::CampaignChanged { .. },
                )
                | BusEvent::RoomGap(_) => {}
                BusEvent::Gap => feeds.all_changed(),
            }
        }
    });
    Ok(())
}

/// What a room protects is read before it opens.
fn keep_warm(config: &Config, stores: &Stores, node: &Node) {
    let warm_up_ms = config.catalog.warm_up_ms;
    if warm_up_ms == 0 || config.catalog.cache_ttl_ms == 0 {
        return;
    }
    let (engine, catalog) = (Arc::clone(&node.engine), Arc::clone(&stores.catalog));
    let clock = Arc::clone(&stores.clock);
    node.every("warm up", WARM_UP_EVERY, move || {
        let (engine, catalog) = (Arc::clone(&engine), Arc::clone(&catalog));
        let now = clock.now();
        async move {
            for room in engine.rooms().all() {
                let policy = room.record().policy.clone();
                let opens_soon = |at: UnixMs| now < at && at <= now.plus_ms(warm_up_ms);
                if policy.opens_at.is_some_and(opens_soon) {
                    catalog.warm_up(&policy.protects).await;
                }
            }
        }
    });
}

fn prune_limits(node: &Node, limits: RateLimits) {
    node.every("prune limits", PRUNE_EVERY, move || {
        limits.prune();
        std::future::ready(())
    });
}
