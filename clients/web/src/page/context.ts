// What every view is given, and what it gives back.

import type { Concert, Performance } from "../gen/usher/v1/catalog_pb.js";
import { type Api, ask } from "./api.js";

export interface Context {
  api: Api;
  /** Tells a screen reader; `urgent` interrupts. */
  announce(text: string, urgent?: boolean): void;
  /** What the browser's tab says. */
  title(text: string): void;
}

export interface View {
  element: HTMLElement;
  /** Called about four times a second, for what counts down. */
  tick?(): void;
  /** Ends streams and timers. */
  close?(): void;
}

export interface Catalog {
  concerts: { concert: Concert; performances: Performance[] }[];
}

export async function loadCatalog(api: Api, signal: AbortSignal): Promise<Catalog> {
  const list = await ask(() => api.catalog.listConcerts({ pageSize: 100 }, { signal }), signal);
  if (list.refusal) throw list.refusal;
  const concerts = await Promise.all(
    list.value.concerts.map(async (concert) => {
      const request = { concertId: concert.id, pageSize: 100 };
      const answer = await ask(() => api.catalog.listPerformances(request, { signal }), signal);
      return { concert, performances: answer.value?.performances ?? [] };
    }),
  );
  return { concerts };
}

export function findPerformance(catalog: Catalog, performanceId: string) {
  for (const { concert, performances } of catalog.concerts) {
    const performance = performances.find(({ id }) => id === performanceId);
    if (performance) return { concert, performance };
  }
  return undefined;
}
