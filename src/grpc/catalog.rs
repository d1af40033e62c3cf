//! Concerts, performances and their seats.

use std::sync::Arc;

use serde::Serialize;
use tonic::{Request, Response, Status};

use crate::domain::ids::{ActivationId, ResourceId, UserId};
use crate::domain::sale::catalog::Concert;
use crate::proto::v1 as wire;
use crate::proto::v1::catalog_service_server::CatalogService;
use crate::store::inbox::RankedBy;
use crate::store::sales::{Admission, Listing};
use crate::store::showing::AsOf;

use super::decode;
use super::edge::{Edge, Messages, open};
use super::encode::{self, timestamp};
use super::limits::seats::StreamSeat;
use super::status::Refusal;

pub mod feed;
pub mod watch;

use feed::SeatFeeds;
use watch::SeatWatch;

/// Serves `CatalogService`.
#[derive(Clone)]
pub struct Catalog {
    edge: Arc<Edge>,
    feeds: Arc<SeatFeeds>,
}

/// Seats asked for by someone who may see them.
pub(super) struct Admitted {
    pub user: UserId,
    pub performance: ResourceId,
    pub activation: Option<ActivationId>,
    pub admission: Admission,
}

impl Catalog {
    #[must_use]
    pub fn new(edge: Arc<Edge>, feeds: Arc<SeatFeeds>) -> Self {
        Self { edge, feeds }
    }

    async fn concerts(
        &self,
        message: &wire::ListConcertsRequest,
    ) -> Result<wire::ListConcertsResponse, Refusal> {
        const SCOPE: [&str; 1] = ["ListConcerts"];
        match wire::ConcertOrder::try_from(message.order) {
            Ok(wire::ConcertOrder::Unspecified | wire::ConcertOrder::OpeningSoon) => {}
            Ok(wire::ConcertOrder::Popular) => {
                return self.ranked(RankedBy::Popular, "POPULAR", message).await;
            }
            Ok(wire::ConcertOrder::FastestSoldOut) => {
                let by = RankedBy::FastestSoldOut;
                return self.ranked(by, "FASTEST_SOLD_OUT", message).await;
            }
            Err(_) => {
                let why = "is not a value of this version";
                return Err(decode::FieldError::invalid("order", why).into());
            }
        }
        let page = self
            .edge
            .page(&SCOPE, message.page_size, &message.page_token)?;
        let listing = self.edge.catalog.concerts(page).await?;
        Ok(self.page_of_concerts(&SCOPE, &listing))
    }

    async fn ranked(
        &self,
        by: RankedBy,
        order: &str,
        message: &wire::ListConcertsRequest,
    ) -> Result<wire::ListConcertsResponse, Refusal> {
        let scope = ["ListConcerts", order];
        let page = self
            .edge
            .page(&scope, message.page_size, &message.page_token)?;
        let listing = self.edge.catalog.ranked_concerts(by, page).await?;
        Ok(self.page_of_concerts(&scope, &listing))
    }

    fn page_of_concerts<C: Serialize>(
        &self,
        scope: &[&str],
        listing: &AsOf<Listing<Concert, C>>,
    ) -> wire::ListConcertsResponse {
        wire::ListConcertsResponse {
            concerts: listing
                .items
                .iter()
                .cloned()
                .map(encode::sale::concert)
                .collect(),
            next_page_token: self.edge.next_page_token(scope, listing.next.as_ref()),
            as_of: Some(timestamp(listing.as_of)),
        }
    }

    async fn concert(
        &self,
        message: &wire::GetConcertRequest,
    ) -> Result<wire::GetConcertResponse, Refusal> {
        let id = decode::resource_id("concert_id", &message.concert_id)?;
        let concert = self.edge.catalog.concert(id).await?;
        Ok(wire::GetConcertResponse {
            concert: Some(encode::sale::concert(concert.value.clone())),
            as_of: Some(timestamp(concert.as_of)),
        })
    }

