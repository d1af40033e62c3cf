// It is the user's turn: one big button, and how long it is there.

import type { WaitingRoom } from "../waiting-room.js";
import type { Context, View } from "./context.js";
import { h, setText, show } from "./dom.js";
import { countdown } from "./format.js";
import { refusalText } from "./words.js";

const WARN_AT_S = [60, 30, 10];

export function turnView(context: Context, room: WaitingRoom): View {
  const left = h("p", { class: "countdown", role: "timer", "aria-label": "Time left to claim your turn" });
  const problem = h("p", { class: "notice error", role: "alert", hidden: true });
  const claim = h("button", { class: "primary huge", type: "button", id: "claim" }, "Claim my turn");
  const element = h(
    "section",
    { class: "card turn", "aria-labelledby": "turn-title" },
    h("h2", { id: "turn-title", tabIndex: -1 }, "It is your turn!"),
    h("p", { class: "lead" }, "Press the button to go in. After this time the turn goes to the next person."),
    left,
    claim,
    problem,
  );
  claim.addEventListener("click", async () => {
    claim.disabled = true;
    setText(claim, "One moment…");
    show(problem, false);
    const refusal = await room.claim();
    claim.disabled = false;
    setText(claim, "Claim my turn");
    if (!refusal) return;
    setText(problem, refusalText(refusal));
    show(problem, true);
  });
  const firstLeftMs = leftMs();
  let warned = (firstLeftMs ?? 0) / 1000;

  function leftMs(): number | undefined {
    const { place } = room.state;
    return place?.claimByMs === undefined ? undefined : place.claimByMs - room.serverNowMs();
  }

  function tick(): void {
    const ms = leftMs();
    if (ms === undefined) return;
    setText(left, countdown(ms));
    left.style.setProperty("--left", String(Math.max(0, Math.min(1, ms / Math.max(1, firstLeftMs ?? 1)))));
    context.title(`Your turn! ${countdown(ms)}`);
    const seconds = Math.ceil(ms / 1000);
    const warning = WARN_AT_S.find((at) => seconds <= at && warned > at);
    warned = Math.min(warned, seconds);
    if (warning) context.announce(`${warning} seconds left to claim your turn.`, true);
  }

  context.announce("It is your turn! Claim it now.", true);
  tick();
  return { element, tick };
}
