//! Settings of what is outside: Kafka and who reads it, receivers of
//! notifications, the payment provider.

use super::{Checked, RETAIN_CLOSED_MOST_MS, refuse, within};
use crate::config::{AuthMode, Config, MEMORY_PROVIDER, Secret, SecretUrl};

const SECRET_BYTES_MIN: usize = 16;

/// What receivers are told at: without TLS in this version.
fn is_plain_url(url: &str) -> bool {
    let parsed = url.parse::<http::Uri>();
    parsed.is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some())
}

/// What Kafka takes as a name.
fn is_topic(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=200).contains(&name.len()) && name.chars().all(allowed)
}

/// Whether nobody on the way can read what goes there.
#[must_use]
pub fn is_guarded(url: &str) -> bool {
    let parsed: Result<http::Uri, _> = url.parse();
    let Ok(uri) = parsed else {
        return false;
    };
    let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
        return false;
    };
    // Who it is meant for is not who it looks like.
    if authority.as_str().contains('@') {
        return false;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip: Result<std::net::IpAddr, _> = host.parse();
    let is_here = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_here,
        _ => false,
    }
}

fn check_receiver(section: &str, url: Option<&SecretUrl>, secret: Option<&Secret>) -> Checked {
    if url.is_some_and(|url| !is_plain_url(url.reveal())) {
        let key = format!("{section}.url");
        return refuse(&key, "is not http://HOST[:PORT]/PATH");
    }
    if secret.is_some_and(|secret| secret.reveal().len() < SECRET_BYTES_MIN) {
        let key = format!("{section}.secret");
        return refuse(&key, "is shorter than 16 bytes");
    }
    Ok(())
}

/// What a client may take for granted of its keys.
const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;

impl Config {
    pub(super) fn check_kafka(&self) -> Checked {
        let kafka = &self.kafka;
        for (key, name) in [("kafka.topic", &kafka.topic), ("kafka.group", &kafka.group)] {
            if !is_topic(name) {
                return refuse(key, "is not 1 to 200 of A-Z, a-z, 0-9, dot, _ and -");
            }
        }
        let partitions = u64::from(kafka.topic_partitions);
        within("kafka.topic_partitions", partitions, 1, 10_000)?;
        let replicas = u64::from(kafka.topic_replicas);
        within("kafka.topic_replicas", replicas, 0, 100)?;
        within("kafka.linger_ms", kafka.linger_ms, 0, 1_000)?;
        // A batch is delivered while its partition's lease lasts.
        let key = "kafka.delivery_timeout_ms";
        within(key, kafka.delivery_timeout_ms, 100, 3_000)?;
        let key = "kafka.message_bytes_max";
        within(key, kafka.message_bytes_max.into(), 10_000, 100_000_000)?;
        let key = "kafka.queue_events_max";
        within(key, kafka.queue_events_max.into(), 1_000, 1_000_000)?;
        // More would not keep the order.
        within("kafka.in_flight_max", kafka.in_flight_max.into(), 1, 5)?;
        let key = "kafka.metadata_refresh_ms";
        within(key, kafka.metadata_refresh_ms, 100, 3_600_000)?;
        let key = "kafka.session_timeout_ms";
        within(key, kafka.session_timeout_ms, 6_000, 300_000)
    }

    pub(super) fn check_consumers(&self) -> Checked {
        let consumers = &self.consumers;
        let events = consumers.batch_events_max as u64;
        within("consumers.batch_events_max", events, 1, 10_000)?;
        let attempts = u64::from(consumers.attempts_max);
        within("consumers.attempts_max", attempts, 1, 1_000)?;
        within("consumers.back_off_ms", consumers.back_off_ms, 10, 60_000)?;
        let key = "consumers.back_off_max_ms";
        let low = consumers.back_off_ms;
        within(key, consumers.back_off_max_ms, low, 600_000)?;
        // In the process, a batch is consumed while its partition's lease lasts.
        let most_ms = match self.kafka_brokers {
            Some(_) => 60_000,
            None => 3_000,
        };
        let key = "consumers.apply_timeout_ms";
        within(key, consumers.apply_timeout_ms, 100, most_ms)?;
        let key = "consumers.inbox_kept_ms";
        within(key, consumers.inbox_kept_ms, 60_000, RETAIN_CLOSED_MOST_MS)
    }

