//! The tables against the contract: every field of every RPC that answers is
//! in a table, or is named here with the reason.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use usher::proto::FILE_DESCRIPTOR_SET;

use super::fields::{self, Field, catalog, coupons, lists, money, rooms};
use crate::unimplemented::LATER;

const OUTPUT_ONLY: &str = "output only: ignored in requests, see `what_the_server_chooses_is_ignored` and, of campaigns, `coupons`";
const FIXED: &str = "fixed at creation: see `what_is_fixed_at_creation_does_not_change` and, of campaigns, `coupons`";
const ANY: &str = "every value is good";
const WITH_TOKEN: &str = "asked with page_token in `lists`";
const GATEWAY: &str = "without one nothing of it is read: `unimplemented`, `gateway`";

/// Fields without a bad value of their own: an RPC (`*`: any), a path or the
/// beginning of one, and why.
const EXEMPT: &[(&str, &str, &str)] = &[
    ("*", "page_size", WITH_TOKEN),
    ("*", "room.state", OUTPUT_ONLY),
    ("*", "room.opens_at", OUTPUT_ONLY),
    ("*", "room.lanes", OUTPUT_ONLY),
    ("*", "room.draw", OUTPUT_ONLY),
    ("*", "room.resumes_at", OUTPUT_ONLY),
    ("*", "room.message", OUTPUT_ONLY),
    ("*", "room.etag", OUTPUT_ONLY),
    ("*", "room.as_of", OUTPUT_ONLY),
    ("AdminService/CreateRoom", "room.id", OUTPUT_ONLY),
    ("AdminService/CreateConcert", "concert.id", OUTPUT_ONLY),
    ("AdminService/CreateCampaign", "campaign.id", OUTPUT_ONLY),
    ("*", "campaign.issued", OUTPUT_ONLY),
    ("*", "campaign.room_id", OUTPUT_ONLY),
    ("*", "campaign.etag", OUTPUT_ONLY),
    ("AdminService/UpdateCampaign", "campaign.percent", FIXED),
    ("AdminService/UpdateCampaign", "campaign.amount_off", FIXED),
    ("AdminService/UpdateCampaign", "campaign.order_min", FIXED),
    (
        "AdminService/UpdateCampaign",
        "campaign.discount_max",
        FIXED,
    ),
    ("AdminService/UpdateCampaign", "campaign.concert_ids", FIXED),
    (
        "AdminService/UpdateCampaign",
        "campaign.performance_ids",
        FIXED,
    ),
    ("*", "concert.sale_opens_at", OUTPUT_ONLY),
    ("*", "concert.sold_out", OUTPUT_ONLY),
    ("*", "concert.room_id", OUTPUT_ONLY),
    ("*", "concert.etag", OUTPUT_ONLY),
    (
        "AdminService/CreatePerformance",
        "performance.id",
        OUTPUT_ONLY,
    ),
    ("*", "performance.state", OUTPUT_ONLY),
    ("*", "performance.sold_out", OUTPUT_ONLY),
    ("*", "performance.room_id", OUTPUT_ONLY),
    ("*", "performance.etag", OUTPUT_ONLY),
    (
        "AdminService/UpdatePerformance",
        "performance.concert_id",
        FIXED,
    ),
    (
        "AdminService/UpdatePerformance",
        "performance.starts_at",
        FIXED,
    ),
    (
        "AdminService/UpdatePerformance",
        "performance.hold_ttl",
        FIXED,
    ),
    (
        "AdminService/UpdatePerformance",
        "performance.hold_total_max",
        FIXED,
    ),
    (
        "AdminService/UpdatePerformance",
        "performance.seats_per_user_max",
        FIXED,
    ),
    (
        "AdminService/UpdatePerformance",
        "performance.sections.rows",
        FIXED,
    ),
    (
        "QueueService/Join",
        "access_code",
        "whatever is no code is ACCESS_CODE_INVALID: `codes`",
    ),
    (
        "QueueService/Watch",
        "resume",
        "any cursor gets a snapshot: `watch`",
    ),
    ("QueueService/Watch", "end_on_activation", ANY),
    (
        "CatalogService/WatchSeatMap",
        "resume_cursor",
        "an unknown one gets a snapshot: `watch`",
    ),
    (
        "ReservationService/HoldSeats",
        "best_available.adjacent",
        ANY,
    ),
    ("PaymentService/TopUpWallet", "gateway", GATEWAY),
    ("PaymentService/PayReservation", "gateway", GATEWAY),
    ("AdminService/BlockSeats", "blocked", ANY),
    (
        "AdminService/RedeemTicket",
        "code",
        "forged and void ones: `gates`, beside this folder",
    ),
];

/// Asked with nothing at all.
const WITHOUT_FIELDS: [&str; 1] = ["QueueService/GetPublicKeys"];

type Leaf = (String, String);

fn add<T>(to: &mut BTreeSet<Leaf>, table: &[Field<T>]) {
    let leaf = |field: &Field<T>| (field.rpc.to_owned(), field.path.to_owned());
    to.extend(table.iter().map(leaf));
}

