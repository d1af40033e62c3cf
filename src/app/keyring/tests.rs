//! Two nodes with keys from one database, by a clock that is moved by hand.

use uuid::Uuid;

use super::*;
use crate::clock::ManualClock;
use crate::config::Sources;
use crate::domain::ids::{ActivationId, PlaceKey, RoomId, UserId};
use crate::entropy::{Entropy, SeededEntropy};
use crate::keys::pass::PassClaims;
use crate::keys::place::PlaceClaims;
use crate::store::sql::SqlStore;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
/// 32 bytes of 1, and of 2.
const WRAP_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const OTHER_WRAP_KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn config(wrap_key: &str) -> Config {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let env = [
        ("USHER_KEYS__SOURCE", "sql"),
        ("USHER_KEYS__WRAP_KEY", wrap_key),
    ];
    let sources = Sources {
        env: env.map(own).to_vec(),
        ..Sources::default()
    };
    sources.load().expect("valid")
}

/// A node, as far as its keys go.
struct Signer {
    keyring: Keyring,
    live: LiveKeys,
    entropy: SeededEntropy,
}

impl Signer {
    async fn start(
        shared: &Arc<SqlStore>,
        wrap_key: &str,
        seed: u64,
        now: UnixMs,
    ) -> Result<Self, KeysError> {
        let keyring = Keyring::of(&config(wrap_key), Some(Arc::clone(shared) as _))?;
        let entropy = SeededEntropy::new(seed);
        let fill = |bytes: &mut [u8]| entropy.fill(bytes);
        let ring = keyring.read_or_make(now, &fill).await?;
        Ok(Self {
            live: LiveKeys::new(Keys::load(&ring, now)?),
            keyring,
            entropy,
        })
    }

    async fn rotate(&self, now: UnixMs, lead_s: u64) -> Result<KeyRing, KeysError> {
        let fill = |bytes: &mut [u8]| self.entropy.fill(bytes);
        self.keyring.rotate(now, lead_s, &fill).await
    }
}

async fn open_store(url: &str, clock: &Arc<ManualClock>) -> Arc<SqlStore> {
    let store = SqlStore::connect(url, Arc::clone(clock) as _)
        .await
        .expect("opens");
    store.migrate_up().await.expect("migrates");
    Arc::new(store)
}

fn url_in(dir: &tempfile::TempDir) -> String {
    format!("sqlite://{}/usher.db", dir.path().display())
}

fn alice() -> UserId {
    UserId::parse("alice").expect("an id")
}

fn place(number: u64, now: UnixMs) -> PlaceClaims {
    PlaceClaims {
        room: RoomId::parse("room").expect("an id"),
        place: PlaceKey { lane: 0, number },
        user: alice(),
        issued_at: now,
    }
}

fn pass(number: u64, now: UnixMs) -> PassClaims {
    PassClaims {
        user: alice(),
        room: RoomId::parse("room").expect("an id"),
        activation: ActivationId(Uuid::from_u128(number.into())),
        issued_at: UnixMs(now.0 / 1_000 * 1_000),
        expire_time: UnixMs(now.0 / 1_000 * 1_000 + 60_000),
    }
}

/// What one signs now the other takes.
fn assert_accepts(by: &Signer, to: &Signer, now: UnixMs) {
    let (keys, others) = (by.live.current(), to.live.current());
    let claims = place(now.0, now);
    let token = keys.places.sign(&claims);
    assert_eq!(others.places.verify(&token, &alice()), Ok(claims));
    let claims = pass(now.0, now);
    let signed = keys.passes.issue(&claims);
    assert_eq!(others.passes.verify(&signed, &alice(), now), Ok(claims));
    let token = keys.pages.sign(&["list"], b"here", now);
    assert!(others.pages.verify(&["list"], &token, now).is_ok());
}

#[tokio::test]
async fn nodes_that_start_together_share_the_keys_of_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::new(NOW));
    let one = open_store(&url_in(&dir), &clock).await;
    let other = open_store(&url_in(&dir), &clock).await;
    let (a, b) = tokio::join!(
        Signer::start(&one, WRAP_KEY, 1, NOW),
        Signer::start(&other, WRAP_KEY, 2, NOW),
    );
    let (a, b) = (a.expect("starts"), b.expect("starts"));
    let (ours, theirs) = (a.live.current(), b.live.current());
    assert_eq!(ours.fingerprint(), theirs.fingerprint());
    assert_accepts(&a, &b, NOW);
    assert_accepts(&b, &a, NOW);
    assert_eq!(ours.passes.jwks(), theirs.passes.jwks());
}

