// A clock that only moves when a test moves it.

import type { Clock } from "../../src/clock.js";

export class TestClock implements Clock {
  nowMs = 1_700_000_000_000;
  chance = 0;
  #timers = new Set<{ atMs: number; run: () => void }>();

  now(): number {
    return this.nowMs;
  }

  random(): number {
    return this.chance;
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: this.nowMs + delayMs, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** How long until the next timer; undefined if none is set. */
  get nextMs(): number | undefined {
    const first = Math.min(...[...this.#timers].map((timer) => timer.atMs));
    return Number.isFinite(first) ? first - this.nowMs : undefined;
  }

  advance(byMs: number): void {
    const end = this.nowMs + byMs;
    for (;;) {
      const due = [...this.#timers].filter((timer) => timer.atMs <= end).sort((a, b) => a.atMs - b.atMs)[0];
      if (!due) break;
      this.#timers.delete(due);
      this.nowMs = due.atMs;
      due.run();
    }
    this.nowMs = end;
  }
}

/** Waits, in turns of the event loop and not in time, until `holds`; fails with `what` if it never does. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  for (let turns = 0; turns < 500; turns++) {
    if (holds()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`never: ${what}`);
}

/** Lets everything that can happen without time happen. */
export async function settle(): Promise<void> {
  for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve));
}
