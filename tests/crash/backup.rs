//! `usher backup` beside a server that sells, and `usher restore`: nobody's
//! number is given to another, however old the backup is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use usher::proto::v1 as wire;
use wire::PlaceState;

use crate::client::World;
use crate::house::{self, House, PRICE_MINOR, Rules};
use crate::people::{Ticket, User};
use crate::server::{self, Server};

const LIVELY: [(&str, &str); 1] = [("USHER_STREAM__HEARTBEAT_INTERVAL_MS", "1000")];
/// More than are reserved ahead.
const LATE: usize = 60;
const RULES: Rules = Rules {
    capacity: 1,
    absence_grace_s: 300,
};

fn usher(dir: &Path, args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_usher"));
    program.env_clear().env("USHER_DATA_DIR", dir).args(args);
    program.stdin(Stdio::null()).output().expect("it runs")
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn must(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

/// Every file of a directory.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("a directory");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("a file");
        let name = entry.file_name().into_string().expect("UTF-8");
        (name, fs::read(entry.path()).expect("read"))
    };
    entries.map(read).collect()
}

async fn buys(user: &User, ticket: &Ticket, house: &House, seat: usize) {
    let pass = user.await_pass(&ticket.token).await;
    let buyer = user.clone().with_pass(&pass);
    let map = buyer.seat_map(&house.performance).await.expect("seats");
    let seat = [map.seats[seat].id.as_str()];
    let held = buyer.hold(&house.performance, &seat, "hold").await;
    buyer.top_up(PRICE_MINOR, "money").await.expect("topped up");
    let paid = buyer.pay(&held.expect("held").id, "pay").await;
    paid.expect("paid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_server_gives_nobodys_number_to_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let backups = tempfile::tempdir().expect("a directory");
    let backup = backups.path().join("usher.backup");
    let backup = backup.to_str().expect("a plain path");
    let (server, port) = Server::first(dir.path(), &LIVELY).await;
    let world = World::new(port);
    let house = house::build_with(&world, RULES).await;
    let user = |id: &str| User::new(world.channel.clone(), id);
    let join = async |id: String| {
        let user = user(&id);
        let ticket = user.join(house.room.as_str()).await;
        (user, ticket)
    };
    let (buyer, ticket) = join("bought".to_owned()).await;
    buys(&buyer, &ticket, &house, 0).await;
    let mut people = vec![
        join("active".to_owned()).await,
        join("early".to_owned()).await,
    ];

    must(&usher(dir.path(), &["backup", backup]));
    let again = usher(dir.path(), &["backup", backup]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert!(said(&again).contains("overwritten"), "{}", said(&again));

    // What the backup does not know.
    buys(&people[0].0, &people[0].1, &house, 1).await;
    for index in 0..LATE {
        people.push(join(format!("late-{index}")).await);
    }
    let numbers: BTreeSet<u64> = people.iter().map(|(_, place)| place.place.number).collect();
    assert_eq!(numbers.len(), people.len());
    server.terminate().await;
    let server = Server::again(dir.path(), port, &LIVELY).await;
    let mut stream = people[1].0.watch(&people[1].1.token).await;
    stream.snapshot().await;
    let epoch = stream.cursor.0;
    drop(stream);

    let refused = usher(dir.path(), &["restore", backup]);
    assert!(
        said(&refused).contains("a server is running"),
        "{}",
        said(&refused)
    );
    server.terminate().await;
    let before = files(dir.path());
    let restored = must(&usher(dir.path(), &["restore", backup]));
    let after = files(dir.path());
    let kept = |(name, bytes): (&String, &Vec<u8>)| {
        name.contains(".before-restore-") && restored.contains(name.as_str()) && !bytes.is_empty()
    };
    assert!(after.iter().any(kept), "{restored}: {:?}", after.keys());
    assert_eq!(after["keys.json"], before["keys.json"]);

    let server = Server::again(dir.path(), port, &LIVELY).await;
    for (user, ticket) in &people {
        let place = user.place(&ticket.token).await;
        assert_eq!(place.number, ticket.place.number, "{}", user.id);
        let lives = [PlaceState::Waiting, PlaceState::Activated];
        assert!(lives.contains(&place.state()), "{}: {place:?}", user.id);
    }
    let mut stream = people[1].0.watch(&people[1].1.token).await;
    stream.snapshot().await;
    assert!(stream.cursor.0 > epoch, "{} after {epoch}", stream.cursor.0);
    drop(stream);
    let (_, new) = join("new".to_owned()).await;
    assert!(Some(&new.place.number) > numbers.last(), "{:?}", new.place);
    // The second sale is gone, and its seat is free.
    assert_eq!(people[0].0.balance().await, 0);
    buys(&people[0].0, &people[0].1, &house, 1).await;
    server.terminate().await;
    server::assert_is_sound(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_all_that_a_new_machine_needs() {
    let dir = tempfile::tempdir().expect("a directory");
    let new = tempfile::tempdir().expect("a directory");
    let backup = new.path().join("usher.backup");
    let backup = backup.to_str().expect("a plain path");
    let (server, port) = Server::first(dir.path(), &LIVELY).await;
    let world = World::new(port);
    let house = house::build_with(&world, RULES).await;
    let user = User::new(world.channel.clone(), "bought");
    let ticket = user.join(house.room.as_str()).await;
    buys(&user, &ticket, &house, 0).await;
    let waits = User::new(world.channel.clone(), "waits");
    let waiting = waits.join(house.room.as_str()).await;
    must(&usher(dir.path(), &["backup", backup]));
    server.terminate().await;

    let data = new.path().join("data");
    must(&usher(&data, &["restore", backup]));
    assert_eq!(
        files(&data)["keys.json"].len(),
        files(dir.path())["keys.json"].len()
    );
    let server = Server::again(&data, port, &LIVELY).await;
    let place = waits.place(&waiting.token).await;
    assert_eq!(place.number, waiting.place.number);
    server.terminate().await;
    server::assert_is_sound(&data).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let other = tempfile::tempdir().expect("a directory");
    let (server, _) = Server::first(dir.path(), &LIVELY).await;
    let good = other.path().join("good");
    must(&usher(
        dir.path(),
        &["backup", good.to_str().expect("plain")],
    ));
    server.terminate().await;
    let good = fs::read(good).expect("read");
    let before = files(dir.path());

    // Somewhere a page of rows, whatever it is.
    let mut damaged = good.clone();
    let page = damaged.len() / 4096 / 2 * 4096;
    damaged[page..page + 2048].fill(0xA5);
    let database = before["usher.sqlite"].clone();
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty", b"", "too short"),
        (
            "text",
            b"a list of what to buy: bread, milk",
            "not a database",
        ),
        (
            "cut",
            &good[..good.len() / 2],
            "no backup that can be restored",
        ),
        ("header", &good[..100], "no backup that can be restored"),
        ("damaged", &damaged, "no backup that can be restored"),
        ("database", &database, "no backup of one"),
    ];
    for (name, bytes, why) in cases {
        let file = other.path().join(name);
        fs::write(&file, bytes).expect("written");
        let refused = usher(dir.path(), &["restore", file.to_str().expect("plain")]);
        assert_eq!(refused.status.code(), Some(1), "{name}: {}", said(&refused));
        assert!(said(&refused).contains(why), "{name}: {}", said(&refused));
        assert_eq!(files(dir.path()), before, "{name}");
    }
    let missing = usher(dir.path(), &["restore", "/nowhere/at-all"]);
    assert!(
        said(&missing).contains("/nowhere/at-all"),
        "{}",
        said(&missing)
    );
    let url = ["--database-url", "postgres://usher@127.0.0.1:1/usher"];
    let server = usher(dir.path(), &["backup", "/nowhere/at-all", url[0], url[1]]);
    assert!(said(&server).contains("pg_dump"), "{}", said(&server));
    assert_eq!(files(dir.path()), before);
}
