//! One direction of one connection: a reader, a bounded queue, a writer.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::pattern::{Effect, Hit, Tail, When};
use super::{CHUNK_BYTES_MAX, Direction, Flow, Link, QUEUE_CHUNKS, Settings, Shared};

/// How one direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PumpEnd {
    /// The sender closed its side, and the receiver was told.
    Closed,
    /// One side failed.
    Broken,
    /// A rule cuts the connection.
    Cut,
}

struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
    end: Option<PumpEnd>,
}

pub(super) struct Pump<'a> {
    direction: Direction,
    client: IpAddr,
    shared: &'a Shared,
    settings: watch::Receiver<Settings>,
    tail: Tail,
    jitter: u64,
    /// The latest due time given: later chunks are never due earlier.
    due: Instant,
    /// A byte was dropped: none is forwarded any more.
    dropped: bool,
}

impl<'a> Pump<'a> {
    pub fn new(direction: Direction, connection: u64, client: IpAddr, shared: &'a Shared) -> Self {
        let salt = connection * 2 + direction.index() as u64;
        Self {
            direction,
            client,
            shared,
            settings: shared.settings.subscribe(),
            tail: Tail::new(direction, connection),
            // xorshift never leaves 0, so a seed is made odd.
            jitter: (shared.seed ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1,
            due: Instant::now(),
            dropped: false,
        }
    }

    pub async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> PumpEnd {
        let (queue, chunks) = mpsc::channel(QUEUE_CHUNKS);
        let direction = self.direction;
        let shared = self.shared;
        let read = self.read(from, queue);
        let write = write(to, chunks, direction, shared);
        tokio::pin!(read, write);
        let mut reading = true;
        loop {
            // The writer decides the end: a reader may wait for bytes for ever.
            tokio::select! {
                end = &mut write => return end,
                () = &mut read, if reading => reading = false,
            }
        }
    }

    fn link(&self) -> Link {
        self.settings.borrow().links[self.direction.index()]
    }

    async fn read(mut self, mut from: ReadHalf<'_>, queue: mpsc::Sender<Chunk>) {
        let mut buffer = vec![0; CHUNK_BYTES_MAX];
        loop {
            let (direction, client) = (self.direction, self.client);
            let may_read = |settings: &Settings| settings.flow(direction, client) != Flow::Stall;
            if self.settings.wait_for(may_read).await.is_err() {
                return;
            }
            let read_bytes_max = read_bytes_max(self.link());
            // A change of the settings is awaited too: a stall that comes while
            // nothing flows must stop the next byte.
            let read = tokio::select! {
                biased;
                changed = self.settings.changed() => {
                    if changed.is_err() { return; }
                    continue;
                }
                read = from.read(&mut buffer[..read_bytes_max]) => read,
            };
            let ended = match read {
                Ok(0) => Some(PumpEnd::Closed),
                Err(_) => Some(PumpEnd::Broken),
                Ok(_) => None,
            };
            if let Some(end) = ended {
                // After a drop the receiver never learns that the sender is gone.
                if self.dropped {
                    std::future::pending::<()>().await;
                }
                self.send(&queue, &[], Some(end)).await;
                return;
            }
            let bytes = &buffer[..read.unwrap_or_default()];
            if !self.forward(&queue, bytes).await {
                return;
            }
        }
    }

    /// Passes a chunk on as the rules and the link say; false when it is over.
    async fn forward(&mut self, queue: &mpsc::Sender<Chunk>, bytes: &[u8]) -> bool {
        self.dropped |= self.link().flow == Flow::Drop;
        if self.dropped {
            self.count_dropped(bytes.len());
            return true;
        }
        let hit = self.tail.find(bytes, &mut self.shared.lock_rules());
        let Some(hit) = hit else {
            return self.send(queue, bytes, None).await;
        };
        let (first, rest) = bytes.split_at(hit.forward);
        if !self.send(queue, first, None).await {
            return false;
        }
        // Before anyone knows of the hit, and lets go.
        let let_go = self.settings.borrow().let_go;
        self.shared.count(|progress| progress.matched += 1);
        if hit.effect == Effect::Hold {
            let goes_on = self.settings.wait_for(|now| now.let_go != let_go);
            if goes_on.await.is_err() {
                return false;
            }
            return self.send(queue, rest, None).await;
        }
        self.apply(queue, hit, rest).await
    }

    async fn apply(&mut self, queue: &mpsc::Sender<Chunk>, hit: Hit, rest: &[u8]) -> bool {
        match hit.effect {
            Effect::Cut => {
                // Before: the receiver is reset too, as if the pattern never left.
                let end = match hit.when {
                    When::Before => PumpEnd::Broken,
                    When::After => PumpEnd::Cut,
                };
                self.send(queue, &[], Some(end)).await;
                false
            }
            Effect::Drop => {
                self.dropped = true;
                self.count_dropped(rest.len());
                true
            }
            Effect::Delay { .. } | Effect::Hold => {
                self.due = self.due.max(Instant::now()) + hit.delay();
                self.send(queue, rest, None).await
            }
        }
    }

    async fn send(
        &mut self,
        queue: &mpsc::Sender<Chunk>,
        bytes: &[u8],
        end: Option<PumpEnd>,
    ) -> bool {
        if bytes.is_empty() && end.is_none() {
            return true;
        }
        let link = self.link();
        let latency = Duration::from_millis(link.delay_ms + self.next_jitter_ms(link.jitter_ms));
        // Never earlier than the chunk before: bytes keep their order.
        self.due = self.due.max(Instant::now() + latency);
        let chunk = Chunk {
            due: self.due,
            bytes: bytes.to_vec(),
            end,
        };
        // With a limit the next chunk waits until this one is through.
        if let Some(micros) = (bytes.len() as u64 * 1_000_000).checked_div(link.bytes_per_s) {
            self.due += Duration::from_micros(micros);
        }
        queue.send(chunk).await.is_ok()
    }

    fn count_dropped(&self, bytes: usize) {
        let index = self.direction.index();
        self.shared
            .count(|progress| progress.dropped_bytes[index] += bytes as u64);
    }

    fn next_jitter_ms(&mut self, jitter_ms: u64) -> u64 {
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        self.jitter % (jitter_ms + 1)
    }
}

/// A limited link is read in pieces of about a tenth of a second.
fn read_bytes_max(link: Link) -> usize {
    match usize::try_from(link.bytes_per_s / 10) {
        Ok(0) if link.bytes_per_s == 0 => CHUNK_BYTES_MAX,
        Ok(tenth) => tenth.clamp(1, CHUNK_BYTES_MAX),
        Err(_) => CHUNK_BYTES_MAX,
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut chunks: mpsc::Receiver<Chunk>,
    direction: Direction,
    shared: &Shared,
) -> PumpEnd {
    while let Some(chunk) = chunks.recv().await {
        tokio::time::sleep_until(chunk.due).await;
        if !chunk.bytes.is_empty() {
            if to.write_all(&chunk.bytes).await.is_err() {
                return PumpEnd::Broken;
            }
            let index = direction.index();
            let bytes = chunk.bytes.len() as u64;
            shared.count(|progress| progress.forwarded_bytes[index] += bytes);
        }
        if let Some(end) = chunk.end {
            // Closed and Cut end the receiver's input in order, after all data.
            if end != PumpEnd::Broken {
                let _ = to.shutdown().await;
            }
            return end;
        }
    }
    PumpEnd::Broken
}
