//! Who is called when a stream has something to say.
//!
//! A stream that has nothing to say sleeps. One that stands alone leaves a
//! waker. The streams of one connection are carried: its task is called once,
//! with the keys of all that woke, and what they say leaves together.
//!
//! Calls are collected under a shard's lock and made after it is released.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// What serves several streams by one task: a connection.
pub trait Carrier: Send + Sync + 'static {
    /// Spreads the moments of carriers; two may have the same.
    fn number(&self) -> u32;

    /// Ask these streams, by the keys under which they are carried.
    fn call(&self, keys: &[u32]);

    /// Ask every stream.
    fn call_all(&self);
}

/// The task that reads a stream.
pub(super) enum Reader {
    /// Asleep while its waker is here.
    Alone(Option<Waker>),
    Carried {
        by: Arc<dyn Carrier>,
        key: u32,
        is_asleep: bool,
    },
}

impl Reader {
    pub fn sleep(&mut self, waker: &Waker) {
        match self {
            Self::Alone(Some(kept)) => kept.clone_from(waker),
            Self::Alone(none) => *none = Some(waker.clone()),
            Self::Carried { is_asleep, .. } => *is_asleep = true,
        }
    }

    /// Hears of what concerns its whole room with all that its carrier has.
    pub fn is_carried(&self) -> bool {
        matches!(self, Self::Carried { .. })
    }
}

#[derive(Default)]
pub(super) struct Calls {
    alone: Vec<Waker>,
    carried: HashMap<usize, (Arc<dyn Carrier>, Vec<u32>)>,
}

impl Calls {
    /// Calls a reader that sleeps.
    pub fn add(&mut self, reader: &mut Reader) {
        match reader {
            Reader::Alone(waker) => self.alone.extend(waker.take()),
            Reader::Carried { by, key, is_asleep } => {
                if std::mem::take(is_asleep) {
                    let none = || (Arc::clone(by), Vec::new());
                    let (_, keys) = self.carried.entry(id_of(by)).or_insert_with(none);
                    keys.push(*key);
                }
            }
        }
    }

    /// Under no lock: whoever is called may ask at once.
    pub fn make(self) {
        self.alone.into_iter().for_each(Waker::wake);
        for (carrier, keys) in self.carried.into_values() {
            carrier.call(&keys);
        }
    }
}

/// Whoever keeps a carrier may know it by this.
fn id_of(carrier: &Arc<dyn Carrier>) -> usize {
    Arc::as_ptr(carrier).cast::<()>().addr()
}

/// The carriers with streams of one room.
#[derive(Default)]
pub(super) struct Carriers(Mutex<HashMap<usize, OfRoom>>);

struct OfRoom {
    carrier: Arc<dyn Carrier>,
    streams: u32,
}

impl Carriers {
    pub fn add(&self, carrier: &Arc<dyn Carrier>) {
        let mut carriers = self.lock();
        let of_room = carriers.entry(id_of(carrier)).or_insert_with(|| OfRoom {
            carrier: Arc::clone(carrier),
            streams: 0,
        });
        of_room.streams += 1;
    }

    pub fn remove(&self, carrier: &Arc<dyn Carrier>) {
        let (mut carriers, id) = (self.lock(), id_of(carrier));
        if let Some(of_room) = carriers.get_mut(&id) {
            of_room.streams -= 1;
            if of_room.streams == 0 {
                carriers.remove(&id);
            }
        }
    }

    pub fn call_all(&self) {
        let of_room = |of_room: &OfRoom| Arc::clone(&of_room.carrier);
        let carriers: Vec<_> = self.lock().values().map(of_room).collect();
        carriers.iter().for_each(|carrier| carrier.call_all());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, OfRoom>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
