// The waiting itself: the position, what is left, and what happens next. Built once, then only texts change.

import { PlaceState } from "../gen/usher/v1/place_pb.js";
import { RoomState } from "../gen/usher/v1/room_pb.js";
import type { WaitingRoom, WaitingRoomState } from "../waiting-room.js";
import type { Context, View } from "./context.js";
import { fill, h, setText, show } from "./dom.js";
import { count, countdown, people, timeOfDay, waitRange } from "./format.js";
import { roomNotices } from "./words.js";

/** Positions near the front are told as they come, others not more often than this. */
const TELL_EVERY_MS = 20_000;
const TELL_ALWAYS_UP_TO = 3;

export interface LineView extends View {
  update(state: WaitingRoomState): void;
}

export function lineView(context: Context, room: WaitingRoom, leave: () => void): LineView {
  const caption = h("p", { class: "position-caption" }, "Your position");
  const number = h("p", { class: "position", id: "position" }, "…");
  const ahead = h("p", { class: "ahead" });
  const track = h(
    "div",
    { class: "track", "aria-hidden": "true" },
    h("div", { class: "walked" }),
    h("div", { class: "me" }),
  );
  const total = h("dd", { id: "waiting-total" }, "…");
  const estimate = h("dd", { id: "estimate" }, "…");
  const placeNumber = h("dd", {}, "…");
  const notice = h("div", { class: "notice", role: "status" });
  const connection = h("p", { class: "muted connection", role: "status" });
  const element = h(
    "section",
    { class: "card line", "aria-labelledby": "line-title" },
    h("h2", { id: "line-title", tabIndex: -1 }, "You are in line"),
    notice,
    caption,
    number,
    ahead,
    track,
    h(
      "dl",
      { class: "facts" },
      h("div", {}, h("dt", {}, "Waiting in all"), total),
      h("div", {}, h("dt", {}, "Estimated wait"), estimate),
      h("div", {}, h("dt", {}, "Your number"), placeNumber),
    ),
    h("h3", {}, "What happens next"),
    h(
      "ol",
      { class: "next" },
      h("li", {}, "Keep this page open. Your position moves by itself; there is nothing to reload."),
      h("li", {}, "When it is your turn, a button appears here. Press it before its time runs out."),
      h("li", {}, "Then you choose your seats and pay. The seats you choose are held for you meanwhile."),
    ),
    h(
      "p",
      { class: "actions" },
      h("button", { class: "quiet", type: "button", on: { click: leave } }, "Leave the line"),
    ),
    connection,
  );
  let first: number | undefined;
  let toldAtMs = -Infinity;
  let told: number | undefined;

  function tell(position: number): void {
    const nowMs = Date.now();
    const soon = position <= TELL_ALWAYS_UP_TO || nowMs - toldAtMs >= TELL_EVERY_MS;
    if (position === told || !soon) return;
    toldAtMs = nowMs;
    told = position;
    context.announce(position === 1 ? "You are next in line." : `Your position is ${count(position)}.`);
  }

  function update(state: WaitingRoomState): void {
    const { place, room: roomView } = state;
    if (!place || !roomView) return;
    setText(placeNumber, count(Number(place.number)));
    showNotice(notice, state);
    setText(connection, state.phase === "live" ? "" : "Connecting… your place is kept meanwhile.");
    const scheduled = place.state === PlaceState.SCHEDULED;
    show(track, !scheduled);
    if (scheduled) return tick();
    setText(caption, "Your position");
    const { position } = place;
    setText(total, people(Math.max(place.waitingTotal, position ?? 0)));
    setText(estimate, estimateText(state));
    if (position === undefined) return setText(number, "…");
    first = Math.max(first ?? position, position);
    setText(number, count(position));
    setText(ahead, position === 1 ? "You are next." : `${people(position - 1)} ahead of you`);
    const walked = first > 1 ? (first - position) / (first - 1) : 1;
    track.style.setProperty("--walked", String(walked));
    context.title(`${count(position)} in line`);
    tell(position);
  }

  function tick(): void {
    const { place } = room.state;
    if (place?.state !== PlaceState.SCHEDULED) return;
    const leftMs = (place.opensAtMs ?? 0) - room.serverNowMs();
    setText(caption, "The sale opens in");
    const known = place.opensAtMs !== undefined && leftMs > 0;
    setText(number, known ? countdown(leftMs) : "soon");
    setText(ahead, known && place.opensAtMs ? `at ${timeOfDay(place.opensAtMs)}` : "The order is about to be told.");
    setText(total, place.waitingTotal > 0 ? people(place.waitingTotal) : "known at the opening");
    setText(estimate, "known after the opening");
    context.title(known ? `Opens in ${countdown(leftMs)}` : "Opens soon");
  }

  return { element, update, tick };
}

function showNotice(notice: HTMLElement, { room }: WaitingRoomState): void {
  const words = room && roomNotices[room.state];
  show(notice, words !== undefined);
  const resumes = room?.resumesAtMs ? `It goes on at ${timeOfDay(room.resumesAtMs)}.` : "";
  const text = words ? [words.title, words.text, room?.message, resumes].join("|") : "";
  if (notice.dataset["text"] === text) return;
  notice.dataset["text"] = text;
  if (words)
    fill(
      notice,
      h("strong", {}, words.title),
      h("p", {}, words.text, room?.message && ` “${room.message}”`, resumes && ` ${resumes}`),
    );
}

function estimateText({ place, room }: WaitingRoomState): string {
  if (place?.estimatedWait) return waitRange(place.estimatedWait.lowMs, place.estimatedWait.highMs);
  return room?.state === RoomState.OPEN ? "not known yet" : "none for now";
}
