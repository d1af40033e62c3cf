// What a client knows of its place and room, and how a message of the stream changes it. Pure.
//
// - A state with a smaller cursor than one already seen is ignored (rule 1).
// - A place only goes forward (SCHEDULED, WAITING, ACTIVATED, ACTIVE, then its end), so `activated` and `ended` are
//   facts rather than states: they count whenever they lead forward, also from a node that lags behind another tab's.
// - Everything here is plain JSON: tabs share it through storage.

import { type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import type { Cursor, WaitEstimate } from "./gen/usher/v1/common_pb.js";
import { EndReason, type Place, PlaceState } from "./gen/usher/v1/place_pb.js";
import type { WatchResponse } from "./gen/usher/v1/queue_service_pb.js";
import { RoomState } from "./gen/usher/v1/room_pb.js";
import { millis } from "./errors.js";

export interface CursorView {
  epoch: string;
  revision: string;
}

export interface PlaceView {
  lane: string;
  number: string;
  state: PlaceState;
  position?: number;
  waitingTotal: number;
  estimatedWait?: { lowMs: number; highMs: number };
  activationId?: string;
  claimByMs?: number;
  expireTimeMs?: number;
  opensAtMs?: number;
  endReason?: EndReason;
}

export interface RoomView {
  state: RoomState;
  message: string;
  resumesAtMs?: number;
}

export interface Seen {
  cursor: CursorView;
  place: PlaceView;
  room: RoomView;
}

export function isFinal(state: PlaceState): boolean {
  return state >= PlaceState.COMPLETED;
}

/** Negative: `a` is before `b`. */
export function compareCursors(a: CursorView, b: CursorView): number {
  const byEpoch = BigInt(a.epoch) - BigInt(b.epoch);
  const difference = byEpoch !== 0n ? byEpoch : BigInt(a.revision) - BigInt(b.revision);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

export function cursorView(cursor: Cursor | undefined): CursorView {
  return { epoch: String(cursor?.epoch ?? 0n), revision: String(cursor?.revision ?? 0n) };
}

/** What `Join` and `GetPlace` answer, on top of what was known. */
export function seePlace(seen: Seen | undefined, place: Place): Seen {
  const room = seen?.room ?? { state: RoomState.UNSPECIFIED, message: "" };
  return merge(seen, { cursor: cursorView(place.cursor), place: placeView(place), room });
}

/** What a message of the stream says, on top of what was known; undefined until the first snapshot. */
export function see(seen: Seen | undefined, message: WatchResponse): Seen | undefined {
  const cursor = cursorView(message.cursor);
  const { event } = message;
  if (event.case === "snapshot") {
    if (!event.value.place) return seen;
    const place = placeView(event.value.place);
    const { roomState, roomMessage, resumesAt } = event.value;
    return merge(seen, { cursor, place, room: roomView(roomState, roomMessage, resumesAt) });
  }
  if (!seen) return undefined;
  const stale = compareCursors(cursor, seen.cursor) < 0;
  const next: Seen = { ...seen, cursor: stale ? seen.cursor : cursor };
  switch (event.case) {
    case "position": {
      if (stale || seen.place.state > PlaceState.WAITING) return next;
      const { opensAtMs: _, ...place } = seen.place;
      next.place = { ...place, state: PlaceState.WAITING, position: Number(event.value.position) };
      next.place.waitingTotal = Number(event.value.waitingTotal);
      setEstimate(next.place, event.value.estimatedWait);
      return next;
    }
    case "activated": {
      const state = event.value.pass ? PlaceState.ACTIVE : PlaceState.ACTIVATED;
      if (state < seen.place.state) return next;
      next.place = turn(seen.place, state, event.value.activationId, event.value.claimBy, event.value.expireTime);
      return next;
    }
    case "roomChanged": {
      if (stale) return next;
      next.room = roomView(event.value.state, event.value.message, event.value.resumesAt);
      if (event.value.opensAt) next.place = { ...seen.place, opensAtMs: timestampMs(event.value.opensAt) };
      return next;
    }
    case "ended":
      next.place = endedPlace(seen.place, event.value.state, event.value.reason);
      return next;
    default:
      return next;
  }
}

export function endedPlace(place: PlaceView, state: PlaceState, endReason: EndReason): PlaceView {
  const { lane, number, waitingTotal, activationId } = place;
  const ended: PlaceView = { lane, number, waitingTotal, state, endReason };
  if (activationId !== undefined) ended.activationId = activationId;
  return ended;
}

/** The place after its claim was answered. */
export function claimedPlace(place: PlaceView, expireTime: Timestamp | undefined): PlaceView {
  return turn(place, PlaceState.ACTIVE, place.activationId, undefined, expireTime);
}

function merge(seen: Seen | undefined, news: Seen): Seen {
  const samePlace = seen && seen.place.lane === news.place.lane && seen.place.number === news.place.number;
  if (!samePlace) return news;
  const stale = compareCursors(news.cursor, seen.cursor) < 0;
  const backwards = news.place.state < seen.place.state;
  const forwards = news.place.state > seen.place.state;
  return {
    cursor: stale ? seen.cursor : news.cursor,
    place: backwards || (stale && !forwards) ? seen.place : news.place,
    room: stale ? seen.room : news.room,
  };
}

function roomView(state: RoomState, message: string, resumesAt: Timestamp | undefined): RoomView {
  return resumesAt ? { state, message, resumesAtMs: timestampMs(resumesAt) } : { state, message };
}

function turn(
  place: PlaceView,
  state: PlaceState,
  activationId: string | undefined,
  claimBy: Timestamp | undefined,
  expireTime: Timestamp | undefined,
): PlaceView {
  const { lane, number, waitingTotal } = place;
  const view: PlaceView = { lane, number, waitingTotal, state };
  if (activationId) view.activationId = activationId;
  if (claimBy) view.claimByMs = timestampMs(claimBy);
  if (expireTime) view.expireTimeMs = timestampMs(expireTime);
  return view;
}

function placeView(place: Place): PlaceView {
  const view: PlaceView = {
    lane: place.lane,
    number: String(place.number),
    state: place.state,
    waitingTotal: Number(place.waitingTotal),
  };
  if (place.position !== undefined) view.position = Number(place.position);
  setEstimate(view, place.estimatedWait);
  if (place.activationId !== undefined) view.activationId = place.activationId;
  if (place.claimBy) view.claimByMs = timestampMs(place.claimBy);
  if (place.expireTime) view.expireTimeMs = timestampMs(place.expireTime);
  if (place.opensAt) view.opensAtMs = timestampMs(place.opensAt);
  return view;
}

function setEstimate(view: PlaceView, estimate: WaitEstimate | undefined): void {
  delete view.estimatedWait;
  if (estimate?.low && estimate.high)
    view.estimatedWait = { lowMs: millis(estimate.low), highMs: millis(estimate.high) };
}
