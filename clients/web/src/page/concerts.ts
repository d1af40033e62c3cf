// The first view: what is on sale, and how long its line is. Rooms are public and cached, so they are simply read
// again every few seconds while the page is looked at.

import { type Performance, PerformanceState } from "../gen/usher/v1/catalog_pb.js";
import { type Room, RoomState } from "../gen/usher/v1/room_pb.js";
import { millis, type Refusal } from "../errors.js";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { ask } from "./api.js";
import { type Catalog, type Context, loadCatalog, type View } from "./context.js";
import { fill, h, setText } from "./dom.js";
import { countdown, dayAndTime, money, people, waitRange } from "./format.js";
import { refusalText, roomLabels } from "./words.js";

const REFRESH_MS = 5000;

export function concertsView(context: Context): View {
  const { api } = context;
  const closed = new AbortController();
  const list = h("div", { class: "concerts" }, h("p", { class: "muted" }, "Loading concerts…"));
  const element = h(
    "section",
    { "aria-labelledby": "concerts-title" },
    h("h1", { id: "concerts-title", tabIndex: -1 }, "Choose a performance"),
    h(
      "p",
      { class: "lead" },
      "Everyone waits in one fair line. Keep this page open and it tells you when it is your turn.",
    ),
    list,
  );
  context.title("Tickets");
  const lines = new Map<string, HTMLElement[]>();
  let rooms = new Map<string, Room>();
  let readAtMs = 0;

  async function refresh(): Promise<void> {
    const answer = await ask(() => api.queue.listRooms({ pageSize: 100 }, { signal: closed.signal }), closed.signal);
    if (answer.refusal) return;
    rooms = new Map(answer.value.rooms.map((room) => [room.id, room]));
    readAtMs = Date.now();
    tick();
  }

  function tick(): void {
    for (const [roomId, elements] of lines) {
      const room = rooms.get(roomId);
      for (const element of elements) if (room) showRoom(element, room, readAtMs);
    }
  }

  void (async () => {
    try {
      const catalog = await loadCatalog(api, closed.signal);
      fill(list, ...cards(catalog, lines));
      await refresh();
    } catch (refusal) {
      if (closed.signal.aborted) return;
      fill(list, h("p", { class: "notice error", role: "alert" }, refusalText(refusal as Refusal)));
    }
  })();
  const timer = setInterval(() => {
    if (!document.hidden) void refresh();
  }, REFRESH_MS);
  return {
    element,
    tick,
    close: () => {
      clearInterval(timer);
      closed.abort();
    },
  };
}

function cards(catalog: Catalog, lines: Map<string, HTMLElement[]>): HTMLElement[] {
  return catalog.concerts.map(({ concert, performances }, index) => {
    const line = h("p", { class: "room-line" });
    const roomIds = new Set(performances.map(({ roomId }) => roomId).filter(Boolean));
    for (const roomId of roomIds) lines.set(roomId, [...(lines.get(roomId) ?? []), line]);
    const title = `concert-${index}`;
    return h(
      "article",
      { class: `card concert hue-${index % 3}`, "aria-labelledby": title },
      h(
        "header",
        {},
        h("h2", { id: title }, concert.name),
        concert.venue && h("p", { class: "muted" }, concert.venue),
        concert.description && h("p", {}, concert.description),
        line,
      ),
      h(
        "ul",
        { class: "performances" },
        ...performances.map((performance) => performanceItem(concert.id, performance)),
      ),
    );
  });
}

function performanceItem(concertId: string, performance: Performance): HTMLElement {
  const prices = performance.sections.map(({ price }) => price).filter((price) => price !== undefined);
  const lowest = prices.sort((a, b) => Number(a.amountMinor - b.amountMinor))[0];
  const cancelled = performance.state === PerformanceState.CANCELLED;
  const note = cancelled ? "Cancelled" : performance.soldOut ? "Sold out" : lowest ? `from ${money(lowest)}` : "";
  const inner = [h("span", { class: "when" }, dayAndTime(performance.startsAt)), h("span", { class: "muted" }, note)];
  if (cancelled) return h("li", {}, h("span", { class: "performance" }, ...inner));
  const href = `#/sale/${encodeURIComponent(concertId)}/${encodeURIComponent(performance.id)}`;
  return h(
    "li",
    {},
    h("a", { class: "performance", href }, ...inner, h("span", { class: "go", "aria-hidden": "true" }, "→")),
  );
}

function showRoom(element: HTMLElement, room: Room, readAtMs: number): void {
  const chip = element.querySelector(".chip") ?? element.appendChild(h("span", { class: "chip" }));
  const text = element.querySelector(".room-text") ?? element.appendChild(h("span", { class: "room-text" }));
  chip.className = `chip chip-${RoomState[room.state]?.toLowerCase() ?? "unspecified"}`;
  setText(chip, roomLabels[room.state] ?? "");
  setText(text, roomText(room, readAtMs));
}

function roomText(room: Room, readAtMs: number): string {
  const waiting = room.lanes.reduce((sum, lane) => sum + Number(lane.waitingTotal), 0);
  if (room.state === RoomState.SCHEDULED && room.opensAt) {
    const nowMs = (room.asOf ? timestampMs(room.asOf) : readAtMs) + (Date.now() - readAtMs);
    const leftMs = timestampMs(room.opensAt) - nowMs;
    return leftMs > 0
      ? `opens in ${countdown(leftMs)}, ${people(waiting)} here`
      : `opening now, ${people(waiting)} here`;
  }
  if (room.state !== RoomState.OPEN) return waiting > 0 ? `${people(waiting)} waiting` : "";
  if (waiting === 0) return "nobody is waiting";
  const estimate = room.lanes[0]?.estimatedWait;
  const wait =
    estimate?.low && estimate.high
      ? `, about ${waitRange(millis(estimate.low), millis(estimate.high)).replace(/^about /, "")}`
      : "";
  return `${people(waiting)} waiting${wait}`;
}
