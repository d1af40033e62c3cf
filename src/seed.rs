//! A catalog from a file, or the demo's: concerts, their performances, and the
//! rooms that protect them.
//!
//! A file's seeding may be repeated and resumed: what exists already is left as
//! it is. The demo is made whole, and only in an empty database.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::domain::ids::{IdempotencyKey, ResourceId, RoomId, UserId};
use crate::domain::policy::{Protects, RoomPolicy};
use crate::domain::sale::catalog::{NewConcert, NewPerformance};
use crate::domain::sale::currency::Currency;
use crate::entropy::Entropy;
use crate::store::rooms::{NewRoom, RoomsError};
use crate::store::sales::{FirstCatalog, Once, SalesError, SalesStore};

mod demo;
mod file;
mod table;
#[cfg(test)]
mod tests;

pub use demo::demo_catalog;
pub use file::parse_json;
pub use table::parse_csv;

#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("cannot read {path}: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("not a catalog: {0}")]
    Format(String),
    #[error("concert {concert}: {source}")]
    Sale {
        concert: ResourceId,
        source: SalesError,
    },
    #[error("room {room}: {source}")]
    Room { room: RoomId, source: RoomsError },
    #[error(transparent)]
    Store(SalesError),
}

/// Everything to create, with ids of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    pub concerts: Vec<SeedConcert>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedConcert {
    pub id: ResourceId,
    pub concert: NewConcert,
    pub performances: Vec<SeedPerformance>,
    /// Protects the concert; none: no pass is needed.
    pub room: Option<SeedRoom>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedPerformance {
    pub id: ResourceId,
    pub terms: NewPerformance,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedRoom {
    pub id: RoomId,
    pub display_name: String,
    pub policy: RoomPolicy,
}

/// What was created; what was there already does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seeded {
    pub concerts: u32,
    pub performances: u32,
    pub rooms: u32,
}

/// Creates the catalog, whole, in a database that has neither a concert nor a
/// room; answers whether it did.
///
/// # Errors
/// [`SeedError`]; then nothing was created.
pub async fn seed_first(
    store: &dyn SalesStore,
    entropy: &dyn Entropy,
    catalog: Catalog,
) -> Result<bool, SeedError> {
    let mut first = FirstCatalog::default();
    for seed in catalog.concerts {
        if let Some(room) = &seed.room {
            first.rooms.push(new_room(entropy, &seed.id, room)?);
        }
        let performances = seed.performances.into_iter();
        first
            .performances
            .extend(performances.map(|performance| (performance.id, performance.terms)));
        first.concerts.push((seed.id, seed.concert));
    }
    store.create_first(first).await.map_err(SeedError::Store)
}

/// Reads and seeds a file: a table if it is called `.csv`, else JSON. Prices
/// are in one of `currencies`, those of the wallets.
///
/// # Errors
/// [`SeedError`], naming what cannot be.
pub async fn seed_file(
    store: &dyn SalesStore,
    entropy: &dyn Entropy,
    path: &Path,
    currencies: &[Currency],
) -> Result<Seeded, SeedError> {
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| SeedError::Read {
            path: path.display().to_string(),
            source,
        })?;
    let is_table = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let catalog = match is_table {
        true => parse_csv(&text)?,
        false => parse_json(&text)?,
    };
    check_payable(&catalog, currencies)?;
    seed(store, entropy, &catalog).await
}

/// What no wallet can hold the price of would be on sale to nobody.
fn check_payable(catalog: &Catalog, currencies: &[Currency]) -> Result<(), SeedError> {
    let performances = catalog.concerts.iter().flat_map(|one| &one.performances);
    for performance in performances {
        let currency = performance.terms.currency();
        if let Some(currency) = currency.filter(|one| !currencies.contains(one)) {
            let why = format!(
                "{}: currency {currency} is not among wallet.currencies",
                performance.id
            );
            return Err(SeedError::Format(why));
        }
    }
    Ok(())
}

/// Creates what is not there yet.
///
/// # Errors
/// [`SeedError`], naming what cannot be; what came before it stays.
pub async fn seed(
    store: &dyn SalesStore,
    entropy: &dyn Entropy,
    catalog: &Catalog,
) -> Result<Seeded, SeedError> {
    let mut seeded = Seeded::default();
    for concert in &catalog.concerts {
        refuse_foreign_room(store, concert).await?;
        seed_concert(store, entropy, concert, &mut seeded).await?;
        if let Some(room) = &concert.room
            && seed_room(store, entropy, &concert.id, room).await?
        {
            seeded.rooms += 1;
        }
    }
    Ok(seeded)
}