/// Nodes that read the ring every 3 s, at different moments; each half second
/// one signs and the other verifies, while the keys are exchanged five times.
#[tokio::test]
async fn a_rotation_under_load_rejects_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::new(NOW));
    let shared = open_store(&url_in(&dir), &clock).await;
    let a = Signer::start(&shared, WRAP_KEY, 1, NOW)
        .await
        .expect("starts");
    let b = Signer::start(&shared, WRAP_KEY, 2, NOW)
        .await
        .expect("starts");
    let mut signed_by = std::collections::BTreeSet::new();
    for step in 0..400_u64 {
        clock.advance_ms(500);
        let now = clock.now();
        if step % 70 == 35 {
            let by = if step % 2 == 0 { &a } else { &b };
            by.rotate(now, 10).await.expect("rotates");
        }
        if step % 6 == 0 {
            a.keyring.refresh(&a.live, now).await;
        }
        if step % 6 == 3 {
            b.keyring.refresh(&b.live, now).await;
        }
        assert_accepts(&a, &b, now);
        assert_accepts(&b, &a, now);
        let token = a.live.current().passes.sign(&pass(1, NOW));
        signed_by.insert(token.split('.').next().map(str::to_owned));
    }
    assert_eq!(signed_by.len(), 6, "each key signed in its time");
    let published = a.live.current().passes.published();
    assert_eq!(published.len(), KEYS_KEPT_MAX);
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::new(NOW));
    let shared = open_store(&url_in(&dir), &clock).await;
    let node = Signer::start(&shared, WRAP_KEY, 1, NOW)
        .await
        .expect("starts");
    let old = node.live.current().passes.sign(&pass(1, NOW));
    node.rotate(NOW, 60).await.expect("rotates");
    node.keyring.refresh(&node.live, NOW.plus_ms(3_000)).await;
    let keys = node.live.current();
    assert_eq!(keys.passes.published().len(), 2);
    assert_eq!(keys.passes.sign(&pass(1, NOW)), old);
    node.keyring.refresh(&node.live, NOW.plus_ms(60_000)).await;
    let keys = node.live.current();
    assert_ne!(keys.passes.sign(&pass(1, NOW)), old);
    assert!(keys.passes.verify(&old, &alice(), NOW).is_ok());
}

#[tokio::test]
async fn a_node_with_another_wrap_key_refuses() {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::new(NOW));
    let shared = open_store(&url_in(&dir), &clock).await;
    let node = Signer::start(&shared, WRAP_KEY, 1, NOW)
        .await
        .expect("starts");
    let stranger = Signer::start(&shared, OTHER_WRAP_KEY, 2, NOW).await;
    let why = stranger.err().expect("refused").to_string();
    assert!(
        why.contains("was not wrapped by this node's wrap key"),
        "{why}"
    );

    // One that runs says so, keeps what it has, and is ready again once the
    // keys can be read.
    let fill = |bytes: &mut [u8]| node.entropy.fill(bytes);
    let foreign = WrapKey::parse(OTHER_WRAP_KEY).expect("a key");
    let mut ring = node.keyring.read().await.expect("reads");
    ring.rotate(NOW, 60, &fill);
    let rows = foreign.wrap(&ring.newest(), &fill).expect("wraps");
    shared
        .add_signing_keys(rows, KEYS_KEPT_MAX)
        .await
        .expect("adds");
    node.keyring.refresh(&node.live, NOW).await;
    let why = node.live.trouble().expect("refuses readiness");
    assert!(why.contains("was not wrapped"), "{why}");
    assert_accepts(&node, &node, NOW);
    assert!(node.rotate(NOW, 60).await.is_err());
}

