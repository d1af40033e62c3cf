//! What is wrong with which server, for people to read and for a start to
//! judge. A server is believed to be well from a connection that was made and
//! judged until one ends or cannot be made.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::LinkError;
use super::server::Unfit;
use super::slots::Address;

#[derive(Default)]
pub(super) struct Troubles(Mutex<Known>);

#[derive(Default)]
struct Known {
    servers: HashMap<Address, Unfit>,
    /// Of finding out which servers there are.
    search: Option<String>,
}

impl Troubles {
    pub(super) fn none(&self, server: &Address) {
        self.known().servers.remove(server);
    }

    pub(super) fn gone(&self, server: &Address, why: &str) {
        self.note(server, LinkError::Unavailable(why.to_owned()).into());
    }

    /// Whether that is news.
    pub(super) fn note(&self, server: &Address, trouble: Unfit) -> bool {
        let mut known = self.known();
        let before = known.servers.insert(server.clone(), trouble.clone());
        before.as_ref() != Some(&trouble)
    }

    pub(super) fn of(&self, server: &Address) -> Option<Unfit> {
        self.known().servers.get(server).cloned()
    }

    pub(super) fn searched(&self, trouble: Option<String>) {
        self.known().search = trouble;
    }

    /// Those of servers that are asked no more are forgotten.
    pub(super) fn keep(&self, servers: &[Address]) {
        self.known()
            .servers
            .retain(|server, _| servers.contains(server));
    }

    pub(super) fn any(&self) -> Option<String> {
        let known = self.known();
        let of_server = known.servers.values().next().map(Unfit::to_string);
        of_server.or_else(|| known.search.clone())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
