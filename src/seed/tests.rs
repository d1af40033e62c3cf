//! Seeding an empty database, twice, and from a file.

use std::sync::Arc;

use tempfile::TempDir;

use super::{Catalog, Seeded, demo_catalog, parse_csv, parse_json, seed, seed_file, seed_first};
use crate::clock::{Clock, ManualClock};
use crate::domain::ids::{ResourceId, RoomId};
use crate::domain::policy::RoomPolicy;
use crate::domain::sale::currency::Currency;
use crate::domain::time::UnixMs;
use crate::entropy::SeededEntropy;
use crate::store::rooms::{NewRoom, RoomRegistry};
use crate::store::sales::{Audit, Catalog as _, Page, SalesError};
use crate::store::sql::SqlStore;

const NOW: UnixMs = UnixMs(1_900_000_000_000);

const FILE: &str = r#"{"concerts": [{
  "id": "aurora", "name": "Aurora Strings", "venue": "Harbour Hall",
  "performances": [{
    "id": "aurora-1",
    "starts_at": "2030-05-01T19:30:00Z", "sale_opens_at": "2030-03-01T10:00:00.250Z",
    "currency": "EUR",
    "sections": [{"name": "Stalls", "price_minor": 6500, "rows": 20, "seats_per_row": 20}]
  }],
  "room": {"id": "aurora", "capacity": 500, "rate_per_s": 50, "claim_window_s": 10}
}]}"#;

fn euro() -> Currency {
    Currency::parse("EUR").unwrap()
}

async fn open() -> (SqlStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    let url = format!("sqlite://{}/usher.db", dir.path().display());
    let store = SqlStore::connect(&url, clock).await.unwrap();
    store.migrate_up().await.unwrap();
    (store, dir)
}

#[tokio::test]
async fn the_demo_has_three_protected_concerts_of_five_thousand_seats() {
    let (store, _dir) = open().await;
    let entropy = SeededEntropy::new(1);
    let demo = demo_catalog(NOW, euro()).unwrap();
    assert!(seed_first(&store, &entropy, demo.clone()).await.unwrap());
    assert!(!seed_first(&store, &entropy, demo.clone()).await.unwrap());
    let again = seed(&store, &entropy, &demo).await.unwrap();
    assert_eq!(again, Seeded::default());

    let concerts = store.concerts(Page::new(10, None)).await.unwrap().items;
    assert_eq!(concerts.len(), 3);
    for concert in concerts {
        assert!(concert.room.is_some());
        let page = Page::new(10, None);
        let performances = store.performances(concert.id, page).await.unwrap().items;
        assert_eq!(performances.len(), 5);
        for performance in performances {
            assert_eq!(performance.room, concert.room);
            assert!(performance.terms.sale_is_open(NOW));
            let map = store.seat_map(performance.id, None).await.unwrap();
            assert_eq!(map.seats.len(), 1_000);
        }
    }
    assert!(store.audit().await.unwrap().is_clean());
}

#[tokio::test]
async fn the_demo_is_made_whole_or_not_at_all() {
    let (store, _dir) = open().await;
    let entropy = SeededEntropy::new(1);
    let mut broken = demo_catalog(NOW, euro()).unwrap();
    broken.concerts[2].performances[4].id = ResourceId::parse("aurora-1").unwrap();
    seed_first(&store, &entropy, broken).await.unwrap_err();
    let concerts = store.concerts(Page::new(10, None)).await.unwrap();
    assert!(concerts.items.is_empty());
    assert!(store.rooms().await.unwrap().is_empty());
    let demo = demo_catalog(NOW, euro()).unwrap();
    assert!(seed_first(&store, &entropy, demo).await.unwrap());
}

#[tokio::test]
async fn the_demo_leaves_an_operators_catalog_alone() {
    let (store, _dir) = open().await;
    let entropy = SeededEntropy::new(1);
    let own = parse_json(FILE).unwrap();
    seed(&store, &entropy, &own).await.unwrap();
    let demo = demo_catalog(NOW, euro()).unwrap();
    assert!(!seed_first(&store, &entropy, demo).await.unwrap());
    let aurora = ResourceId::parse("aurora").unwrap();
    let performances = store.performances(aurora, Page::new(10, None)).await;
    assert_eq!(performances.unwrap().items.len(), 1);
}