    async fn performances(
        &self,
        message: &wire::ListPerformancesRequest,
    ) -> Result<wire::ListPerformancesResponse, Refusal> {
        let concert = decode::resource_id("concert_id", &message.concert_id)?;
        let scope = ["ListPerformances", concert.as_str()];
        let page = self
            .edge
            .page(&scope, message.page_size, &message.page_token)?;
        let listing = self
            .edge
            .catalog
            .performances(concert.clone(), page)
            .await?;
        let performances = listing.items.iter().cloned();
        Ok(wire::ListPerformancesResponse {
            performances: performances.map(encode::sale::performance).collect(),
            next_page_token: self.edge.next_page_token(&scope, listing.next.as_ref()),
            as_of: Some(timestamp(listing.as_of)),
        })
    }

    /// Whether the caller may see the seats of a performance now.
    async fn admit<T>(
        &self,
        request: Request<T>,
        performance_id: impl Fn(&T) -> &str,
    ) -> Result<(Admitted, T), Refusal> {
        let pass = self.edge.pass(&request)?;
        let (user, message) = open(request)?;
        let performance = decode::resource_id("performance_id", performance_id(&message))?;
        let activation = pass.map(|pass| pass.activation);
        let admission = self
            .edge
            .sale
            .store()
            .check_pass(user.clone(), performance.clone(), activation)
            .await?;
        let admitted = Admitted {
            user,
            performance,
            activation,
            admission,
        };
        Ok((admitted, message))
    }

    async fn seat_map(
        &self,
        request: Request<wire::GetSeatMapRequest>,
    ) -> Result<wire::GetSeatMapResponse, Refusal> {
        let (admitted, _) = self
            .admit(request, |message| &message.performance_id)
            .await?;
        let Admitted {
            performance,
            admission,
            ..
        } = admitted;
        let map = self.edge.catalog.seat_map(&performance, &admission).await?;
        let sections = map.performance.terms.sections.iter().cloned();
        // Read later than it was checked, or as it still was at the check.
        let as_of = map.as_of.max(admission.as_of);
        let seats = map.seats.iter().map(|seat| seat.at(as_of));
        Ok(wire::GetSeatMapResponse {
            sections: sections.map(encode::sale::section).collect(),
            seats: seats.map(encode::sale::seat).collect(),
            cursor: watch::encode_cursor(map.version),
            as_of: Some(timestamp(as_of)),
        })
    }

    async fn watch(
        &self,
        mut request: Request<wire::WatchSeatMapRequest>,
    ) -> Result<SeatWatch, Refusal> {
        let seat = StreamSeat::of(request.extensions_mut());
        let (admitted, message) = self
            .admit(request, |message| &message.performance_id)
            .await?;
        let feed = self.feeds.feed(&admitted.performance);
        let since = message
            .resume_cursor
            .as_deref()
            .and_then(watch::parse_cursor);
        Ok(SeatWatch::new(
            Arc::clone(&self.edge),
            feed,
            admitted,
            since,
            seat,
        ))
    }
}

#[tonic::async_trait]
impl CatalogService for Catalog {
    async fn list_concerts(
        &self,
        request: Request<wire::ListConcertsRequest>,
    ) -> Result<Response<wire::ListConcertsResponse>, Status> {
        self.edge.answer(self.concerts(request.get_ref()).await)
    }

    async fn get_concert(
        &self,
        request: Request<wire::GetConcertRequest>,
    ) -> Result<Response<wire::GetConcertResponse>, Status> {
        self.edge.answer(self.concert(request.get_ref()).await)
    }

    async fn list_performances(
        &self,
        request: Request<wire::ListPerformancesRequest>,
    ) -> Result<Response<wire::ListPerformancesResponse>, Status> {
        self.edge.answer(self.performances(request.get_ref()).await)
    }

    async fn get_seat_map(
        &self,
        request: Request<wire::GetSeatMapRequest>,
    ) -> Result<Response<wire::GetSeatMapResponse>, Status> {
        self.edge.answer(self.seat_map(request).await)
    }

    type WatchSeatMapStream = Messages<wire::WatchSeatMapResponse>;

    async fn watch_seat_map(
        &self,
        request: Request<wire::WatchSeatMapRequest>,
    ) -> Result<Response<Self::WatchSeatMapStream>, Status> {
        let watch = self.watch(request).await;
        self.edge
            .answer_stream(watch.and_then(SeatWatch::into_stream))
    }
}
