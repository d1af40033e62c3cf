//! L1 to L7: those who take a place.

use super::{
    ALL_ACTIVATED, FAST, Metric, NONE_FAILED, PLAIN, Promise, Scenario, Shape, Source, Users, When,
};

const POLLED: &[(When, Promise)] = &[
    NONE_FAILED,
    (When::Polling, Promise::P95BelowMs(50.0)),
    (When::Polling, Promise::P99BelowMs(200.0)),
    (When::Watching, Promise::TurnP95BelowMs(50.0)),
];

/// 0 → 1,000 users: the picture shows no more than 1,000 and some 90 s; these
/// stages have the mean of 579 that its rate and its times give.
const UP_TO_1000: &[(f64, f64)] = &[(1_000.0, 60.0), (1_000.0, 15.0), (0.0, 15.0)];
const TEN_THOUSAND: &[(f64, f64)] = &[(10_000.0, 0.0), (10_000.0, 120.0)];

pub const LINE: &[Shape] = &[
    Shape {
        id: "L1",
        title: "journey: token, a look each 2 s (15 at most), dates, seats",
        scenario: Scenario::Visit {
            every_s: 2.0,
            looks_max: 15,
        },
        users: Users::OneOf(100_000),
        stages: &[(50.0, 15.0), (150.0, 15.0), (50.0, 15.0), (0.0, 15.0)],
        per_minute: 52.4,
        source: Source {
            hardware: "Apple M1, 16 GB; application on 2 to 6 processors",
            figures: &[
                (Metric::Calls, 2_521.0),
                (Metric::CallsPerS, 27.89),
                (Metric::Journeys, 79.0),
                (Metric::MeanMs, 1_230.0),
                (Metric::P50Ms, 234.14),
                (Metric::P90Ms, 2_680.0),
                (Metric::P95Ms, 11_840.0),
                (Metric::MaxMs, 14_890.0),
            ],
            said: "after tuning, on 8 processors: p95 32.21 ms, while most users were never admitted",
        },
        promises: &[
            NONE_FAILED,
            ALL_ACTIVATED,
            (When::Always, Promise::P95BelowMs(20.0)),
        ],
        remark: "claims its pass, which the report's system did not have; ends at the seats, as there",
        ..PLAIN
    },
    Shape {
        id: "L2a",
        title: "10,000 users take a place and look each 3 s until their turn, for 2 min",
        scenario: Scenario::Wait { every_s: 3.0 },
        users: Users::OneOf(1_000),
        stages: TEN_THOUSAND,
        per_minute: 10_262.0,
        claim_window_s: 10,
        source: Source {
            hardware: "application on 1 processor, 2 GB",
            figures: &[
                (Metric::Calls, 415_136.0),
                (Metric::CallsPerS, 2_767.0),
                (Metric::Journeys, 25_656.0),
                (Metric::FailedPercent, 5.09),
                (Metric::MeanMs, 658.73),
                (Metric::P50Ms, 3.75),
                (Metric::P90Ms, 192.67),
                (Metric::P95Ms, 10_000.0),
                (Metric::MaxMs, 60_000.0),
            ],
            said: "processor pinned",
        },
        promises: POLLED,
        remark: "a turn that nobody claims is over after 10 s; those who watch are 10,000 users of their own, and leave with their turn",
        ..PLAIN
    },
    Shape {
        id: "L2b",
        title: "the same on three processors",
        scenario: Scenario::Wait { every_s: 3.0 },
        users: Users::OneOf(1_000),
        stages: TEN_THOUSAND,
        per_minute: 10_137.0,
        claim_window_s: 10,
        source: Source {
            hardware: "application on 3 processors, 2 GB",
            figures: &[
                (Metric::Calls, 416_597.0),
                (Metric::CallsPerS, 2_776.0),
                (Metric::Journeys, 25_342.0),
                (Metric::FailedPercent, 5.0),
                (Metric::MeanMs, 624.44),
                (Metric::P50Ms, 2.16),
                (Metric::P90Ms, 75.8),
                (Metric::P95Ms, 8_170.0),
                (Metric::MaxMs, 60_000.0),
            ],
            said: "three times the processors, 0.3 % more calls",
        },
        promises: POLLED,
        remark: "as L2a",
        ..PLAIN
    },
    Shape {
        id: "L3",
        title: "\"200,000 users\" take a place: 200,000 calls of up to 1,000 users",
        stages: UP_TO_1000,
        per_minute: 135_400.0,
        source: Source {
            hardware: "application on 3 processors, 2 GB (inferred)",
            figures: &[
                (Metric::Calls, 204_048.0),
                (Metric::CallsPerS, 2_256.0),
                (Metric::FailedPercent, 0.0),
                (Metric::MeanMs, 256.67),
                (Metric::P50Ms, 256.21),
                (Metric::P90Ms, 426.3),
                (Metric::P95Ms, 455.42),
                (Metric::MaxMs, 786.73),
            ],
            said: "",
        },
        promises: &[
            NONE_FAILED,
            FAST,
            (When::AsWritten, Promise::CallsPerSAbove(20_000.0)),
        ],
        remark: "stages read off a picture",
        ..PLAIN
    },
    Shape {
        id: "L4",
        title: "\"over 10,000 users\" take a place and look each 3 s until their turn",
        scenario: Scenario::Wait { every_s: 3.0 },
        stages: UP_TO_1000,
        per_minute: 1_661.0,
        source: Source {
            hardware: "application on 3 processors, 2 GB (inferred)",
            figures: &[
                (Metric::Calls, 20_408.0),
                (Metric::CallsPerS, 226.7),
                (Metric::Journeys, 2_491.0),
                (Metric::MeanMs, 3.19),
                (Metric::P50Ms, 2.53),
                (Metric::P90Ms, 5.77),
                (Metric::P95Ms, 8.0),
                (Metric::MaxMs, 63.66),
            ],
            said: "",
        },
        promises: &[
            NONE_FAILED,
            ALL_ACTIVATED,
            (When::Polling, Promise::P95BelowMs(20.0)),
            (When::Watching, Promise::TurnP95BelowMs(50.0)),
        ],
        remark: "stages read off a picture",
        ..PLAIN
    },
    Shape {
        id: "L5",
        title: "sale: dates, 3 s, seats, 2 s, one or two seats, 2 s, payment",
        scenario: Scenario::Buy,
        stages: &[(300.0, 0.0), (300.0, 8.36)],
        journeys_each: Some(1),
        per_minute: 2_154.0,
        source: Source {
            hardware: "application on 3 processors, 2 GB",
            figures: &[
                (Metric::Calls, 1_200.0),
                (Metric::CallsPerS, 143.6),
                (Metric::FailedPercent, 6.91),
                (Metric::MeanMs, 225.5),
                (Metric::P50Ms, 120.05),
                (Metric::P90Ms, 794.22),
                (Metric::P95Ms, 837.54),
                (Metric::MaxMs, 1_000.0),
            ],
            said: "35.9 journeys/s begun, 13.67 % of the checks failed",
        },
        promises: &[
            NONE_FAILED,
            ALL_ACTIVATED,
            (When::Always, Promise::AllFinished),
            FAST,
        ],
        remark: "joins, watches and claims first; there tokens were made before",
        ..PLAIN
    },
    Shape {
        id: "L6",
        title: "token, maximum: 12,000 a minute",
        stages: &[
            (5_333.0, 15.0),
            (12_000.0, 15.0),
            (5_333.0, 15.0),
            (0.0, 15.0),
        ],
        per_minute: 12_000.0,
        source: Source {
            hardware: "application on 1 processor, 500 MB at first; host of 8, k6 on it too",
            figures: &[
                (Metric::MeanMs, 25_980.0),
                (Metric::P90Ms, 47_840.0),
                (Metric::P95Ms, 50_940.0),
            ],
            said: "6,000 went well; at 18,000 the client ran out of sockets",
        },
        promises: &[
            NONE_FAILED,
            (When::AsWritten, Promise::P95BelowMs(1_000.0)),
            (When::Arrivals, Promise::P95BelowMs(20.0)),
        ],
        remark: "the report's stages (200, 450, 200, 0) at its highest target",
        ..PLAIN
    },
    Shape {
        id: "L7",
        title: "token, optimum: 400",
        stages: &[(150.0, 15.0), (350.0, 15.0), (400.0, 15.0), (450.0, 15.0)],
        per_minute: 400.0,
        source: Source {
            hardware: "as L6",
            figures: &[
                (Metric::MeanMs, 440.0),
                (Metric::P90Ms, 790.0),
                (Metric::P95Ms, 970.0),
            ],
            said: "chosen so that p95 stays below a second",
        },
        ..PLAIN
    },
];