#[tokio::test]
async fn the_demo_leaves_an_operators_room_alone() {
    let (store, _dir) = open().await;
    let room = NewRoom {
        id: RoomId::parse("own").unwrap(),
        display_name: "Own".to_owned(),
        policy: RoomPolicy::default(),
        draw_secret: [0; 32],
        asked: None,
    };
    store.create_room(room).await.unwrap();
    let demo = demo_catalog(NOW, euro()).unwrap();
    let made = seed_first(&store, &SeededEntropy::new(1), demo).await;
    assert!(!made.unwrap());
    assert_eq!(store.rooms().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_is_seeded_with_its_room() {
    let (store, dir) = open().await;
    let path = dir.path().join("catalog.json");
    tokio::fs::write(&path, FILE).await.unwrap();
    let seeded = seed_file(&store, &SeededEntropy::new(1), &path, &[euro()]).await;
    let expected = Seeded {
        concerts: 1,
        performances: 1,
        rooms: 1,
    };
    assert_eq!(seeded.unwrap(), expected);
    let id = ResourceId::parse("aurora-1").unwrap();
    let performance = store.performance(id).await.unwrap();
    assert_eq!(performance.terms.sale_opens_at, UnixMs(1_898_589_600_250));
    assert_eq!(performance.terms.seats_total(), 400);
    let room = store.room(&RoomId::parse("aurora").unwrap()).await.unwrap();
    assert_eq!(room.display_name, "Aurora Strings");
    assert_eq!(room.policy.claim_window_ms, 10_000);
    assert_eq!(performance.room, Some(room.id));
    let missing = dir.path().join("no");
    let missing = seed_file(&store, &SeededEntropy::new(1), &missing, &[euro()]).await;
    assert!(missing.unwrap_err().to_string().contains("cannot read"));
}

#[tokio::test]
async fn a_currency_that_no_wallet_has_is_refused_before_anything_is_made() {
    let (store, dir) = open().await;
    let path = dir.path().join("catalog.json");
    tokio::fs::write(&path, FILE).await.unwrap();
    let dollar = Currency::parse("USD").unwrap();
    let refused = seed_file(&store, &SeededEntropy::new(1), &path, &[dollar]).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("aurora-1: currency EUR is not among wallet.currencies"),
        "{refused}"
    );
    let concerts = store.concerts(Page::new(10, None)).await.unwrap();
    assert!(concerts.items.is_empty());
}

/// The file's concert under another id, as a second file may have it.
fn another(own: &str, performance: &str, room: &str) -> Catalog {
    let mut catalog = parse_json(FILE).unwrap();
    let concert = &mut catalog.concerts[0];
    concert.id = ResourceId::parse(own).unwrap();
    concert.performances[0].id = ResourceId::parse(performance).unwrap();
    concert.performances[0].terms.concert = concert.id.clone();
    concert.room.as_mut().unwrap().id = RoomId::parse(room).unwrap();
    catalog
}

#[tokio::test]
async fn what_is_there_already_of_another_concert_is_refused() {
    let (store, _dir) = open().await;
    let entropy = SeededEntropy::new(1);
    seed(&store, &entropy, &parse_json(FILE).unwrap())
        .await
        .unwrap();
    let cases = [
        (another("tidal", "tidal-1", "aurora"), "tidal: room aurora"),
        (
            another("lanterns", "aurora-1", "lanterns"),
            "lanterns: performance aurora-1",
        ),
    ];
    for (catalog, expected) in cases {
        let refused = seed(&store, &entropy, &catalog).await.unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
    }
    let tidal = store.concert(ResourceId::parse("tidal").unwrap()).await;
    assert_eq!(tidal, Err(SalesError::NotFound), "on sale without a room");
}

#[test]
fn no_id_stands_twice_in_a_file() {
    let file: serde_json::Value = serde_json::from_str(FILE).unwrap();
    let with = |own: &str, performance: &str, room: &str| {
        let mut file = file.clone();
        let mut second = file["concerts"][0].clone();
        second["id"] = own.into();
        second["performances"][0]["id"] = performance.into();
        second["room"]["id"] = room.into();
        file["concerts"].as_array_mut().unwrap().push(second);
        parse_json(&file.to_string())
    };
    let cases = [
        (("aurora", "b-1", "b"), "aurora: id"),
        (("b", "aurora-1", "b"), "aurora-1: id"),
        (("b", "b-1", "aurora"), "b: room.id: room aurora"),
    ];
    assert_eq!(with("b", "b-1", "b").unwrap().concerts.len(), 2);
    for ((own, performance, room), expected) in cases {
        let refused = with(own, performance, room).unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
    }
}

#[test]
fn what_cannot_be_names_its_place() {
    let cases = [
        ("{", "EOF"),
        (&FILE.replace("\"currency\": \"EUR\",", ""), "currency"),
        (&FILE.replace("EUR", "eur"), "ISO 4217"),
        (&FILE.replace("6500", "0"), "aurora-1"),
        (&FILE.replace("2030-05-01T", "soon"), "RFC 3339"),
        (&FILE.replace("2030-05-01T", "2030-01-01T"), "aurora-1"),
        (&FILE.replace("venue", "venu"), "venu"),
        (
            &FILE.replace("\"rate_per_s\": 50", "\"rate_per_s\": 0"),
            "rate",
        ),
    ];
    assert!(matches!(parse_json(FILE), Ok(Catalog { concerts }) if concerts.len() == 1));
    for (text, expected) in cases {
        let refused = parse_json(text).unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused} lacks {expected}");
    }
}