fn add_policy<T>(to: &mut BTreeSet<Leaf>, table: &[rooms::PolicyField<T>]) {
    for rpc in ["AdminService/CreateRoom", "AdminService/UpdateRoom"] {
        to.extend(
            table
                .iter()
                .map(|field| (rpc.to_owned(), field.path.to_owned())),
        );
    }
}

/// Every field that the tests ask with.
fn asked() -> BTreeSet<Leaf> {
    let mut to = BTreeSet::new();
    for table in [
        fields::RESOURCES,
        fields::USERS,
        fields::PLACE_TOKENS,
        fields::KEYS,
        money::CURRENCIES,
        rooms::ROOM_NAMES,
        rooms::MESSAGES,
        rooms::ETAGS,
        catalog::NAMES,
        catalog::TEXTS,
    ] {
        add(&mut to, table);
    }
    for table in [money::AMOUNTS, money::PRICES, money::BOUNDS] {
        add(&mut to, table);
    }
    for table in [fields::SEATS, fields::OWN_SEATS, rooms::MASKS] {
        add(&mut to, table);
    }
    add(&mut to, coupons::AMOUNTS);
    add(&mut to, coupons::COUPONS);
    add(&mut to, coupons::MOMENTS);
    add(&mut to, coupons::NAMES);
    add(&mut to, coupons::TARGETS);
    for (field, _) in coupons::NUMBERS {
        add(&mut to, std::slice::from_ref(field));
    }
    add(&mut to, lists::PAGES);
    add(&mut to, catalog::MOMENTS);
    add(&mut to, catalog::FUTURE);
    add(&mut to, catalog::SPANS);
    add(&mut to, catalog::CHOICES);
    for (field, _) in catalog::NUMBERS {
        add(&mut to, std::slice::from_ref(field));
    }
    add_policy(&mut to, rooms::MOMENTS);
    add_policy(&mut to, rooms::SPANS);
    add_policy(&mut to, rooms::CHOICES);
    for table in [rooms::TARGETS, rooms::NAMES, rooms::TEXTS] {
        add_policy(&mut to, table);
    }
    for (field, _) in rooms::NUMBERS {
        add_policy(&mut to, std::slice::from_ref(field));
    }
    to
}

/// The paths of a message's fields; what is no message of ours is a leaf.
fn leaves(of: &DescriptorProto, all: &[DescriptorProto], prefix: &str, to: &mut Vec<String>) {
    for field in &of.field {
        let path = format!("{prefix}{}", field.name());
        let message = field.type_name().strip_prefix(".usher.v1.");
        match message.filter(|name| field.r#type() == Type::Message && *name != "Money") {
            Some(name) => {
                let inner = all.iter().find(|message| message.name() == name);
                let inner = inner.expect("a message of the contract");
                match inner.field.is_empty() {
                    // What matters is which one it is.
                    true => {}
                    false => leaves(inner, all, &format!("{path}."), to),
                }
            }
            None => to.push(path),
        }
    }
}

/// RPCs that answer, each with the fields of its request.
fn contract() -> Vec<(String, Vec<String>)> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("a set");
    let files = set.file.iter().filter(|file| file.package() == "usher.v1");
    let messages: Vec<_> = files
        .clone()
        .flat_map(|file| file.message_type.clone())
        .collect();
    let mut rpcs = Vec::new();
    for service in files.flat_map(|file| &file.service) {
        for method in &service.method {
            let rpc = format!("{}/{}", service.name(), method.name());
            let input = method.input_type().rsplit('.').next().expect("a name");
            let input = messages.iter().find(|message| message.name() == input);
            let mut paths = Vec::new();
            leaves(input.expect("a message"), &messages, "", &mut paths);
            if !LATER.contains(&rpc.as_str()) {
                rpcs.push((rpc, paths));
            }
        }
    }
    rpcs
}

fn is_exempt(rpc: &str, path: &str, (of, from, _): &(&str, &str, &str)) -> bool {
    let rest = path.strip_prefix(from);
    (*of == "*" || *of == rpc) && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// RPCs that answer and have no field that is asked with a bad value.
pub fn implemented() -> Vec<String> {
    contract().into_iter().map(|(rpc, _)| rpc).collect()
}

/// The RPCs of a table.
pub fn asked_in<T>(table: &[Field<T>]) -> Vec<&'static str> {
    table.iter().map(|field| field.rpc).collect()
}

#[test]
fn every_field_of_every_rpc_that_answers_is_in_a_table() {
    let mut asked = asked();
    let mut unused: Vec<_> = EXEMPT.iter().collect();
    for (rpc, paths) in contract() {
        assert_eq!(
            paths.is_empty(),
            WITHOUT_FIELDS.contains(&rpc.as_str()),
            "{rpc}"
        );
        for path in paths {
            let is_asked = asked.remove(&(rpc.clone(), path.clone()));
            let is_excused = EXEMPT.iter().any(|exempt| is_exempt(&rpc, &path, exempt));
            assert!(
                is_asked != is_excused,
                "{rpc} {path}: in a table, or exempt with a reason"
            );
            unused.retain(|exempt| !is_exempt(&rpc, &path, exempt));
        }
    }
    assert!(asked.is_empty(), "not of the contract: {asked:?}");
    assert!(unused.is_empty(), "not of the contract: {unused:?}");
}
