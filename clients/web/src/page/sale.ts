// One performance from the line to the ticket. The stage shown follows from three facts: what the waiting room says,
// which reservation is open, and which pass was told.

import type { Money } from "../gen/usher/v1/common_pb.js";
import { PlaceState } from "../gen/usher/v1/place_pb.js";
import { type Reservation, ReservationState } from "../gen/usher/v1/reservation_pb.js";
import type { Concert, Performance } from "../gen/usher/v1/catalog_pb.js";
import type { Refusal } from "../errors.js";
import { WaitingRoom, type WaitingRoomState } from "../waiting-room.js";
import { ask } from "./api.js";
import { checkoutView } from "./checkout.js";
import { type Context, findPerformance, loadCatalog, type View } from "./context.js";
import { fill, h, setText, show } from "./dom.js";
import { countdown, dayAndTime } from "./format.js";
import { accessCodeForm } from "./access-code.js";
import { type LineView, lineView } from "./line.js";
import { seatsView } from "./seats.js";
import { ticketView } from "./tickets.js";
import { turnView } from "./turn.js";
import { ending, refusalText } from "./words.js";

const STEPS = ["Wait", "Your turn", "Seats", "Pay", "Ticket"] as const;

export function saleView(context: Context, performanceId: string): View {
  const { api } = context;
  const closed = new AbortController();
  const title = h("h1", { id: "sale-title", tabIndex: -1 }, "…");
  const when = h("p", { class: "muted" });
  const steps = h("ol", { class: "steps", "aria-label": "Steps" }, ...STEPS.map((name) => h("li", {}, name)));
  const passLeft = h("p", { class: "pass-left", hidden: true });
  const stage = h("div", { class: "stage-area" });
  const element = h(
    "section",
    { "aria-labelledby": "sale-title" },
    h("p", {}, h("a", { href: "#/", class: "back" }, "← All concerts")),
    title,
    when,
    steps,
    passLeft,
    stage,
  );
  let room: WaitingRoom | undefined;
  let concert: Concert | undefined;
  let performance: Performance | undefined;
  let reservation: Reservation | undefined;
  let paid: Money | undefined;
  let shown = "";
  let view: View | undefined;

  function serverNowMs(): number {
    return room?.serverNowMs() ?? Date.now();
  }

  /** Shows a stage unless it is the one shown; what was there is closed first. */
  function enter(key: string, step: (typeof STEPS)[number] | undefined, build: () => View): void {
    if (shown === key) return;
    const first = shown === "";
    shown = key;
    view?.close?.();
    view = build();
    fill(stage, view.element);
    for (const [index, item] of [...steps.children].entries()) {
      const at = step ? STEPS.indexOf(step) : -1;
      item.className = index < at ? "done" : "";
      if (index === at) item.setAttribute("aria-current", "step");
      else item.removeAttribute("aria-current");
    }
    // Where the eyes go the focus goes; but not on arrival, where the page's own heading comes first.
    if (!first) stage.querySelector<HTMLElement>(key === "turn" ? "#claim" : "h2")?.focus();
  }

  function decide(): void {
    if (!performance || closed.signal.aborted) return;
    const state = room?.state;
    if (reservation?.state === ReservationState.CONFIRMED) return showTickets(reservation);
    if (reservation?.state === ReservationState.HELD) return showCheckout(reservation);
    if (!room || !state) return showSeats(undefined);
    if (state.phase === "stopped") return showStopped(state);
    if (!state.place) return state.phase === "idle" ? showIntro() : showJoining();
    if (state.phase === "idle" && !room.hasPlace) return showIntro();
    if (state.place.state === PlaceState.ACTIVATED)
      return enter("turn", "Your turn", () => turnView(context, room as WaitingRoom));
    if (state.place.state === PlaceState.ACTIVE) return state.pass ? showSeats(state.pass) : showJoining();
    enter("line", "Wait", () => lineView(context, room as WaitingRoom, () => void leave()));
    (view as LineView).update(state);
  }

  function showIntro(): void {
    enter("intro", undefined, () => {
      const join = h(
        "button",
        { class: "primary huge", type: "button", id: "join", on: { click: () => room?.join() } },
        "Join the waiting room",
      );
      const haveCode = h(
        "button",
        { class: "quiet", type: "button", id: "have-code", on: { click: () => showAccessCode("") } },
        "I have an access code",
      );
      context.title(concert?.name ?? "Sale");
      return {
        element: h(
          "section",
          { class: "card intro", "aria-labelledby": "intro-title" },
          h("h2", { id: "intro-title", tabIndex: -1 }, "Seats are sold in turn"),
          h(
            "p",
            { class: "lead" },
            "Take a place in the line. You see your exact position, and nobody can overtake you.",
          ),
          join,
          h("p", { class: "actions" }, haveCode),
        ),
      };
    });
  }

  /** `problem`: what the server said of the code that was tried, if one was. */
  function showAccessCode(problem: string): void {
    enter(`code ${problem}`, undefined, () => {
      context.title("Access code");
      if (problem) context.announce(problem, true);
      return { element: accessCodeForm(problem, (code) => room?.join(code)) };
    });
  }

  function showJoining(): void {
    enter("joining", "Wait", () => ({
      element: h(
        "section",
        { class: "card" },
        h("h2", { tabIndex: -1 }, "One moment…"),
        h("p", { role: "status" }, "We are asking for your place."),
      ),
    }));
  }

  function showStopped({ stopped, place }: WaitingRoomState): void {
    if (stopped?.why === "replaced") {
      const text = "This room is open in several other tabs. Go on there, or continue here instead.";
      return showMessage("replaced", "Open in another tab", text, "Continue here", () => room?.resume());
    }
    if (stopped?.refusal?.reason === "ACCESS_CODE_INVALID") return showAccessCode(refusalText(stopped.refusal));
    if (stopped?.why === "refused") {
      const text = stopped.refusal ? refusalText(stopped.refusal) : "";
      return showMessage(`refused ${text}`, "You could not join", text, "Try again", () => room?.resume());
    }
    const words = ending(place?.endReason);
    showMessage(`ended ${place?.number} ${place?.endReason}`, words.title, words.text, "Join again", () =>
      room?.join(),
    );
  }

  function showMessage(key: string, heading: string, text: string, label: string, act: () => void): void {
    enter(key, undefined, () => {
      context.title(heading);
      context.announce(`${heading}. ${text}`, true);
      const button = h("button", { class: "primary", type: "button", on: { click: act } }, label);
      return {
        element: h(
          "section",
          { class: "card" },
          h("h2", { tabIndex: -1 }, heading),
          h("p", {}, text),
          h("p", { class: "actions" }, button),
        ),
      };
    });
  }

  function showSeats(pass: string | undefined): void {
    if (!performance) return;
    const options = {
      performance,
      pass,
      onHeld: (held: Reservation) => {
        reservation = held;
        context.announce("Your seats are held.", true);
        decide();
      },
      // The stream tells why; this only makes sure that nobody is left with seats that cannot be held.
      onPassEnded: () => {
        if (room?.hasPlace) room.resume();
      },
    };
    enter("seats", "Seats", () => seatsView(context, options));
  }

  function showCheckout(held: Reservation): void {
    enter(`checkout ${held.id}`, "Pay", () =>
      checkoutView(context, {
        reservation: held,
        concertId: concert?.id ?? "",
        serverNowMs,
        onPaid: (confirmed, amount) => {
          reservation = confirmed;
          paid = amount;
          decide();
        },
        onGone: (text) => {
          reservation = undefined;
          context.announce(text, true);
          decide();
        },
      }),
    );
  }

  function showTickets(reservation: Reservation): void {
    enter(`ticket ${reservation.id}`, "Ticket", () =>
      ticketView(context, { reservation, paid }, concert?.name ?? "", dayAndTime(performance?.startsAt)),
    );
  }

  async function leave(): Promise<void> {
    const refusal = await room?.leave();
    if (refusal) context.announce(refusalText(refusal), true);
  }

  function tick(): void {
    view?.tick?.();
    const place = room?.state.place;
    const active = place?.state === PlaceState.ACTIVE && place.expireTimeMs !== undefined && shown === "seats";
    show(passLeft, active);
    if (active) setText(passLeft, `Time to choose: ${countdown((place.expireTimeMs ?? 0) - serverNowMs())}`);
  }

  async function start(): Promise<void> {
    const { signal } = closed;
    const [catalog, mine] = await Promise.all([
      loadCatalog(api, signal),
      ask(() => api.reservations.listReservations({ pageSize: 100 }, { signal }), signal),
    ]);
    if (signal.aborted) return;
    const found = findPerformance(catalog, performanceId);
    if (!found)
      return showMessage(
        "gone",
        "Not found",
        "This performance does not exist.",
        "All concerts",
        () => (location.hash = "#/"),
      );
    ({ concert, performance } = found);
    setText(title, concert.name);
    setText(when, [dayAndTime(performance.startsAt), concert.venue].filter(Boolean).join(" · "));
    reservation = mine.value?.reservations.find(
      (one) => one.performanceId === performanceId && one.state === ReservationState.HELD,
    );
    if (performance.roomId) {
      room = new WaitingRoom({
        roomId: performance.roomId,
        user: api.user,
        transport: api.transport,
        storage: localStorage,
        onChange: decide,
      });
      if (room.hasPlace) room.resume();
    }
    decide();
  }

  start().catch((refusal: Refusal) => {
    if (!closed.signal.aborted)
      showMessage("failed", "Something is wrong", refusalText(refusal), "Try again", () => location.reload());
  });
  return {
    element,
    tick,
    close: () => {
      closed.abort();
      view?.close?.();
      room?.pause();
    },
  };
}