#[tokio::test]
async fn mounted_keys_are_read_and_never_made() {
    let mounted = tempfile::tempdir().expect("a directory");
    let keyring = mounted_keyring(mounted.path());
    let entropy = SeededEntropy::new(3);
    let fill = |bytes: &mut [u8]| entropy.fill(bytes);
    assert!(keyring.read_or_make(NOW, &fill).await.is_err());
    let made = files::load_or_create(mounted.path(), NOW, &fill).expect("made by someone");
    let read = keyring.read_or_make(NOW, &fill).await.expect("reads");
    assert_eq!(read, made);
    let live = LiveKeys::new(Keys::load(&made, NOW).expect("keys"));
    files::rotate(mounted.path(), NOW, 0, &fill).expect("rotated by someone");
    keyring.refresh(&live, NOW).await;
    assert_eq!(live.current().passes.published().len(), 2);
    fs::write(mounted.path().join(files::KEY_FILE), "{}").expect("spoiled");
    keyring.refresh(&live, NOW).await;
    assert!(live.trouble().is_some());
}

fn mounted_keyring(dir: &std::path::Path) -> Keyring {
    Keyring {
        place: Place::Mounted(dir.to_owned()),
        company: None,
    }
}

/// A node with mounted keys among others on one database.
struct Mate {
    keyring: Keyring,
    live: LiveKeys,
}

impl Mate {
    async fn start(shared: &Arc<SqlStore>, dir: &std::path::Path, node: u64, now: UnixMs) -> Self {
        let keyring = mounted_keyring(dir).among(Arc::clone(shared) as _, node, 3_000);
        let ring = keyring.read().await.expect("reads");
        let live = LiveKeys::new(Keys::load(&ring, now).expect("keys"));
        keyring.meet(&live).await.expect("answers");
        Self { keyring, live }
    }

    fn is_ready(&self) -> bool {
        self.live.trouble().is_none()
    }
}

async fn refresh_all(mates: &[&Mate], now: UnixMs) -> Vec<bool> {
    for mate in mates {
        mate.keyring.refresh(&mate.live, now).await;
    }
    mates.iter().map(|mate| mate.is_ready()).collect()
}

#[tokio::test]
async fn mounted_keys_that_differ_are_noticed_until_they_do_not() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    let [ours, theirs, data] = dirs.each_ref().map(tempfile::TempDir::path);
    let clock = Arc::new(ManualClock::new(NOW));
    let shared = open_store(&format!("sqlite://{}/usher.db", data.display()), &clock).await;
    let entropy = SeededEntropy::new(7);
    let fill = |bytes: &mut [u8]| entropy.fill(bytes);
    files::load_or_create(ours, NOW, &fill).expect("made");
    files::load_or_create(theirs, NOW, &fill).expect("made");
    let first = Mate::start(&shared, ours, 1, NOW).await;
    let second = Mate::start(&shared, ours, 2, NOW).await;
    let stranger = Mate::start(&shared, theirs, 3, NOW).await;
    assert!(first.is_ready() && second.is_ready());
    let why = stranger.live.trouble().expect("refuses readiness");
    assert!(why.starts_with("signing keys: "), "{why}");
    let ready = refresh_all(&[&stranger, &first, &second], NOW).await;
    assert_eq!(ready, [false, true, true], "nobody else is impressed");

    // It is given the right ones.
    fs::copy(ours.join(files::KEY_FILE), theirs.join(files::KEY_FILE)).expect("copied");
    let ready = refresh_all(&[&stranger, &first, &second], NOW).await;
    assert_eq!(ready, [true, true, true]);

    // A rotation that it is not told of: it steps back when the keys sign.
    let rotated = files::rotate(ours, NOW, 60, &fill).expect("rotated");
    assert_eq!(rotated.pass.len(), 2);
    let ready = refresh_all(&[&first, &stranger, &second], NOW).await;
    assert_eq!(ready, [true, true, true], "nobody signs with them yet");
    for _ in 0..20 {
        clock.advance_ms(3_000);
        refresh_all(&[&second, &first, &stranger], clock.now()).await;
        assert!(first.is_ready() && second.is_ready());
    }
    assert!(!stranger.is_ready());
    // All others are gone: whoever is left is right.
    clock.advance_ms(15_000);
    assert_eq!(refresh_all(&[&stranger], clock.now()).await, [true]);
}