    pub(super) fn check_retention(&self) -> Checked {
        let retention = &self.retention;
        let least = retention.idempotency_ms;
        let most = RETAIN_CLOSED_MOST_MS;
        within("retention.idempotency_ms", least, DAY_MS, most)?;
        within("retention.events_ms", retention.events_ms, 60_000, most)?;
        // One that is signed for later is good for as long again.
        let good_for = 2 * self.gateway.webhook_tolerance_ms;
        let key = "retention.gateway_events_ms";
        within(
            key,
            retention.gateway_events_ms,
            good_for.max(HOUR_MS),
            most,
        )?;
        for (key, kept_ms) in [
            (
                "retention.declined_intents_ms",
                retention.declined_intents_ms,
            ),
            ("retention.ended_holds_ms", retention.ended_holds_ms),
            ("retention.finished_sales_ms", retention.finished_sales_ms),
        ] {
            if kept_ms != 0 {
                within(key, kept_ms, least, most)?;
            }
        }
        Ok(())
    }

    pub(super) fn check_receivers(&self) -> Checked {
        let (notifier, feed) = (&self.notifier, &self.feed);
        let (url, secret) = (notifier.url.as_ref(), notifier.secret.as_ref());
        check_receiver("notifier", url, secret)?;
        within("notifier.timeout_ms", notifier.timeout_ms, 100, 60_000)?;
        let key = "notifier.in_flight_max";
        within(key, notifier.in_flight_max as u64, 1, 1_000)?;
        let day_ms = 24 * HOUR_MS;
        for (key, before_ms, least, most) in [
            (
                "notifier.pay_before_ms",
                notifier.pay_before_ms,
                1_000,
                HOUR_MS,
            ),
            (
                "notifier.remind_before_ms",
                notifier.remind_before_ms,
                60_000,
                30 * day_ms,
            ),
        ] {
            if before_ms == 0 {
                continue;
            }
            within(key, before_ms, least, most)?;
            if self.kafka_brokers.is_none() && notifier.url.is_none() {
                let why = "needs kafka_brokers or notifier.url: nobody else would hear of it";
                return refuse(key, why);
            }
        }
        check_receiver("feed", feed.url.as_ref(), feed.secret.as_ref())?;
        within("feed.timeout_ms", feed.timeout_ms, 100, 60_000)?;
        let key = "feed.in_flight_max";
        within(key, feed.in_flight_max as u64, 1, 1_000)?;
        match feed.source.parse::<http::Uri>() {
            Ok(_) => Ok(()),
            Err(_) => refuse("feed.source", "is no URI, nor a path"),
        }
    }

    pub(super) fn check_gateway(&self) -> Checked {
        let gateway = &self.gateway;
        if gateway.is_memory() && self.redis_url.is_some() {
            let why = "memory: is one process's alone, and redis_url is for several";
            return refuse("gateway.url", why);
        }
        if gateway.is_memory() && self.auth.mode != AuthMode::Dev {
            let why = "memory: is play money, and needs auth.mode = \"dev\"";
            return refuse("gateway.url", why);
        }
        if let Some(url) = gateway.url.as_ref().filter(|_| !gateway.is_memory()) {
            if !is_guarded(url.reveal()) {
                let why = "must be https, or http on loopback: it carries a key";
                return refuse("gateway.url", why);
            }
            if gateway.api_key.is_none() {
                return refuse("gateway.api_key", "is needed beside gateway.url");
            }
        }
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let provider = &gateway.provider;
        if !(1..=32).contains(&provider.len()) || !provider.chars().all(is_plain) {
            return refuse("gateway.provider", "must be 1 to 32 of a-z, 0-9 and -");
        }
        if provider == MEMORY_PROVIDER {
            return refuse("gateway.provider", "is the name of gateway.url = memory:");
        }
        let secret = gateway.webhook_secret.as_ref();
        if secret.is_some_and(|secret| secret.reveal().len() < 16) {
            return refuse("gateway.webhook_secret", "is shorter than 16 characters");
        }
        let key = "gateway.answer_within_ms";
        within(key, gateway.answer_within_ms, 10, 60_000)?;
        let key = "gateway.call_timeout_ms";
        within(key, gateway.call_timeout_ms, 100, 60_000)?;
        // What was lost is to be found before its hold ends.
        let key = "gateway.time_limit_ms";
        let low = 3 * gateway.call_timeout_ms + 1_000;
        within(key, gateway.time_limit_ms, low, 3_600_000)?;
        let calls = gateway.payments_max as u64;
        within("gateway.payments_max", calls, 1, 10_000)?;
        let key = "gateway.webhook_tolerance_ms";
        within(key, gateway.webhook_tolerance_ms, 1_000, 3_600_000)?;
        let failures = u64::from(gateway.breaker_failures);
        within("gateway.breaker_failures", failures, 1, 1_000)?;
        let key = "gateway.breaker_open_ms";
        within(key, gateway.breaker_open_ms, 10, 60_000)
    }
}
