import assert from "node:assert/strict";
import { test } from "node:test";
import { countdown, decimals, money, seatNames, waitRange } from "../src/page/format.js";

test("money is shown in the currency's own units", () => {
  assert.equal(money({ currencyCode: "USD", amountMinor: 1250n }), "$12.50");
  assert.equal(money({ currencyCode: "KRW", amountMinor: 120_000n }), "₩120,000");
  assert.deepEqual([decimals("USD"), decimals("KRW")], [2, 0]);
});

test("seats are named by section, row and number", () => {
  const row = (section: string, row: string, ...numbers: number[]) => numbers.map((number) => ({ section, row, number }));
  for (const [seats, text] of [
    [row("Stalls", "1", 1, 2), "Stalls, row 1, seats 1 and 2"],
    [row("Stalls", "1", 12), "Stalls, row 1, seat 12"],
    [row("Stalls", "B", 7, 3, 1, 2), "Stalls, row B, seats 1–3 and 7"],
    [row("Stalls", "1", 1, 3, 5), "Stalls, row 1, seats 1, 3 and 5"],
    [
      [...row("Stalls", "1", 1), ...row("Stalls", "11", 1), ...row("Balcony", "1", 1)],
      "Stalls, row 1, seat 1; Stalls, row 11, seat 1; Balcony, row 1, seat 1",
    ],
    [[], ""],
  ] as const) {
    assert.equal(seatNames(seats), text);
  }
});

test("a countdown rounds up and never goes below zero", () => {
  assert.equal(countdown(45_000), "0:45");
  assert.equal(countdown(44_001), "0:45");
  assert.equal(countdown(3_725_000), "1:02:05");
  assert.equal(countdown(-5), "0:00");
});

test("a range is rounded outwards: what is said contains what was given", () => {
  for (const [lowS, highS, text] of [
    [3, 8, "less than 10 seconds"],
    [22, 31, "20 to 35 seconds"],
    [40, 60, "about a minute"],
    [30, 200, "up to 4 minutes"],
    [90, 170, "1 to 3 minutes"],
    [119, 121, "1 to 3 minutes"],
    [3600, 7300, "60 to 122 minutes"],
    [7000, 12_000, "1 to 4 hours"],
  ] as const) {
    assert.equal(waitRange(lowS * 1000, highS * 1000), text, `${lowS} to ${highS} s`);
  }
});
