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
