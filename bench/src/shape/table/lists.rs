//! L8 to L13: those who look at what is sold.

use super::{
    ALL_ACTIVATED, FAST, Metric, NONE_FAILED, PLAIN, Promise, Scenario, Shape, Source, When,
};

const LIST: &[(When, Promise)] = &[NONE_FAILED, FAST];
const DATES: &[(When, Promise)] = &[NONE_FAILED, ALL_ACTIVATED, FAST];

/// As the report ramps its list: 15 s each.
const LIST_MAX: &[(f64, f64)] = &[
    (4_444.0, 15.0),
    (8_000.0, 15.0),
    (4_444.0, 15.0),
    (0.0, 15.0),
];

const DATES_OF_THE_REPORT: Scenario = Scenario::Dates {
    asleep_s: 40.0,
    looks: 5,
    every_s: 1.0,
};

pub const LISTS: &[Shape] = &[
    Shape {
        id: "L8",
        title: "list of 10,000 concerts without pages: 10,000",
        scenario: Scenario::ListAll,
        stages: &[
            (5_556.0, 15.0),
            (10_000.0, 15.0),
            (5_556.0, 15.0),
            (0.0, 15.0),
        ],
        per_minute: 10_000.0,
        concerts: 10_000,
        source: Source {
            hardware: "application on 1 processor, 500 MB",
            figures: &[],
            said: "the cache server's time-outs, and the heap ran out",
        },
        remark: "a journey reads the whole list, in the largest pages there are (100)",
        ..PLAIN
    },
    Shape {
        id: "L9",
        title: "list of concerts, 10 a page, maximum: 8,000",
        scenario: Scenario::ListPage,
        stages: LIST_MAX,
        per_minute: 8_000.0,
        concerts: 10_000,
        source: Source {
            hardware: "application raised to 2 processors, 1 GB; cache server to 2, 2 GB",
            figures: &[
                (Metric::MeanMs, 4_400.0),
                (Metric::P90Ms, 7_510.0),
                (Metric::P95Ms, 21_830.0),
            ],
            said: "9,000: p95 23.92 s; misses of the cache surge over 13,000",
        },
        promises: LIST,
        remark: "the report's stages (500, 900, 500, 0) at the maximum it chose; a tenth looks at the second page",
        ..PLAIN
    },
    Shape {
        id: "L10",
        title: "list of concerts, 10 a page, optimum: 900",
        scenario: Scenario::ListPage,
        stages: &[(400.0, 15.0), (500.0, 15.0), (900.0, 15.0), (1_000.0, 15.0)],
        per_minute: 900.0,
        concerts: 10_000,
        source: Source {
            hardware: "as L9",
            figures: &[
                (Metric::MeanMs, 460.0),
                (Metric::P90Ms, 810.0),
                (Metric::P95Ms, 970.0),
            ],
            said: "chosen so that p95 stays below a second",
        },
        promises: LIST,
        ..PLAIN
    },
    Shape {
        id: "L11",
        title: "token, 40 s, dates five times; 100 in per 10 s: 600",
        scenario: DATES_OF_THE_REPORT,
        stages: &[(375.0, 15.0), (600.0, 15.0), (375.0, 15.0)],
        per_minute: 600.0,
        turns_per_s: 10.0,
        source: Source {
            hardware: "pool of 10, then 25 connections",
            figures: &[],
            said: "pool of 10: all in use, 27 waiting, time-outs after 30 s; of 25: 95 % went well, 57 waiting",
        },
        promises: DATES,
        remark: "the report's stages (50, 80, 50) at its highest target; users watch for their turn",
        ..PLAIN
    },
    Shape {
        id: "L12",
        title: "the same, 50 in per 10 s: 300",
        scenario: DATES_OF_THE_REPORT,
        stages: &[(187.0, 15.0), (300.0, 15.0), (187.0, 15.0)],
        per_minute: 300.0,
        turns_per_s: 5.0,
        source: Source {
            hardware: "pool of 25",
            figures: &[
                (Metric::MeanMs, 9_710.0),
                (Metric::P90Ms, 32_080.0),
                (Metric::P95Ms, 38_020.0),
            ],
            said: "",
        },
        promises: DATES,
        remark: "as L11",
        ..PLAIN
    },
    Shape {
        id: "L13",
        title: "the same, optimum: 70",
        scenario: DATES_OF_THE_REPORT,
        stages: &[(44.0, 15.0), (70.0, 15.0), (44.0, 15.0)],
        per_minute: 70.0,
        turns_per_s: 5.0,
        source: Source {
            hardware: "pool of 25",
            figures: &[
                (Metric::MeanMs, 230.0),
                (Metric::P90Ms, 1_070.0),
                (Metric::P95Ms, 1_610.0),
            ],
            said: "150 and 100 were slower",
        },
        promises: DATES,
        remark: "as L11",
        ..PLAIN
    },
];
