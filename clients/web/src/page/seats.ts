// Choosing seats: let the server find the best ones, or pick a section and then seats in it. Whatever is chosen here
// is a wish; the hold decides.

import { type Performance, type Seat, SeatState } from "../gen/usher/v1/catalog_pb.js";
import type { Reservation } from "../gen/usher/v1/reservation_pb.js";
import type { HoldSeatsRequestSchema } from "../gen/usher/v1/reservation_service_pb.js";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Refusal } from "../errors.js";
import { ask, newKey } from "./api.js";
import type { Context, View } from "./context.js";
import { fill, h, setText, show } from "./dom.js";
import { count, money, seatNames, seats as seatCount } from "./format.js";
import { seatFeed } from "./seat-feed.js";
import { type SeatGrid, seatGrid } from "./seat-grid.js";
import { refusalText } from "./words.js";

export interface SeatsOptions {
  performance: Performance;
  pass: string | undefined;
  onHeld: (reservation: Reservation) => void;
  onPassEnded: () => void;
}

export function seatsView(context: Context, options: SeatsOptions): View {
  const { performance, pass } = options;
  const most = performance.seatsPerUserMax || 10;
  const chosen = new Map<string, Seat>();
  let section: string | undefined;
  let grid: SeatGrid | undefined;
  let busy = false;

  const problem = h("p", { class: "notice error", role: "alert", hidden: true });
  const best = bestForm(performance, most, (wish) => hold({ bestAvailable: wish }));
  const tiles = h("div", { class: "sections" });
  const rows = h("div", { class: "rows" });
  const summary = h("p", { class: "summary-text", role: "status" });
  const holdButton = h("button", { class: "primary", type: "button", id: "hold" }, "Hold these seats");
  const clearButton = h("button", { class: "quiet", type: "button" }, "Clear");
  const bar = h(
    "div",
    { class: "summary", hidden: true },
    summary,
    h("span", { class: "actions" }, clearButton, holdButton),
  );
  const element = h(
    "section",
    { class: "card choose", "aria-labelledby": "choose-title" },
    h("h2", { id: "choose-title", tabIndex: -1 }, "Choose your seats"),
    h("p", { class: "muted" }, `Up to ${seatCount(most)} per person. Seats are yours for a while once you hold them.`),
    problem,
    best,
    h("h3", {}, "Or pick them yourself"),
    tiles,
    rows,
    bar,
  );
  fill(tiles, h("p", { class: "muted" }, "Loading seats…"));

  const feed = seatFeed(context.api, performance.id, pass, changed, (refusal) => {
    if (refusal.reason === "PASS_ENDED") options.onPassEnded();
    else complain(refusal);
  });

  function changed(news?: Seat[]): void {
    for (const seat of news ?? feed.seats.values()) {
      if (chosen.has(seat.id) && seat.state !== SeatState.AVAILABLE && !busy) {
        chosen.delete(seat.id);
        context.announce(`Row ${seat.row}, seat ${seat.number} was just taken by someone else.`, true);
      }
    }
    showTiles();
    grid?.update(news ?? feed.seats.values(), new Set(chosen.keys()));
    showSummary();
  }

  function showTiles(): void {
    const free = new Map<string, number>();
    const all = new Map<string, number>();
    for (const seat of feed.seats.values()) {
      all.set(seat.section, (all.get(seat.section) ?? 0) + 1);
      if (seat.state === SeatState.AVAILABLE) free.set(seat.section, (free.get(seat.section) ?? 0) + 1);
    }
    if (tiles.querySelectorAll("button").length !== performance.sections.length) {
      fill(tiles, ...performance.sections.map(({ name, price }) => sectionTile(name, money(price), () => open(name))));
    }
    performance.sections.forEach(({ name }, index) => {
      const tile = tiles.querySelectorAll("button")[index];
      if (!tile) return;
      const left = free.get(name) ?? 0;
      tile.setAttribute("aria-expanded", String(section === name));
      setText(
        tile.querySelector(".left") ?? tile,
        left > 0 ? `${count(left)} of ${count(all.get(name) ?? 0)} free` : "none free",
      );
      (tile.querySelector(".meter") as HTMLElement).style.setProperty("--free", String(left / (all.get(name) || 1)));
    });
  }

  function open(name: string): void {
    section = section === name ? undefined : name;
    grid = undefined;
    showTiles();
    if (section === undefined) return fill(rows);
    const inSection = [...feed.seats.values()].filter((seat) => seat.section === name);
    grid = seatGrid(name, inSection, toggle);
    grid.update(inSection, new Set(chosen.keys()));
    fill(
      rows,
      h("h4", { id: "rows-title", tabIndex: -1 }, name),
      legend(),
      h("p", { class: "stage", "aria-hidden": "true" }, "Stage"),
      h("div", { class: "scroll" }, grid.element),
    );
    rows.querySelector("h4")?.focus();
  }

  function toggle(seat: Seat): void {
    show(problem, false);
    if (chosen.has(seat.id)) chosen.delete(seat.id);
    else if (chosen.size < most) chosen.set(seat.id, seat);
    else return complainText(`You can choose up to ${seatCount(most)}.`);
    grid?.update([seat], new Set(chosen.keys()));
    showSummary();
  }

  function showSummary(): void {
    show(bar, chosen.size > 0);
    const first = chosen.values().next().value;
    if (!first) return;
    const amountMinor = [...chosen.values()].reduce((sum, { price }) => sum + (price?.amountMinor ?? 0n), 0n);
    const total = money({ currencyCode: first.price?.currencyCode ?? "", amountMinor });
    setText(summary, `${seatNames(chosen.values())}: ${total}`);
  }

  type Wish = Pick<MessageInitShape<typeof HoldSeatsRequestSchema>, "seatIds" | "bestAvailable">;
  async function hold(wish: Wish): Promise<void> {
    if (busy) return;
    busy = true;
    show(problem, false);
    holdButton.disabled = true;
    const request = { ...wish, performanceId: performance.id, idempotencyKey: newKey() };
    const headers: Record<string, string> = pass ? { "x-usher-pass": pass } : {};
    const answer = await ask(() => context.api.reservations.holdSeats(request, { headers }));
    busy = false;
    holdButton.disabled = false;
    if (answer.value?.reservation) return options.onHeld(answer.value.reservation);
    if (answer.refusal?.reason === "PASS_ENDED") return options.onPassEnded();
    changed();
    if (answer.refusal) complain(answer.refusal);
  }

  function complain(refusal: Refusal): void {
    complainText(refusalText(refusal));
  }

  function complainText(text: string): void {
    setText(problem, text);
    show(problem, true);
    problem.scrollIntoView({ block: "nearest" });
  }

  holdButton.addEventListener("click", () => void hold({ seatIds: [...chosen.keys()] }));
  clearButton.addEventListener("click", () => {
    const before = [...chosen.values()];
    chosen.clear();
    grid?.update(before, new Set());
    showSummary();
    element.querySelector<HTMLElement>("#choose-title")?.focus();
  });
  context.title("Choose your seats");
  return { element, close: () => feed.close() };
}

