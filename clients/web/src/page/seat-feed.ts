// The seats of one performance as they change, by the rules at `CatalogService.WatchSeatMap`.

import { backoffMs } from "../backoff.js";
import { sleep, systemClock } from "../clock.js";
import { mayRepeat, type Refusal, refusalOf } from "../errors.js";
import type { Seat } from "../gen/usher/v1/catalog_pb.js";
import type { Api } from "./api.js";

export interface SeatFeed {
  seats: Map<string, Seat>;
  close(): void;
}

/** `onChange` is told the seats that changed, or nothing after a snapshot; `onEnd` why nothing more will come. */
export function seatFeed(
  api: Api,
  performanceId: string,
  pass: string | undefined,
  onChange: (changed?: Seat[]) => void,
  onEnd: (refusal: Refusal) => void,
): SeatFeed {
  const seats = new Map<string, Seat>();
  const closed = new AbortController();
  const { signal } = closed;
  const headers: Record<string, string> = pass ? { "x-usher-pass": pass } : {};
  let resumeCursor: string | undefined;

  function take(news: Seat[]): Seat[] {
    const changed = news.filter((seat) => seat.version >= (seats.get(seat.id)?.version ?? 0n));
    for (const seat of changed) seats.set(seat.id, seat);
    return changed;
  }

  async function watchOnce(): Promise<void> {
    const request = { performanceId, ...(resumeCursor === undefined ? {} : { resumeCursor }) };
    for await (const message of api.catalog.watchSeatMap(request, { signal, headers })) {
      resumeCursor = message.cursor;
      if (message.event.case === "snapshot") {
        take(message.event.value.seats);
        onChange();
      } else if (message.event.case === "delta") {
        onChange(take(message.event.value.seats));
      }
    }
  }

  async function run(): Promise<void> {
    for (let failures = 1; !signal.aborted; failures++) {
      let afterMs = 0;
      const before = resumeCursor;
      try {
        await watchOnce();
      } catch (thrown) {
        if (signal.aborted) return;
        const refusal = refusalOf(thrown);
        if (!mayRepeat(refusal)) return onEnd(refusal);
        afterMs = refusal.retryAfterMs ?? 0;
      }
      if (resumeCursor !== before) failures = 1;
      await sleep(systemClock, Math.max(afterMs, backoffMs(failures, Math.random())), signal);
    }
  }

  void run();
  return { seats, close: () => closed.abort() };
}
