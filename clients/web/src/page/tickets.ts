// Tickets: of one reservation after it was paid, and of all of them.

import type { Money } from "../gen/usher/v1/common_pb.js";
import { type Reservation, ReservationState } from "../gen/usher/v1/reservation_pb.js";
import type { Refusal } from "../errors.js";
import { ask, newKey } from "./api.js";
import { type Catalog, type Context, findPerformance, loadCatalog, type View } from "./context.js";
import { fill, h, setText, show } from "./dom.js";
import { dayAndTime, money } from "./format.js";
import { cancelRefusalText, refusalText } from "./words.js";

export function ticketCards(reservation: Reservation, name: string, when: string): HTMLElement {
  return h(
    "div",
    { class: "tickets" },
    ...reservation.tickets.map(({ seatId, code }) => {
      const seat = reservation.seats.find((one) => one.seatId === seatId);
      return h(
        "article",
        {
          class: "ticket",
          "aria-label": `Ticket, ${seat?.section ?? ""}, row ${seat?.row ?? ""}, seat ${seat?.number ?? ""}`,
        },
        h("div", { class: "ticket-main" }, h("p", { class: "ticket-name" }, name), h("p", { class: "muted" }, when)),
        h(
          "dl",
          { class: "facts" },
          h("div", {}, h("dt", {}, "Section"), h("dd", {}, seat?.section ?? "")),
          h("div", {}, h("dt", {}, "Row"), h("dd", {}, seat?.row ?? "")),
          h("div", {}, h("dt", {}, "Seat"), h("dd", {}, seat ? String(seat.number) : seatId)),
        ),
        h("div", { class: "ticket-code" }, h("p", { class: "muted" }, "Code for the gate"), h("code", {}, code)),
      );
    }),
  );
}

export function ticketView(
  context: Context,
  { reservation, paid }: { reservation: Reservation; paid: Money | undefined },
  name: string,
  when: string,
): View {
  context.title("Your tickets");
  context.announce("Paid. Your tickets are here.", true);
  const element = h(
    "section",
    { class: "card paid", "aria-labelledby": "ticket-title" },
    h("h2", { id: "ticket-title", tabIndex: -1 }, "Enjoy the show!"),
    h("p", { class: "lead" }, `You have paid${paid ? ` ${money(paid)}` : ""}. These tickets are yours.`),
    ticketCards(reservation, name, when),
    h(
      "p",
      { class: "actions" },
      h("a", { class: "button", href: "#/tickets" }, "My tickets"),
      h("a", { class: "button", href: "#/" }, "All concerts"),
    ),
  );
  return { element };
}

export function ticketsView(context: Context): View {
  const { api } = context;
  const closed = new AbortController();
  const { signal } = closed;
  const list = h("div", { class: "reservations" }, h("p", { class: "muted" }, "Loading…"));
  const element = h(
    "section",
    { "aria-labelledby": "tickets-title" },
    h("h1", { id: "tickets-title", tabIndex: -1 }, "My tickets"),
    list,
  );
  context.title("My tickets");

  async function load(): Promise<void> {
    const [answer, catalog] = await Promise.all([
      ask(() => api.reservations.listReservations({ pageSize: 100 }, { signal }), signal),
      loadCatalog(api, signal).catch((): Catalog => ({ concerts: [] })),
    ]);
    if (signal.aborted) return;
    if (answer.refusal) return fill(list, problem(answer.refusal));
    const mine = answer.value.reservations.filter(
      ({ state }) => state === ReservationState.CONFIRMED || state === ReservationState.HELD,
    );
    if (mine.length === 0)
      return fill(list, h("p", {}, "You have no tickets yet. ", h("a", { href: "#/" }, "See what is on sale.")));
    fill(list, ...mine.map((reservation) => card(reservation, catalog)));
  }

  function card(reservation: Reservation, catalog: Catalog): HTMLElement {
    const found = findPerformance(catalog, reservation.performanceId);
    const name = found?.concert.name ?? "Concert";
    const when = dayAndTime(found?.performance.startsAt);
    if (reservation.state === ReservationState.HELD) {
      const href = found
        ? `#/sale/${encodeURIComponent(found.concert.id)}/${encodeURIComponent(found.performance.id)}`
        : "#/";
      return h(
        "article",
        { class: "card" },
        h("h2", {}, name),
        h("p", {}, "These seats are held and not paid yet."),
        h("a", { class: "button primary", href }, "Go on to pay"),
      );
    }
    const refused = h("p", { class: "notice error", role: "alert", hidden: true });
    const cancel = h("button", { class: "quiet", type: "button" }, "Cancel and refund");
    const key = newKey();
    cancel.addEventListener("click", async () => {
      if (cancel.dataset["sure"] === undefined) {
        cancel.dataset["sure"] = "";
        return setText(cancel, `Yes, give the seats back for ${money(reservation.total)}`);
      }
      cancel.disabled = true;
      const answer = await ask(() =>
        api.reservations.cancelReservation({ reservationId: reservation.id, idempotencyKey: key }),
      );
      if (!answer.refusal) {
        context.announce("The seats are given back and the money is in your wallet.", true);
        return load();
      }
      setText(refused, cancelRefusalText(answer.refusal));
      show(refused, true);
      cancel.disabled = false;
    });
    return h(
      "article",
      { class: "card" },
      h("h2", {}, name),
      ticketCards(reservation, name, when),
      refused,
      h("p", { class: "actions" }, cancel),
    );
  }

  void load();
  return { element, close: () => closed.abort() };
}

function problem(refusal: Refusal): HTMLElement {
  return h("p", { class: "notice error", role: "alert" }, refusalText(refusal));
}
