// The seats of one section: rows of buttons, one of which is in the tab order; arrow keys move between them.

import { type Seat, SeatState } from "../gen/usher/v1/catalog_pb.js";
import { h, setText } from "./dom.js";
import { money } from "./format.js";

const stateWords: Record<SeatState, string> = {
  [SeatState.UNSPECIFIED]: "not available",
  [SeatState.AVAILABLE]: "available",
  [SeatState.HELD]: "held by someone else",
  [SeatState.SOLD]: "sold",
  [SeatState.BLOCKED]: "not on sale",
};

export interface SeatGrid {
  element: HTMLElement;
  /** Shows what changed, and which seats are chosen. */
  update(seats: Iterable<Seat>, chosen: ReadonlySet<string>): void;
}

export function seatGrid(section: string, seats: Seat[], toggle: (seat: Seat) => void): SeatGrid {
  const rows = new Map<string, Seat[]>();
  for (const seat of seats) rows.set(seat.row, [...(rows.get(seat.row) ?? []), seat]);
  const current = new Map(seats.map((seat) => [seat.id, seat]));
  const buttons = new Map<string, HTMLButtonElement>();
  const grid: HTMLButtonElement[][] = [];
  const element = h("div", {
    class: "seats",
    role: "group",
    "aria-label": `Seats of ${section}. Arrow keys move between seats.`,
  });
  for (const [row, inRow] of rows) {
    inRow.sort((a, b) => a.number - b.number);
    const line = inRow.map((seat) => {
      const button = h("button", { class: "seat", type: "button", tabIndex: -1 }, String(seat.number));
      button.addEventListener("click", () => {
        const now = current.get(seat.id);
        if (now && button.getAttribute("aria-disabled") !== "true") toggle(now);
      });
      buttons.set(seat.id, button);
      return button;
    });
    grid.push(line);
    element.append(
      h(
        "div",
        { class: "row", role: "group", "aria-label": `Row ${row}` },
        h("span", { class: "row-name", "aria-hidden": "true" }, row),
        h("span", { class: "row-seats" }, ...line),
      ),
    );
  }

  function tabStop(button: HTMLButtonElement | undefined): void {
    if (!button) return;
    for (const other of buttons.values()) other.tabIndex = -1;
    button.tabIndex = 0;
  }

  element.addEventListener("focusin", (event) => tabStop(event.target as HTMLButtonElement));
  element.addEventListener("keydown", (event) => {
    const y = grid.findIndex((line) => line.includes(event.target as HTMLButtonElement));
    const line = grid[y];
    if (!line) return;
    const x = line.indexOf(event.target as HTMLButtonElement);
    const target = neighbour(grid, x, y, event.key);
    if (!target) return;
    event.preventDefault();
    target.focus();
  });

  function update(changed: Iterable<Seat>, chosen: ReadonlySet<string>): void {
    for (const seat of changed) {
      const button = buttons.get(seat.id);
      if (!button) continue;
      current.set(seat.id, seat);
      const free = seat.state === SeatState.AVAILABLE;
      const picked = chosen.has(seat.id);
      button.setAttribute("aria-pressed", String(picked));
      button.setAttribute("aria-disabled", String(!free && !picked));
      const state = picked ? "chosen" : (stateWords[seat.state] ?? "not available");
      button.setAttribute("aria-label", `Row ${seat.row}, seat ${seat.number}, ${money(seat.price)}, ${state}`);
      setText(button, free || picked ? String(seat.number) : "×");
    }
  }

  update(seats, new Set());
  const free = seats.find(({ state }) => state === SeatState.AVAILABLE);
  tabStop(buttons.get((free ?? seats[0])?.id ?? ""));
  return { element, update };
}

function neighbour(grid: HTMLButtonElement[][], x: number, y: number, key: string): HTMLButtonElement | undefined {
  const line = grid[y] ?? [];
  const inLine = (to: HTMLButtonElement[] | undefined) => to?.[Math.min(x, to.length - 1)];
  switch (key) {
    case "ArrowLeft":
      return line[x - 1];
    case "ArrowRight":
      return line[x + 1];
    case "ArrowUp":
      return inLine(grid[y - 1]);
    case "ArrowDown":
      return inLine(grid[y + 1]);
    case "Home":
      return line[0];
    case "End":
      return line.at(-1);
    default:
      return undefined;
  }
}
