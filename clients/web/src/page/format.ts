// Numbers as people read them.

import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Money } from "../gen/usher/v1/common_pb.js";

const integer = new Intl.NumberFormat("en");

export function count(n: number): string {
  return integer.format(n);
}

export function people(n: number): string {
  return n === 1 ? "1 person" : `${count(n)} people`;
}

export function seats(n: number): string {
  return n === 1 ? "1 seat" : `${count(n)} seats`;
}

interface Spot {
  section: string;
  row: string;
  number: number;
}

/** Where seats are: "Stalls, row 1, seats 1–3 and 7; Balcony, row 2, seat 4". */
export function seatNames(seats: Iterable<Spot>): string {
  const rows = new Map<string, number[]>();
  for (const { section, row, number } of seats) {
    const name = `${section}, row ${row}`;
    rows.set(name, [...(rows.get(name) ?? []), number]);
  }
  const names = [...rows].map(([name, numbers]) => {
    const runs = runsOf(numbers.sort((a, b) => a - b));
    const texts = runs.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`));
    const last = texts.pop() ?? "";
    const all = texts.length > 0 ? `${texts.join(", ")} and ${last}` : last;
    return `${name}, ${numbers.length === 1 ? "seat" : "seats"} ${all}`;
  });
  return names.join("; ");
}

/** Neighbours together; two of them are still said one by one. */
function runsOf(numbers: number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const number of numbers) {
    const run = runs.at(-1);
    if (run && number === run[1] + 1) run[1] = number;
    else runs.push([number, number]);
  }
  return runs.flatMap(([first, last]): [number, number][] =>
    last === first + 1
      ? [
          [first, first],
          [last, last],
        ]
      : [[first, last]],
  );
}

/** How many decimals the currency has: 2 for USD, 0 for KRW. */
export function decimals(currency: string): number {
  return new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits ?? 2;
}

export function money(amount: Pick<Money, "currencyCode" | "amountMinor"> | undefined): string {
  if (!amount) return "";
  const digits = decimals(amount.currencyCode || "XXX");
  const format = new Intl.NumberFormat("en", { style: "currency", currency: amount.currencyCode || "XXX" });
  return format.format(Number(amount.amountMinor) / 10 ** digits);
}

const day = new Intl.DateTimeFormat("en", { weekday: "short", day: "numeric", month: "short", year: "numeric" });
const hour = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hour12: false });

export function dayAndTime(at: Timestamp | number | undefined): string {
  if (at === undefined) return "";
  const date = new Date(typeof at === "number" ? at : timestampMs(at));
  return `${day.format(date)}, ${hour.format(date)}`;
}

export function timeOfDay(atMs: number): string {
  return hour.format(new Date(atMs));
}

/** "1:05" or "2:01:05"; never negative. */
export function countdown(leftMs: number): string {
  const total = Math.max(0, Math.ceil(leftMs / 1000));
  const two = (n: number) => String(n).padStart(2, "0");
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor(total / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(total % 60)}` : `${minutes}:${two(total % 60)}`;
}

/** A range as it was given, rounded outwards to what a person plans with. */
export function waitRange(lowMs: number, highMs: number): string {
  if (highMs < 60_000) {
    const high = Math.max(5, Math.ceil(highMs / 5000) * 5);
    const low = Math.floor(lowMs / 5000) * 5;
    return low <= 0 || low >= high ? `less than ${high} seconds` : `${low} to ${high} seconds`;
  }
  const low = Math.floor(lowMs / 60_000);
  const high = Math.ceil(highMs / 60_000);
  if (high >= 180) return `${Math.max(1, Math.floor(low / 60))} to ${Math.ceil(high / 60)} hours`;
  if (low < 1) return high <= 1 ? "about a minute" : `up to ${high} minutes`;
  return low === high ? `about ${low} minutes` : `${low} to ${high} minutes`;
}