const TABLE: &str = "\u{feff}concert_id,concert_name,venue,performance_id,starts_at,sale_opens_at,currency,section,\
price_minor,rows,seats_per_row,room_id,room_capacity,room_rate_per_s,room_claim_window_s,hold_ttl_s
aurora,Aurora Strings,Harbour Hall,aurora-1,2030-05-01T19:30:00Z,2030-03-01T10:00:00.250Z,EUR,Stalls,6500,20,20,\
aurora,500,50,10,
";

#[test]
fn a_table_is_the_same_catalog() {
    assert_eq!(parse_csv(TABLE).unwrap(), parse_json(FILE).unwrap());
}

#[test]
fn lines_of_a_table_are_gathered_by_their_ids() {
    let more = "aurora,,,aurora-1,,,,\"Balcony, left\",3900,1,3,,,,,\r
aurora,Aurora Strings,,aurora-2,2030-05-02T19:30:00Z,2030-03-01T10:00:00Z,EUR,Stalls,5000,2,2,,,,,60\r
tidal,Tidal,,tidal-1,2030-06-01T19:30:00Z,2030-03-01T10:00:00Z,USD,Floor,100,1,1,,,,,\r
aurora,,,aurora-2,,,,Floor,100,1,1,,,,,
";
    let catalog = parse_csv(&format!("{TABLE}{more}")).unwrap();
    let shape: Vec<_> = catalog
        .concerts
        .iter()
        .flat_map(|concert| {
            concert.performances.iter().map(|performance| {
                let sections = performance.terms.sections.iter();
                let names = sections.map(|section| section.name.as_str());
                let names: Vec<_> = names.collect();
                (
                    performance.id.as_str(),
                    names,
                    performance.terms.hold_ttl_ms,
                )
            })
        })
        .collect();
    assert_eq!(
        shape,
        [
            ("aurora-1", vec!["Stalls", "Balcony, left"], 300_000),
            ("aurora-2", vec!["Stalls", "Floor"], 60_000),
            ("tidal-1", vec!["Floor"], 300_000),
        ]
    );
    let rooms: Vec<_> = catalog
        .concerts
        .iter()
        .map(|one| one.room.is_some())
        .collect();
    assert_eq!(rooms, [true, false]);
}

#[test]
fn what_cannot_be_in_a_table_names_line_and_column() {
    let header = TABLE.lines().next().unwrap();
    let with = |line: &str| parse_csv(&format!("{TABLE}{line}\n"));
    let cases = [
        (
            with("aurora,Other,,aurora-1,,,,Balcony,1,1,1,,,,,"),
            "line 3: concert_name",
        ),
        (
            with("aurora,,,aurora-1,,,USD,Balcony,1,1,1,,,,,"),
            "line 3: currency",
        ),
        (
            with("aurora,,,aurora-1,,,,Balcony,free,1,1,,,,,"),
            "line 3: price_minor",
        ),
        (
            with("aurora,,,aurora-1,,,,Balcony,,1,1,,,,,"),
            "line 3: price_minor is empty",
        ),
        (with("tidal,,,tidal-1,,,,Floor,1,1,1,,,,,"), "line 3: "),
        (with("a b,,,x,,,,Floor,1,1,1,,,,,"), "line 3: concert_id"),
        (
            with("tidal,Tidal,,tidal-1,soon,soon,EUR,Floor,1,1,1,aurora,1,1,,"),
            "line 3: room_id aurora is another concert's in line 2",
        ),
        (
            with("tidal,Tidal,,aurora-1,soon,soon,EUR,Floor,1,1,1,,,,,"),
            "line 3: performance_id aurora-1 is another concert's in line 2",
        ),
        (
            with("tidal,Tidal,,tidal-1,soon,soon,EUR,Floor,1,1,1,,500,50,,"),
            "line 3: room_capacity without a room_id",
        ),
        // Said in line 3, of what begins in line 2.
        (
            with("aurora,,,aurora-1,,,,Balcony,1,1,1,,,,,soon"),
            "line 3: hold_ttl_s",
        ),
        (with("aurora,,,aurora-1"), "line"),
        (parse_csv(&header.replace("venue", "where")), "\"where\""),
        (
            parse_csv(&header.replace("venue", "currency")),
            "currency stands twice",
        ),
    ];
    for (answer, expected) in cases {
        let error = answer.expect_err(expected).to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
