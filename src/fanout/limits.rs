//! The hub's limits, each with its unit.

#[derive(Debug, Clone)]
pub struct HubLimits {
    /// Parts of the hub that are locked on their own.
    pub shards: usize,
    /// Streams open at once on this node.
    pub streams_max: usize,
    /// Streams of one place; the oldest goes.
    pub streams_per_place: usize,
    /// Silence never exceeds it; told to the client.
    pub heartbeat_interval_ms: u64,
    /// How much earlier a heartbeat is due, for the granularity of time here.
    pub heartbeat_lead_ms: u64,
    /// A room's tick: the unit in which a stream waits for the client's cursor.
    pub tick_ms: u64,
    /// A stream that has something due and takes nothing for so long ends. Of a change
    /// of its room one that is carried learns when it is asked: it counts for it from
    /// its next position or heartbeat.
    pub write_stall_ms: u64,
    /// After about this long a stream is asked to come back.
    pub stream_age_max_ms: u64,
    /// Over which those who are asked to come back are spread.
    pub reconnect_spread_ms: u64,
    /// Over which positions after an epoch, an opening or an outage are spread.
    pub refresh_spread_ms: u64,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            shards: 16,
            streams_max: 200_000,
            streams_per_place: 3,
            heartbeat_interval_ms: 25_000,
            heartbeat_lead_ms: 500,
            tick_ms: 100,
            write_stall_ms: 30_000,
            stream_age_max_ms: 30 * 60_000,
            reconnect_spread_ms: 5_000,
            refresh_spread_ms: 2_000,
        }
    }
}

impl HubLimits {
    /// After this much silence a heartbeat is due.
    pub(super) fn silence_max_ms(&self) -> u64 {
        self.heartbeat_interval_ms
            .saturating_sub(self.heartbeat_lead_ms)
            .max(1)
    }
}
