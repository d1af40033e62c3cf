//! Keys that are exchanged in the middle of a sale.

use std::path::Path;

use tonic::Code;
use usher::clock::{Clock as _, SystemClock};
use usher::keys::files::rotate;
use usher::proto::v1 as wire;

use crate::house::{House, rejoin};
use crate::provider::{Provider, jwt_mode, write_jwks};
use crate::whole::{Caller, GET_PLACE, JOIN, Whole, join};

async fn start(dir: tempfile::TempDir, jwks: &Path) -> Whole {
    let env = jwt_mode(jwks);
    let env: Vec<_> = env
        .iter()
        .map(|(key, text)| (*key, text.as_str()))
        .collect();
    Whole::start_in(dir, &env, None).await
}

fn get_place(place_token: &str) -> wire::GetPlaceRequest {
    wire::GetPlaceRequest {
        place_token: place_token.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_key_overlaps_with_the_next_and_its_places_outlive_it() {
    let keys = tempfile::tempdir().expect("a directory");
    let (both, new_only) = (keys.path().join("both"), keys.path().join("new"));
    let (old, new) = (Provider::new("old"), Provider::new("new"));
    write_jwks(&both, &[&old, &new]);
    write_jwks(&new_only, &[&new]);
    let now = SystemClock.now();

    let app = start(tempfile::tempdir().expect("a directory"), &both).await;
    let channel = app.channel().await;
    let root = Caller::bearing(&channel, &old.admin_token(now));
    let room = app.make_room(&root, 1).await;
    // The one slot is taken: the others wait.
    Caller::bearing(&channel, &new.token("first", now))
        .join(&room)
        .await;
    let before = Caller::bearing(&channel, &old.token("alice", now));
    let place = before.join(&room).await;
    let overlap = Caller::bearing(&channel, &new.token("alice", now));
    for caller in [&before, &overlap] {
        assert_eq!(caller.number(&room).await, 2);
        let call = caller
            .call(GET_PLACE)
            .message(&get_place(&place.place_token));
        let got: wire::GetPlaceResponse = call.send(&channel).await.ok();
        assert_eq!(got.place.expect("a place").number, 2);
    }

    let app = start(app.stop().await, &new_only).await;
    let channel = app.channel().await;
    let late = Caller::bearing(&channel, &old.token("alice", now));
    let call = late.call(JOIN).message(&join(&room));
    call.send(&channel)
        .await
        .assert_unauthenticated("the old key");
    let call = late.call(GET_PLACE).message(&get_place(&place.place_token));
    call.send(&channel)
        .await
        .assert_unauthenticated("the old key");
    // Who logs in again brings the old place along.
    let alice = Caller::bearing(&channel, &new.token("alice", now));
    let call = alice.call(JOIN).message(&rejoin(&room, &place.place_token));
    let again: wire::JoinResponse = call.send(&channel).await.ok();
    assert_eq!(again.place.expect("a place").number, 2);
}

/// What the file of Usher's own keys still knows is believed, no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_keys_overlap_until_they_are_forgotten() {
    let app = Whole::start(&[]).await;
    let channel = app.channel().await;
    let house = House::build(&app, &Caller::admin(&channel)).await;
    let alice = Caller::named(&channel, "alice");
    let pass = house.pass(&alice).await;
    let token = alice.join(&house.room).await.place_token;

    let mut dir = app.stop().await;
    let random = |bytes: &mut [u8]| rand::fill(bytes);
    for rotation in 1..=4 {
        rotate(dir.path(), SystemClock.now(), 0, &random).expect("rotated");
        let app = Whole::start_in(dir, &[], None).await;
        let channel = app.channel().await;
        let alice = Caller::named(&channel, "alice");
        let buyer = alice.clone().with("x-usher-pass", &pass);
        let call = alice.call(GET_PLACE).message(&get_place(&token));
        let got = call.send(&channel).await;
        if rotation < 4 {
            let got: wire::GetPlaceResponse = got.ok();
            assert_eq!(
                got.place.expect("a place").state(),
                wire::PlaceState::Active
            );
            assert_eq!(house.seats_available(&buyer).await, 4);
            // What is signed now is signed by the new key.
            assert_ne!(house.pass(&alice).await, pass);
        } else {
            got.assert_unauthenticated("a place token");
            for call in house.calls(&buyer) {
                call.send(&channel).await.assert_unauthenticated("a pass");
            }
            // The turn is a row: a Join and a Claim give it new papers.
            let pass = house.pass(&alice).await;
            let buyer = alice.with("x-usher-pass", &pass);
            let held = house.hold(&buyer).send(&channel).await;
            assert_eq!(held.code, Some(Code::Ok), "{held:?}");
        }
        dir = app.stop().await;
    }
}
