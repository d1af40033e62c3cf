//! Campaigns whose stock this node knows to be issued: who asks for a coupon of
//! one is refused from here, and no store is asked.
//!
//! Who has a coupon gets it again, also then. So a campaign is kept with those
//! who have one, each by 64 bits of a hash: whose hash is not there has none, and
//! whose is there asks the store, as if nothing were known.
//!
//! What was learned of a campaign holds while its version does: its stock changes
//! with its version alone, and with all of it issued nobody gets another. The bus
//! says when it changes ([`Exhausted::heard`]); since the bus may lose that, one
//! caller in [`LOOK_AFTER`] has its row read again, beside the call.
//!
//! Bounded: [`HOLDERS_MAX`] users of all campaigns together; the campaign that was
//! asked for least lately makes room. Of one with more nothing is kept, and the
//! store is asked. One campaign is found out about at a time.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::bus::{BusEvent, BusMessage};
use crate::domain::ids::{ResourceId, UserId};

/// Of all campaigns together: 16 MB.
pub const HOLDERS_MAX: usize = 2_000_000;
/// Between two looks at a campaign's row.
pub const LOOK_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// The store must be asked.
    Nothing,
    /// The user has no coupon, and gets none.
    Refused {
        /// The campaign's row is to be read again.
        look: bool,
    },
}

#[derive(Default)]
pub struct Exhausted(Mutex<Known>);

#[derive(Default)]
struct Known {
    campaigns: HashMap<ResourceId, Entry>,
    holders: usize,
    /// Somebody finds out about it.
    learning: Option<ResourceId>,
    /// Raised whenever something is forgotten: what was learned before does not
    /// count.
    generation: u64,
}

struct Entry {
    version: u64,
    /// Sorted.
    holders: Box<[u64]>,
    looked_at: Instant,
}

/// Leave to find out about a campaign; until it is dropped nobody else does.
pub struct Learning<'a> {
    exhausted: &'a Exhausted,
    campaign: ResourceId,
    generation: u64,
    /// Of those who are known to have a coupon; their names are not kept.
    holders: Vec<u64>,
}

impl Drop for Learning<'_> {
    fn drop(&mut self) {
        self.exhausted.known().learning = None;
    }
}

impl Exhausted {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn ask(&self, campaign: &ResourceId, user: &UserId) -> Told {
        let mut known = self.known();
        let Some(entry) = known.campaigns.get_mut(campaign) else {
            return Told::Nothing;
        };
        if entry.holders.binary_search(&hash(user)).is_ok() {
            return Told::Nothing;
        }
        // Moved with each look: when it was asked for, to a second.
        let now = Instant::now();
        let look = now.duration_since(entry.looked_at) >= LOOK_AFTER;
        if look {
            entry.looked_at = now;
        }
        Told::Refused { look }
    }

    /// `None` if somebody finds out already, about this one or another, or it is known.
    pub fn learn(&self, campaign: &ResourceId) -> Option<Learning<'_>> {
        let mut known = self.known();
        if known.campaigns.contains_key(campaign) || known.learning.is_some() {
            return None;
        }
        known.learning = Some(campaign.clone());
        Some(Learning {
            exhausted: self,
            campaign: campaign.clone(),
            generation: known.generation,
            holders: Vec::new(),
        })
    }

    /// Forgets the campaign unless it is still as it was learned.
    pub fn look(&self, campaign: &ResourceId, version: u64, is_sold_out: bool) {
        let mut known = self.known();
        let found = known.campaigns.get(campaign);
        if found.is_some_and(|entry| entry.version != version || !is_sold_out) {
            known.forget(campaign);
        }
    }

    pub fn forget(&self, campaign: &ResourceId) {
        self.known().forget(campaign);
    }

    pub fn heard(&self, event: &BusEvent) {
        match event {
            BusEvent::Message(BusMessage::CampaignChanged { campaign }) => self.forget(campaign),
            BusEvent::Gap => self.known().forget_all(),
            BusEvent::Message(
                BusMessage::Room(..)
                | BusMessage::RoomChanged(_)
                | BusMessage::Seats { .. }
                | BusMessage::CatalogChanged
                | BusMessage::SoldOutTurned { .. },
            )
            | BusEvent::RoomGap(_) => {}
        }
    }
}

impl Known {
    fn forget(&mut self, campaign: &ResourceId) {
        self.generation += 1;
        if let Some(entry) = self.campaigns.remove(campaign) {
            self.holders -= entry.holders.len();
        }
    }

    fn make_room_for(&mut self, holders: usize) {
        while self.holders + holders > HOLDERS_MAX {
            let asked_for = self.campaigns.iter();
            let oldest = asked_for.min_by_key(|(_, entry)| entry.looked_at);
            let Some(oldest) = oldest.map(|(campaign, _)| campaign.clone()) else {
                return;
            };
            self.forget(&oldest);
        }
    }

