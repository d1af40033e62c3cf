// Where a place token survives a reload, and where the tabs of one user see each other's newest state. One entry per
// room and user; whoever cannot store (private windows, full quota) still waits, without the memory.

import type { Seen } from "./place-view.js";

export interface StoredPlace {
  token: string;
  seen?: Seen;
}

/** The part of `localStorage` and `sessionStorage` that is used. */
export type PlaceStorage = Pick<Storage, "getItem" | "setItem" | "removeItem">;

export class PlaceStore {
  readonly #key: string;
  readonly #storage: PlaceStorage | undefined;

  constructor(storage: PlaceStorage | undefined, roomId: string, user: string) {
    this.#storage = storage;
    this.#key = `usher.place.${encodeURIComponent(roomId)}.${encodeURIComponent(user)}`;
  }

  load(): StoredPlace | undefined {
    try {
      const text = this.#storage?.getItem(this.#key);
      const stored = text ? (JSON.parse(text) as StoredPlace) : undefined;
      return typeof stored?.token === "string" ? stored : undefined;
    } catch {
      return undefined;
    }
  }

  save(stored: StoredPlace): void {
    try {
      this.#storage?.setItem(this.#key, JSON.stringify(stored));
    } catch {
      // The place lives on in this tab.
    }
  }

  clear(): void {
    try {
      this.#storage?.removeItem(this.#key);
    } catch {
      // As above.
    }
  }
}
