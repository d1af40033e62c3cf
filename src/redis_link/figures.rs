//! What the link counts.

use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::metrics::{
    BUS_GAPS, BUS_MESSAGES, Metrics, REDIS_BREAKER_OPENED, REDIS_COMMAND_DURATION,
    REDIS_CONNECTIONS, REDIS_SHED,
};

/// Handles that are used often.
#[derive(Clone)]
pub struct Figures {
    metrics: Metrics,
    answered: Histogram,
    refused: Histogram,
    gone: Histogram,
    breaker_opened: Counter,
    shed_breaker: Counter,
    shed_in_flight: Counter,
    connected: Counter,
    connect_failed: Counter,
    received: Counter,
    sent: Counter,
    lost: Counter,
}

/// How a command went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    Refused,
    Gone,
}

impl Figures {
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let duration = |outcome| metrics.histogram(&REDIS_COMMAND_DURATION, &[outcome]);
        let shed = |reason| metrics.counter(&REDIS_SHED, &[reason]);
        let bus = |what| metrics.counter(&BUS_MESSAGES, &[what]);
        Self {
            answered: duration("answered"),
            refused: duration("refused"),
            gone: duration("gone"),
            breaker_opened: metrics.counter(&REDIS_BREAKER_OPENED, &[]),
            shed_breaker: shed("breaker"),
            shed_in_flight: shed("in_flight"),
            connected: metrics.counter(&REDIS_CONNECTIONS, &["opened"]),
            connect_failed: metrics.counter(&REDIS_CONNECTIONS, &["failed"]),
            received: bus("received"),
            sent: bus("sent"),
            lost: bus("lost"),
            metrics: metrics.clone(),
        }
    }

    pub(super) fn command(&self, outcome: Outcome, took: Duration) {
        let histogram = match outcome {
            Outcome::Answered => &self.answered,
            Outcome::Refused => &self.refused,
            Outcome::Gone => &self.gone,
        };
        histogram.record(took.as_secs_f64());
    }

    pub(super) fn breaker_opened(&self) {
        self.breaker_opened.increment(1);
    }

    pub(super) fn shed_by_breaker(&self) {
        self.shed_breaker.increment(1);
    }

    pub(super) fn shed_by_limit(&self) {
        self.shed_in_flight.increment(1);
    }

    pub(super) fn connection(&self, was_opened: bool) {
        match was_opened {
            true => self.connected.increment(1),
            false => self.connect_failed.increment(1),
        }
    }

    /// A message came in from the bus.
    pub fn bus_received(&self) {
        self.received.increment(1);
    }

    /// A message went out to the bus, or was lost on the way.
    pub fn bus_sent(&self, was_sent: bool) {
        match was_sent {
            true => self.sent.increment(1),
            false => self.lost.increment(1),
        }
    }

    /// Messages may be missing, and why.
    pub fn bus_gap(&self, reason: &'static str) {
        self.metrics.counter(&BUS_GAPS, &[reason]).increment(1);
    }
}
