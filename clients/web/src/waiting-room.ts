// One user's place in one room: joins, watches, comes back, claims, leaves, by the rules at `QueueService.Watch`.
//
// One loop at a time owns the stream. Every turn of it ends in a StreamEnd, and `afterStream` says what follows; so
// what is decided can be read in `watch-rules.ts` and what is known in `place-view.ts`. Whoever uses the class sees
// whole states, through `onChange` and `state`, and never the stream itself.

import { type Client, Code, createClient, type Transport } from "@connectrpc/connect";
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { backoffMs, BACKOFF_MAX_MS } from "./backoff.js";
import { type Clock, sleep, systemClock } from "./clock.js";
import { mayRepeat, millis, type Refusal, refusalOf } from "./errors.js";
import { EndReason, PlaceState } from "./gen/usher/v1/place_pb.js";
import { QueueService, type WatchResponse } from "./gen/usher/v1/queue_service_pb.js";
import { type PlaceStorage, PlaceStore } from "./place-store.js";
import * as view from "./place-view.js";
import { afterStream, type StreamEnd } from "./watch-rules.js";

/** Silence that is accepted before a stream has told its own heartbeat interval. */
const HEARTBEAT_DEFAULT_MS = 15_000;
const LEAVE_GIVE_UP_MS = 30_000;

export interface WaitingRoomOptions {
  roomId: string;
  /** Names the user in storage: another user's token must not be sent. */
  user: string;
  /** Carries the user's credentials, as by an interceptor. */
  transport: Transport;
  /** localStorage shares the place among tabs, sessionStorage keeps it to one; absent: memory only. */
  storage?: PlaceStorage;
  onChange?: (state: WaitingRoomState) => void;
  clock?: Clock;
}

export interface WaitingRoomState {
  /** `stopped` comes with `stopped`; `reconnecting` includes the wait before the next try. */
  phase: "idle" | "joining" | "connecting" | "live" | "reconnecting" | "stopped";
  place?: view.PlaceView;
  room?: view.RoomView;
  /** In ACTIVE: to be sent as metadata "x-usher-pass". */
  pass?: string;
  claiming: boolean;
  /** Why nothing goes on by itself: the place is over, a newer stream took over, or the server refused. */
  stopped?: { why: "ended" | "replaced" | "refused"; refusal?: Refusal };
}

export class WaitingRoom {
  readonly #roomId: string;
  readonly #client: Client<typeof QueueService>;
  readonly #store: PlaceStore;
  readonly #clock: Clock;
  readonly #onChange: (state: WaitingRoomState) => void;
  #token: string | undefined;
  /** Shown with every Join once it was given: it is the user's from the first one on. */
  #accessCode: string | undefined;
  #seen: view.Seen | undefined;
  #state: WaitingRoomState = { phase: "idle", claiming: false };
  #clockAheadMs = 0;
  #heartbeatMs = HEARTBEAT_DEFAULT_MS;
  #loop: AbortController | undefined;
  #claim: Promise<Refusal | undefined> | undefined;

  constructor(options: WaitingRoomOptions) {
    this.#roomId = options.roomId;
    this.#client = createClient(QueueService, options.transport);
    this.#store = new PlaceStore(options.storage, options.roomId, options.user);
    this.#clock = options.clock ?? systemClock;
    this.#onChange = options.onChange ?? (() => {});
    const stored = this.#store.load();
    this.#token = stored?.token;
    this.#seen = stored?.seen;
  }

  get state(): WaitingRoomState {
    return this.#state;
  }

  /** Whether a place is remembered from before. */
  get hasPlace(): boolean {
    return this.#token !== undefined;
  }

  /** The server's clock, which `claimByMs` and the other times are to be compared with. */
  serverNowMs(): number {
    return this.#clock.now() + this.#clockAheadMs;
  }

  /** Takes a place, or the caller's live one, and watches it. A room may need an access code, or have a lane for it. */
  join(accessCode?: string): void {
    this.#accessCode = accessCode ?? this.#accessCode;
    this.#begin((signal) => this.#joinAndWatch(signal, "joining"));
  }

  /** Watches the place remembered from before; joins if there is none. Also: again after `stopped` by `replaced`. */
  resume(): void {
    this.#begin((signal) => (this.#token ? this.#watch(signal) : this.#joinAndWatch(signal, "joining")));
  }

  /** Stops watching and keeps the place: the server sees the user as absent until `resume`. */
  pause(): void {
    this.#loop?.abort();
    this.#loop = undefined;
    this.#change({ phase: "idle" });
  }