    fn forget_all(&mut self) {
        self.generation += 1;
        self.campaigns.clear();
        self.holders = 0;
    }
}

impl Learning<'_> {
    /// Some who have a coupon.
    pub fn note(&mut self, users: &[UserId]) {
        self.holders.extend(users.iter().map(hash));
    }

    /// All were noted, and the campaign had this version throughout.
    pub fn keep(mut self, version: u64) {
        let mut holders = std::mem::take(&mut self.holders);
        holders.sort_unstable();
        let mut known = self.exhausted.known();
        if known.generation != self.generation || holders.len() > HOLDERS_MAX {
            return;
        }
        known.make_room_for(holders.len());
        known.holders += holders.len();
        let entry = Entry {
            version,
            holders: holders.into(),
            looked_at: Instant::now(),
        };
        known.campaigns.insert(self.campaign.clone(), entry);
    }
}

fn hash(user: &UserId) -> u64 {
    let mut hasher = DefaultHasher::new();
    user.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ResourceId {
        ResourceId::parse(text).unwrap()
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn refused(look: bool) -> Told {
        Told::Refused { look }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_none_is_refused_and_who_has_one_is_not() {
        let exhausted = Exhausted::default();
        let spring = id("spring");
        assert_eq!(exhausted.ask(&spring, &user("bob")), Told::Nothing);
        let mut learning = exhausted.learn(&spring).expect("nobody else does");
        assert!(exhausted.learn(&spring).is_none(), "one finds out");
        learning.note(&[user("carol")]);
        learning.note(&[user("ann")]);
        learning.keep(3);
        assert!(exhausted.learn(&spring).is_none(), "it is known");
        assert_eq!(exhausted.ask(&spring, &user("bob")), refused(false));
        assert_eq!(exhausted.ask(&spring, &user("ann")), Told::Nothing);
        assert_eq!(exhausted.ask(&spring, &user("carol")), Told::Nothing);
        assert_eq!(exhausted.ask(&id("summer"), &user("bob")), Told::Nothing);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_for_least_lately_makes_room() {
        let exhausted = Exhausted::default();
        let (spring, summer) = (id("spring"), id("summer"));
        let full = Entry {
            version: 1,
            holders: vec![0; HOLDERS_MAX].into(),
            looked_at: Instant::now(),
        };
        {
            let mut known = exhausted.known();
            known.holders = HOLDERS_MAX;
            known.campaigns.insert(spring.clone(), full);
        }
        let mut learning = exhausted.learn(&summer).expect("leave");
        assert!(exhausted.learn(&id("autumn")).is_none(), "one at a time");
        learning.note(&[user("ann")]);
        learning.keep(1);
        assert_eq!(exhausted.ask(&summer, &user("bob")), refused(false));
        assert_eq!(exhausted.ask(&spring, &user("bob")), Told::Nothing);
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_in_a_while_has_the_row_read_again() {
        let exhausted = Exhausted::default();
        let spring = id("spring");
        exhausted.learn(&spring).expect("leave").keep(3);
        tokio::time::advance(LOOK_AFTER).await;
        assert_eq!(exhausted.ask(&spring, &user("bob")), refused(true));
        assert_eq!(exhausted.ask(&spring, &user("bob")), refused(false));
        exhausted.look(&spring, 3, true);
        assert_eq!(exhausted.ask(&spring, &user("bob")), refused(false));
        exhausted.look(&spring, 4, true);
        assert_eq!(exhausted.ask(&spring, &user("bob")), Told::Nothing);
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_is_forgotten_also_while_somebody_finds_out() {
        let exhausted = Exhausted::default();
        let spring = id("spring");
        let changed = BusEvent::Message(BusMessage::CampaignChanged {
            campaign: spring.clone(),
        });
        for event in [&changed, &BusEvent::Gap] {
            exhausted.learn(&spring).expect("leave").keep(1);
            assert_eq!(exhausted.ask(&spring, &user("bob")), refused(false));
            exhausted.heard(event);
            assert_eq!(exhausted.ask(&spring, &user("bob")), Told::Nothing);
            let learning = exhausted.learn(&spring).expect("leave");
            exhausted.heard(event);
            learning.keep(1);
            assert_eq!(exhausted.ask(&spring, &user("bob")), Told::Nothing);
        }
        exhausted.learn(&spring).expect("leave").keep(1);
        exhausted.heard(&BusEvent::Message(BusMessage::CampaignChanged {
            campaign: id("summer"),
        }));
        assert_eq!(exhausted.ask(&spring, &user("bob")), refused(false));
    }
}
