//! What a signature costs: the figures behind the choice of place tokens
//! (`docs/decisions/0002-place-token-mac.md`).
//!
//! The candidates sign the same 60 bytes, then whole tokens as Usher makes
//! them. They run in interleaved rounds on one core, so that a noisy neighbour
//! meets all of them; the median round counts.

use std::hint::black_box;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, ParsedPublicKey};
use aws_lc_rs::{constant_time, hmac, rand};
use tokio::time::Instant;
use usher::domain::ids::{ActivationId, PlaceKey, RoomId, UserId};
use usher::domain::time::UnixMs;
use usher::keys::Keys;
use usher::keys::pass::PassClaims;
use usher::keys::place::PlaceClaims;
use usher::keys::ring::KeyRing;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

#[derive(clap::Args)]
pub struct Options {
    /// Operations per round.
    #[arg(long, default_value_t = 2_000)]
    operations: u32,
    /// Rounds; the median is reported.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
}

type Candidate<'a> = (&'static str, Box<dyn FnMut() + 'a>);

/// # Errors
/// When the crypto library refuses a key.
pub fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let random = |bytes: &mut [u8]| rand::fill(bytes).expect("the system has randomness");
    let keys = Keys::load(&KeyRing::generate(NOW, &random), NOW)?;
    let mut candidates = raw_candidates()?;
    candidates.extend(token_candidates(&keys)?);
    let mut rounds = vec![Vec::with_capacity(options.rounds); candidates.len()];
    for _ in 0..options.rounds {
        for ((_, operation), figures) in candidates.iter_mut().zip(&mut rounds) {
            let start = Instant::now();
            for _ in 0..options.operations {
                operation();
            }
            let micros = start.elapsed().as_secs_f64() * 1e6;
            figures.push(micros / f64::from(options.operations));
        }
    }
    println!("{:<44} {:>10}", "operation", "us (median)");
    for ((name, _), mut figures) in candidates.iter().zip(rounds) {
        figures.sort_by(f64::total_cmp);
        println!("{name:<44} {:>10.2}", figures[figures.len() / 2]);
    }
    Ok(())
}

/// The primitives alone, over the bytes of one place token.
fn raw_candidates() -> Result<Vec<Candidate<'static>>, Box<dyn std::error::Error>> {
    let message = [7_u8; 60];
    let mac_key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
    let verify_key = mac_key.clone();
    let tag = hmac::sign(&mac_key, &message);
    let pair = Ed25519KeyPair::from_seed_unchecked(&[2; 32])?;
    let public = ParsedPublicKey::new(&ED25519, pair.public_key().as_ref())?;
    let signature = pair.sign(&message);
    Ok(vec![
        (
            "HMAC-SHA256 sign, 60 bytes",
            Box::new(move || {
                black_box(hmac::sign(&mac_key, black_box(&message)));
            }),
        ),
        (
            "HMAC-SHA256 verify, 60 bytes, 128-bit tag",
            Box::new(move || {
                let again = hmac::sign(&verify_key, black_box(&message));
                let (left, right) = (&again.as_ref()[..16], &tag.as_ref()[..16]);
                constant_time::verify_slices_are_equal(left, right).expect("equal");
            }),
        ),
        (
            "Ed25519 sign, 60 bytes",
            Box::new(move || {
                black_box(pair.sign(black_box(&message)));
            }),
        ),
        (
            "Ed25519 verify, 60 bytes",
            Box::new(move || {
                public
                    .verify_sig(black_box(&message), signature.as_ref())
                    .expect("good");
            }),
        ),
    ])
}

/// Whole tokens, with encoding and parsing.
fn token_candidates(keys: &Keys) -> Result<Vec<Candidate<'_>>, Box<dyn std::error::Error>> {
    let room = RoomId::parse("opening-night")?;
    let user = UserId::parse("user-000123456")?;
    let place = PlaceClaims {
        room: room.clone(),
        place: PlaceKey { lane: 0, number: 1 },
        user: user.clone(),
        issued_at: NOW,
    };
    let mut pass = PassClaims {
        user: user.clone(),
        room,
        activation: ActivationId("00000000-0000-0000-0000-00000000002a".parse()?),
        issued_at: NOW,
        expire_time: NOW.plus_ms(300_000),
    };
    let signed_place = keys.places.sign(&place);
    let signed_pass = keys.passes.sign(&pass);
    let signed_pass_again = signed_pass.clone();
    let (place_reader, pass_reader) = (user.clone(), user.clone());
    Ok(vec![
        (
            "place token sign",
            Box::new(move || {
                black_box(keys.places.sign(black_box(&place)));
            }),
        ),
        (
            "place token verify",
            Box::new(move || {
                let claims = keys.places.verify(black_box(&signed_place), &place_reader);
                black_box(claims.expect("good"));
            }),
        ),
        (
            "pass sign",
            Box::new(move || {
                pass.issued_at = pass.issued_at.plus_ms(1_000);
                black_box(keys.passes.sign(black_box(&pass)));
            }),
        ),
        (
            "pass verify, remembered",
            Box::new(move || {
                let claims = keys.passes.verify(black_box(&signed_pass), &user, NOW);
                black_box(claims.expect("good"));
            }),
        ),
        (
            "pass verify, forgotten each time",
            Box::new(move || {
                keys.passes.forget();
                let claims = keys
                    .passes
                    .verify(black_box(&signed_pass_again), &pass_reader, NOW);
                black_box(claims.expect("good"));
            }),
        ),
    ])
}