  /** Answers the activation. Resolves to undefined when the pass is there, else to why it is not. */
  claim(): Promise<Refusal | undefined> {
    this.#claim ??= this.#doClaim().finally(() => {
      this.#claim = undefined;
      this.#change({ claiming: false });
    });
    return this.#claim;
  }

  /** Gives the place up. Resolves to undefined when the server knows, else to why it does not. */
  async leave(): Promise<Refusal | undefined> {
    const placeToken = this.#token;
    if (placeToken !== undefined) {
      const giveUpAt = this.#clock.now() + LEAVE_GIVE_UP_MS;
      const answer = await this.#repeat(
        () => this.#client.leave({ placeToken }),
        () => this.#clock.now() < giveUpAt,
        new AbortController().signal,
      );
      if ("refusal" in answer) return answer.refusal;
    }
    this.#loop?.abort();
    if (this.#seen && !view.isFinal(this.#seen.place.state)) {
      const place = view.endedPlace(this.#seen.place, PlaceState.LEFT, EndReason.LEFT);
      this.#seen = { ...this.#seen, place };
    }
    this.#stop("ended");
    return undefined;
  }

  #begin(run: (signal: AbortSignal) => Promise<void>): void {
    this.#loop?.abort();
    this.#loop = new AbortController();
    void run(this.#loop.signal);
  }

  async #joinAndWatch(signal: AbortSignal, phase: "joining" | "reconnecting"): Promise<void> {
    if (await this.#join(signal, phase)) await this.#watch(signal);
  }

  async #join(signal: AbortSignal, phase: "joining" | "reconnecting"): Promise<boolean> {
    const placeToken = this.#token;
    const accessCode = this.#accessCode;
    // Without a token this is another place, perhaps of another server's life: its cursors start anew.
    if (placeToken === undefined) this.#seen = undefined;
    this.#change({ phase });
    const answer = await this.#repeat(
      () =>
        this.#client.join(
          { roomId: this.#roomId, ...(placeToken ? { placeToken } : {}), ...(accessCode ? { accessCode } : {}) },
          { signal },
        ),
      () => true,
      signal,
    );
    if (signal.aborted) return false;
    if ("refusal" in answer) {
      const badToken =
        placeToken && (answer.refusal.reason === "TOKEN_USER_MISMATCH" || isUnauthenticated(answer.refusal));
      if (badToken) {
        // The token may be what is wrong: a Join without it tells.
        this.#token = undefined;
        return this.#join(signal, phase);
      }
      this.#stop("refused", answer.refusal);
      return false;
    }
    this.#token = answer.value.placeToken;
    const place = answer.value.place;
    if (place) {
      this.#hearClock(place.asOf && timestampMs(place.asOf));
      this.#seen = view.seePlace(this.#seen, place);
    }
    this.#save();
    return true;
  }

  async #watch(signal: AbortSignal): Promise<void> {
    this.#change({ phase: "connecting" });
    for (let failures = 0; ;) {
      const openedAt = this.#clock.now();
      const end = await this.#watchOnce(signal);
      if (signal.aborted) return;
      // A stream that lived proves that the server is well; one that only opened does not.
      failures = this.#clock.now() - openedAt > BACKOFF_MAX_MS ? 1 : failures + 1;
      const next = afterStream(end);
      if (next.kind === "stop") return this.#stop(next.why, end.kind === "error" ? end.refusal : undefined);
      this.#change({ phase: "reconnecting" });
      const ownMs = backoffMs(failures, this.#clock.random());
      const delayMs = next.kind === "watch" ? (next.afterMs ?? Math.max(ownMs, next.atLeastMs ?? 0)) : ownMs;
      // The first Join after a bad token need not wait; the next ones must.
      if (next.kind === "watch" || failures > 1) await sleep(this.#clock, delayMs, signal);
      if (signal.aborted) return;
      if (next.kind === "join") {
        this.#token = undefined;
        if (!(await this.#join(signal, "reconnecting"))) return;
      }
    }
  }

  /** One stream from its opening to its end. */
  async #watchOnce(outer: AbortSignal): Promise<StreamEnd> {
    const abandon = new AbortController();
    const abort = () => abandon.abort();
    outer.addEventListener("abort", abort);
    let cancelTimer = () => {};
    try {
      const request = { placeToken: this.#token ?? "", ...this.#resumeCursor() };
      const messages = this.#client.watch(request, { signal: abandon.signal })[Symbol.asyncIterator]();
      for (;;) {
        const silence = new Promise<"silence">((resolve) => {
          cancelTimer = this.#clock.after(2 * this.#heartbeatMs, () => resolve("silence"));
        });
        const next = messages.next();
        // After an abandoned stream its late error has no reader.
        next.catch(() => {});
        const heard = await Promise.race([next, silence]);
        cancelTimer();
        if (outer.aborted) return { kind: "ok" };
        if (heard === "silence") return { kind: "silence" };
        if (heard.done) return { kind: "ok" };
        const end = this.#hear(heard.value);
        if (end) return end;
      }
    } catch (thrown) {
      return { kind: "error", refusal: refusalOf(thrown) };
    } finally {
      cancelTimer();
      outer.removeEventListener("abort", abort);
      abandon.abort();
    }
  }

  #hear(message: WatchResponse): StreamEnd | undefined {
    this.#hearClock(message.asOf && timestampMs(message.asOf));
    const { event } = message;
    if (event.case === "snapshot") {
      if (event.value.heartbeatInterval)
        this.#heartbeatMs = millis(event.value.heartbeatInterval) || HEARTBEAT_DEFAULT_MS;
      if (event.value.placeToken) this.#token = event.value.placeToken;
    }
    const before = this.#seen;
    this.#adoptOtherTabs();
    this.#seen = view.see(this.#seen, message);
    if (this.#seen !== before) this.#save();
    const pass = event.case === "activated" ? event.value.pass : undefined;
    this.#change({ phase: "live", ...(pass ? { pass } : {}) });
    if (event.case === "drain") {
      const after = event.value.reconnectAfter;
      return { kind: "drain", reason: event.value.reason, reconnectAfterMs: after ? millis(after) : 0 };
    }
    return event.case === "ended" ? { kind: "ended" } : undefined;
  }

  async #doClaim(): Promise<Refusal | undefined> {
    this.#change({ claiming: true });
    const placeToken = this.#token ?? "";
    const claimBy = this.#seen?.place.claimByMs;
    const answer = await this.#repeat(
      () => this.#client.claim({ placeToken }),
      () => claimBy === undefined || this.serverNowMs() < claimBy,
      new AbortController().signal,
    );
    if ("refusal" in answer) return answer.refusal;
    if (placeToken !== this.#token || !this.#seen || view.isFinal(this.#seen.place.state)) return undefined;
    this.#seen = { ...this.#seen, place: view.claimedPlace(this.#seen.place, answer.value.expireTime) };
    this.#save();
    this.#change({ pass: answer.value.pass });
    return undefined;
  }

  /** Repeats an idempotent request while the server allows it and `goOn` says so. */
  async #repeat<T>(
    call: () => Promise<T>,
    goOn: () => boolean,
    signal: AbortSignal,
  ): Promise<{ value: T } | { refusal: Refusal }> {
    for (let failures = 1; ; failures++) {
      try {
        return { value: await call() };
      } catch (thrown) {
        const refusal = refusalOf(thrown);
        if (signal.aborted || !mayRepeat(refusal) || !goOn()) return { refusal };
        const delayMs = Math.max(refusal.retryAfterMs ?? 0, backoffMs(failures, this.#clock.random()));
        await sleep(this.#clock, delayMs, signal);
        if (signal.aborted || !goOn()) return { refusal };
      }
    }
  }

  #stop(why: "ended" | "replaced" | "refused", refusal?: Refusal): void {
    this.#loop = undefined;
    if (why === "ended") {
      this.#token = undefined;
      this.#store.clear();
    }
    this.#change({ phase: "stopped", stopped: refusal ? { why, refusal } : { why } });
  }

  #resumeCursor(): { resume: { epoch: bigint; revision: bigint } } | object {
    const cursor = this.#seen?.cursor;
    return cursor ? { resume: { epoch: BigInt(cursor.epoch), revision: BigInt(cursor.revision) } } : {};
  }

  #adoptOtherTabs(): void {
    const stored = this.#store.load();
    if (!stored?.seen || stored.token !== this.#token) return;
    const newer = !this.#seen || view.compareCursors(stored.seen.cursor, this.#seen.cursor) > 0;
    if (newer && stored.seen.place.state >= (this.#seen?.place.state ?? 0)) this.#seen = stored.seen;
  }

  #hearClock(serverMs: number | undefined): void {
    if (serverMs !== undefined) this.#clockAheadMs = serverMs - this.#clock.now();
  }

  #save(): void {
    if (this.#token !== undefined)
      this.#store.save({ token: this.#token, ...(this.#seen ? { seen: this.#seen } : {}) });
  }

  #change(change: Partial<Pick<WaitingRoomState, "phase" | "claiming" | "pass" | "stopped">>): void {
    const { phase, claiming, pass, stopped } = { ...this.#state, ...change };
    const state: WaitingRoomState = { phase, claiming };
    if (this.#seen) {
      state.place = this.#seen.place;
      state.room = this.#seen.room;
    }
    if (pass !== undefined && state.place?.state === PlaceState.ACTIVE) state.pass = pass;
    if (stopped && phase === "stopped") state.stopped = stopped;
    this.#state = state;
    this.#onChange(state);
  }
}

function isUnauthenticated(refusal: Refusal): boolean {
  return refusal.hasStatus && refusal.code === Code.Unauthenticated;
}