function sectionTile(name: string, price: string, open: () => void): HTMLElement {
  return h(
    "button",
    { class: "tile", type: "button", "aria-expanded": "false", on: { click: open } },
    h("span", { class: "tile-name" }, name),
    h("span", { class: "tile-price" }, price),
    h("span", { class: "left muted" }),
    h("span", { class: "meter", "aria-hidden": "true" }),
  );
}

type BestAvailable = { count: number; adjacent: boolean; section?: string };
function bestForm(performance: Performance, most: number, find: (wish: BestAvailable) => void): HTMLElement {
  const howMany = h(
    "select",
    { id: "best-count" },
    ...upTo(most).map((n) => h("option", { value: String(n), selected: n === Math.min(2, most) }, String(n))),
  );
  const where = h(
    "select",
    { id: "best-section" },
    h("option", { value: "" }, "anywhere"),
    ...performance.sections.map(({ name, price }) => h("option", { value: name }, `${name}, ${money(price)}`)),
  );
  const together = h("input", { type: "checkbox", id: "best-together", checked: true });
  const form = h(
    "form",
    { class: "best", "aria-labelledby": "best-title" },
    h("h3", { id: "best-title" }, "Find the best seats for me"),
    h(
      "div",
      { class: "fields" },
      h("label", { for: "best-count" }, "Seats", howMany),
      h("label", { for: "best-section" }, "Where", where),
      h("label", { class: "check", for: "best-together" }, together, "next to each other"),
      h("button", { class: "primary", type: "submit", id: "best" }, "Find and hold"),
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const wish: BestAvailable = { count: Number(howMany.value), adjacent: together.checked };
    find(where.value ? { ...wish, section: where.value } : wish);
  });
  return form;
}

function legend(): HTMLElement {
  const item = (kind: string, sign: string, text: string) =>
    h("li", {}, h("span", { class: `seat ${kind}`, "aria-hidden": "true" }, sign), text);
  return h(
    "ul",
    { class: "legend", "aria-label": "Legend" },
    item("", "1", "free"),
    item("picked", "1", "chosen by you"),
    item("taken", "×", "taken"),
  );
}

function upTo(most: number): number[] {
  return Array.from({ length: most }, (_, index) => index + 1);
}