/// A new concert must not go on sale beside the room that should protect it.
/// One that is there already is the operator's.
async fn refuse_foreign_room(store: &dyn SalesStore, seed: &SeedConcert) -> Result<(), SeedError> {
    let Some(room) = &seed.room else {
        return Ok(());
    };
    match store.concert(seed.id.clone()).await {
        Ok(_) => return Ok(()),
        Err(SalesError::NotFound) => {}
        Err(source) => return Err(in_sale(seed)(source)),
    }
    match store.room(&room.id).await {
        Ok(there) if !there.policy.protects.concerts.contains(&seed.id) => {
            let why = format!(
                "{}: room {} is there already and does not protect it",
                seed.id, room.id
            );
            Err(SeedError::Format(why))
        }
        Ok(_) | Err(RoomsError::UnknownRoom) => Ok(()),
        Err(source) => Err(SeedError::Room {
            room: room.id.clone(),
            source,
        }),
    }
}

fn in_sale(seed: &SeedConcert) -> impl Fn(SalesError) -> SeedError {
    |source| SeedError::Sale {
        concert: seed.id.clone(),
        source,
    }
}

async fn seed_concert(
    store: &dyn SalesStore,
    entropy: &dyn Entropy,
    seed: &SeedConcert,
    seeded: &mut Seeded,
) -> Result<(), SeedError> {
    let in_sale = in_sale(seed);
    match store.concert(seed.id.clone()).await {
        Ok(_) => {}
        Err(SalesError::NotFound) => {
            let (id, concert) = (seed.id.clone(), seed.concert.clone());
            let once = once(entropy).map_err(&in_sale)?;
            let made = store.create_concert(once, id, concert).await;
            made.map_err(&in_sale)?;
            seeded.concerts += 1;
        }
        Err(error) => return Err(in_sale(error)),
    }
    for performance in &seed.performances {
        match store.performance(performance.id.clone()).await {
            Ok(there) if there.terms.concert == seed.id => {}
            Ok(there) => {
                let why = format!(
                    "performance {} is there already, of concert {}",
                    performance.id, there.terms.concert
                );
                return Err(SeedError::Format(format!("{}: {why}", seed.id)));
            }
            Err(SalesError::NotFound) => {
                let (id, terms) = (performance.id.clone(), performance.terms.clone());
                let once = once(entropy).map_err(&in_sale)?;
                let made = store.create_performance(once, id, terms).await;
                made.map_err(&in_sale)?;
                seeded.performances += 1;
            }
            Err(error) => return Err(in_sale(error)),
        }
    }
    Ok(())
}

/// Whether it was made.
async fn seed_room(
    store: &dyn SalesStore,
    entropy: &dyn Entropy,
    concert: &ResourceId,
    seed: &SeedRoom,
) -> Result<bool, SeedError> {
    match store.create_room(new_room(entropy, concert, seed)?).await {
        Ok(_) => Ok(true),
        Err(RoomsError::RoomExists) => Ok(false),
        Err(source) => Err(SeedError::Room {
            room: seed.id.clone(),
            source,
        }),
    }
}

fn new_room(
    entropy: &dyn Entropy,
    concert: &ResourceId,
    seed: &SeedRoom,
) -> Result<NewRoom, SeedError> {
    let mut draw_secret = [0; 32];
    entropy.fill(&mut draw_secret);
    let policy = RoomPolicy {
        protects: Protects {
            concerts: vec![concert.clone()],
            ..Protects::default()
        },
        ..seed.policy.clone()
    };
    if let Err(bad) = policy.validate() {
        return Err(SeedError::Format(format!("room {}: {bad}", seed.id)));
    }
    Ok(NewRoom {
        id: seed.id.clone(),
        display_name: seed.display_name.clone(),
        policy,
        draw_secret,
        asked: None,
    })
}

/// The ids make a repeat harmless; the key is new each time.
fn once(entropy: &dyn Entropy) -> Result<Once, SalesError> {
    let text = |error: crate::domain::ids::IdError| SalesError::Unavailable(error.to_string());
    Ok(Once {
        user: UserId::parse("seed").map_err(text)?,
        key: IdempotencyKey::parse(&entropy.uuid().to_string()).map_err(text)?,
        trace: None,
    })
}
