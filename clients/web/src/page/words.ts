// What the server says, in plain words. Each text says what happened, what it means for the place, and what to do.

import { Code } from "@connectrpc/connect";
import type { Refusal } from "../errors.js";
import { EndReason } from "../gen/usher/v1/place_pb.js";
import { RoomState } from "../gen/usher/v1/room_pb.js";

export const roomLabels: Record<RoomState, string> = {
  [RoomState.UNSPECIFIED]: "Unknown",
  [RoomState.SCHEDULED]: "Opens soon",
  [RoomState.OPEN]: "Open",
  [RoomState.PAUSED]: "Paused",
  [RoomState.DEGRADED]: "Short interruption",
  [RoomState.SOLD_OUT]: "Sold out",
  [RoomState.CLOSED]: "Closed",
};

/** What a waiting person should know about the room; nothing while all is well. */
export const roomNotices: Partial<Record<RoomState, { title: string; text: string }>> = {
  [RoomState.PAUSED]: {
    title: "The line is paused",
    text: "Nobody is let in for the moment. Your place is safe; just keep this page open.",
  },
  [RoomState.DEGRADED]: {
    title: "A short interruption",
    text: "Part of our system does not answer. Nobody is let in and nobody loses their place until it is back.",
  },
  [RoomState.SOLD_OUT]: {
    title: "Everything is sold at the moment",
    text: "If a seat is given back the line moves on, so you may keep your place, or leave.",
  },
  [RoomState.CLOSED]: { title: "The sale is closed", text: "The line has ended. Thank you for waiting." },
};

const endings: Record<EndReason, { title: string; text: string }> = {
  [EndReason.UNSPECIFIED]: { title: "Your place has ended", text: "You can join again at the end of the line." },
  [EndReason.UNCLAIMED]: {
    title: "Your turn has passed",
    text: "It was not claimed in time, so it went to the next person. You can join again at the end of the line.",
  },
  [EndReason.ABSENT]: {
    title: "Your place has ended",
    text: "You were away for longer than a place is kept. You can join again at the end of the line.",
  },
  [EndReason.PASS_EXPIRED]: {
    title: "Your pass has ended",
    text: "The time to choose seats is over. You can join again at the end of the line.",
  },
  [EndReason.LEFT]: {
    title: "You have left the line",
    text: "Your place is free for someone else. Join again any time.",
  },
  [EndReason.REVOKED]: { title: "Your place was withdrawn", text: "The organiser has ended it." },
  [EndReason.COMPLETED]: {
    title: "Your pass is used",
    text: "Your purchase is complete. To buy more, join again at the end of the line.",
  },
  [EndReason.ROOM_CLOSED]: { title: "The sale is closed", text: "The line has ended before your turn." },
};

export function ending(reason: EndReason | undefined): { title: string; text: string } {
  return endings[reason ?? EndReason.UNSPECIFIED] ?? endings[EndReason.UNSPECIFIED];
}

const refusals: Record<string, string> = {
  ROOM_CLOSED: "The sale is closed.",
  ROOM_SOLD_OUT: "Everything is sold, so nobody can join the line. Seats that are given back will open it again.",
  ROOM_FULL: "The waiting room is full. Please try again later.",
  ACCESS_CODE_INVALID: "This room needs an access code that is good for it and yours: each one is for one person.",
  NOT_ACTIVATED: "It is not your turn yet.",
  ACTIVATION_EXPIRED: "Your turn has passed: it was not claimed in time.",
  PASS_ENDED: "Your pass has ended.",
  PASS_REQUIRED: "These seats need a pass from the waiting room.",
  SALE_NOT_OPEN: "Seats of this performance are not on sale now.",
  SEAT_UNAVAILABLE: "Someone was faster: not all of these seats are free any more.",
  SOLD_OUT: "There are no such seats left. Try fewer seats, another section, or seats that are apart.",
  LIMIT_PER_USER: "That is more seats than one person may have for this performance.",
  HOLD_EXPIRED: "The time to pay has run out, and the seats are free again.",
  EXTENSION_LIMIT: "The time to pay cannot be extended again.",
  INSUFFICIENT_FUNDS: "There is not enough money in your wallet.",
  PAYMENT_DECLINED: "The payment was declined.",
  COUPON_SOLD_OUT: "Others were faster: every coupon is taken.",
  COUPON_NOT_APPLICABLE: "The coupon cannot be used for this, or not any more.",
  ALREADY_PAID: "This reservation is already paid.",
  AMOUNT_OUT_OF_RANGE: "This amount is too small or too large.",
  RATE_LIMITED: "That was a lot of requests. Please wait a moment.",
  OVERLOADED: "The server is very busy. Please try again in a moment.",
  DEGRADED: "Part of our system does not answer. Please try again in a moment.",
  DRAINING: "The server is restarting. Please try again in a moment.",
  REBUILDING: "The line is being restored. Please try again in a moment.",
};

/** Of a reservation that its owner wants to give back. */
export function cancelRefusalText(refusal: Refusal): string {
  if (refusal.reason === "SEAT_UNAVAILABLE") return "A ticket was used at the gate, so it cannot be given back.";
  return refusalText(refusal);
}

export function refusalText(refusal: Refusal): string {
  if (!refusal.hasStatus) return "The server cannot be reached. Check your connection and try again.";
  const text = refusals[refusal.reason];
  if (text) return text;
  if (refusal.code === Code.Unauthenticated) return "The server does not accept this user name.";
  if (refusal.code === Code.NotFound) return "This does not exist, or not any more.";
  return refusal.message || "Something went wrong.";
}
