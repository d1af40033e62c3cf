// The eight rules of `QueueService.Watch`, seen from the client.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { EndReason, PlaceState } from "../src/gen/usher/v1/place_pb.js";
import { DrainReason } from "../src/gen/usher/v1/queue_service_pb.js";
import { RoomState } from "../src/gen/usher/v1/room_pb.js";
import type { PlaceStorage } from "../src/place-store.js";
import { WaitingRoom, type WaitingRoomState } from "../src/waiting-room.js";
import { FakeQueue, refusal } from "./support/fake-queue.js";
import { settle, TestClock, until } from "./support/test-clock.js";

function memoryStorage(): PlaceStorage & { entries: Map<string, string> } {
  const entries = new Map<string, string>();
  return {
    entries,
    getItem: (key) => entries.get(key) ?? null,
    setItem: (key, value) => void entries.set(key, value),
    removeItem: (key) => void entries.delete(key),
  };
}

function setUp(storage = memoryStorage(), user = "alice", queue = new FakeQueue(), clock = new TestClock()) {
  queue.nowMs = () => clock.now();
  const states: WaitingRoomState[] = [];
  const room = new WaitingRoom({
    roomId: "r",
    user,
    transport: queue.transport(),
    storage,
    clock,
    onChange: (state) => states.push(state),
  });
  return { queue, clock, storage, states, room };
}

/** Joined, with a stream that has told position 7 at revision 10. */
async function waiting(options = setUp()) {
  const { queue, room } = options;
  room.join();
  await until("a stream is open", () => queue.streams.length === 1);
  queue.stream.snapshot(10);
  await until("position 7", () => room.state.place?.position === 7);
  return options;
}

/** Expects that the client waits `delayMs` before its next stream, and lets it come. */
async function comesBackAfter({ queue, clock, room }: ReturnType<typeof setUp>, delayMs: number) {
  const before = queue.streams.length;
  await until("the client waits", () => room.state.phase === "reconnecting" && clock.nextMs !== undefined);
  assert.equal(clock.nextMs, delayMs);
  clock.advance(delayMs - 1);
  await settle();
  assert.equal(queue.streams.length, before);
  clock.advance(1);
  await until("the next stream", () => queue.streams.length === before + 1);
}

async function stops({ queue, clock, room }: ReturnType<typeof setUp>, why: string) {
  const before = queue.streams.length;
  await until("stopped", () => room.state.phase === "stopped");
  assert.equal(room.state.stopped?.why, why);
  clock.advance(60_000);
  await settle();
  assert.equal(queue.streams.length, before);
}

describe("rule 1: states, not a log", () => {
  test("a stream is asked to resume from the last cursor seen", async () => {
    const all = await waiting();
    const first = all.queue.stream.request;
    assert.equal(first.placeToken, "token-7");
    assert.deepEqual([first.resume?.epoch, first.resume?.revision], [1n, 1n]);
    all.queue.stream.send(12, { case: "heartbeat", value: {} });
    all.queue.stream.end();
    await comesBackAfter(all, 500);
    assert.deepEqual(all.queue.stream.request.resume?.revision, 12n);
  });

  test("a state with a smaller cursor is ignored, a larger epoch is not", async () => {
    const { queue, room } = await waiting();
    queue.stream.position(9, 3);
    queue.stream.send(11, { case: "heartbeat", value: {} });
    await settle();
    assert.equal(room.state.place?.position, 7);
    queue.stream.position(1, 9, 2);
    await until("the new epoch's position", () => room.state.place?.position === 9);
  });

  test("a snapshot of a node that lags is ignored after coming back", async () => {
    const all = await waiting();
    all.queue.stream.end();
    await comesBackAfter(all, 500);
    all.queue.stream.snapshot(8, { position: 9n }, { roomState: RoomState.PAUSED });
    await until("live", () => all.room.state.phase === "live");
    assert.equal(all.room.state.place?.position, 7);
    assert.equal(all.room.state.room?.state, RoomState.OPEN);
  });

  test("another tab's newer state wins over this tab's smaller cursor", async () => {
    const first = await waiting();
    first.queue.stream.position(20, 2);
    await until("position 2", () => first.room.state.place?.position === 2);
    const second = setUp(first.storage, "alice", first.queue, first.clock);
    second.room.resume();
    await until("the second tab's stream", () => first.queue.streams.length === 2);
    first.queue.stream.snapshot(15, { position: 5n });
    await until("live", () => second.room.state.phase === "live");
    assert.equal(second.room.state.place?.position, 2);
    // The first tab moves on; what the second tab's node says is older than that.
    first.queue.streams[0]?.position(30, 1);
    await until("position 1", () => first.room.state.place?.position === 1);
    first.queue.stream.position(25, 2);
    await until("position 1 here too", () => second.room.state.place?.position === 1);
  });

  test("an activation counts even from a node that another tab is ahead of", async () => {
    const first = await waiting();
    const second = setUp(first.storage, "alice", first.queue, first.clock);
    second.room.resume();
    await until("the second tab's stream", () => first.queue.streams.length === 2);
    first.queue.streams[0]?.position(20, 2);
    await until("position 2", () => first.room.state.place?.position === 2);
    first.queue.stream.snapshot(11);
    first.queue.stream.send(12, { case: "activated", value: { activationId: "a" } });
    await until("activated", () => second.room.state.place?.state === PlaceState.ACTIVATED);
  });
});

test("rule 2: a heartbeat changes nothing but the cursor", async () => {
  const { queue, room, states } = await waiting();
  const before = room.state.place;
  queue.stream.send(15, { case: "heartbeat", value: {} });
  queue.stream.position(16, 4);
  await until("position 4", () => room.state.place?.position === 4);
  assert.deepEqual(states.at(-2)?.place, before);
  assert.equal(room.state.place?.waitingTotal, 50);
});

describe("rule 3: the turn", () => {
  test("ACTIVATED comes with claim_by, ACTIVE with the pass", async () => {
    const { queue, room, clock } = await waiting();
    const claimBy = timestampFromMs(clock.now() + 45_000);
    queue.stream.send(11, { case: "activated", value: { activationId: "a", claimBy } });
    await until("activated", () => room.state.place?.state === PlaceState.ACTIVATED);
    assert.equal(room.state.place?.claimByMs, clock.now() + 45_000);
    assert.equal(room.state.place?.position, undefined);
    assert.equal(room.state.pass, undefined);
    const expireTime = timestampFromMs(clock.now() + 600_000);
    queue.stream.send(12, { case: "activated", value: { activationId: "a", pass: "pass-a", expireTime } });
    await until("active", () => room.state.pass === "pass-a");
    assert.equal(room.state.place?.state, PlaceState.ACTIVE);
    assert.equal(room.state.place?.expireTimeMs, clock.now() + 600_000);
  });

  test("without a claim window WAITING becomes ACTIVE", async () => {
    const { queue, room } = await waiting();
    queue.stream.send(11, { case: "activated", value: { activationId: "a", pass: "pass-a" } });
    await until("active", () => room.state.place?.state === PlaceState.ACTIVE);
  });

  test("a claim brings the pass, and a view that has not heard of it takes nothing back", async () => {
    const { queue, room, clock } = await waiting();
    queue.stream.send(11, { case: "activated", value: { activationId: "a" } });
    await until("activated", () => room.state.place?.state === PlaceState.ACTIVATED);
    queue.onClaim = () => ({ pass: "pass-a", expireTime: timestampFromMs(clock.now() + 1000) });
    assert.equal(await room.claim(), undefined);
    assert.equal(queue.claims[0]?.placeToken, "token-7");
    assert.equal(room.state.pass, "pass-a");
    queue.stream.snapshot(12, { state: PlaceState.ACTIVATED });
    queue.stream.send(12, { case: "activated", value: { activationId: "a" } });
    queue.stream.send(13, { case: "heartbeat", value: {} });
    await settle();
    assert.equal(room.state.place?.state, PlaceState.ACTIVE);
    assert.equal(room.state.pass, "pass-a");
  });

  test("a claim is repeated while the server says so, and no longer than claim_by", async () => {
    const { queue, room, clock } = await waiting();
    const claimBy = timestampFromMs(clock.now() + 3000);
    queue.stream.send(11, { case: "activated", value: { activationId: "a", claimBy } });
    await until("activated", () => room.state.place?.state === PlaceState.ACTIVATED);
    queue.onClaim = () => {
      throw refusal(Code.Unavailable, "DEGRADED", 2000);
    };
    const claim = room.claim();
    assert.equal(room.claim(), claim, "a second press is the same claim");
    await until("one claim", () => queue.claims.length === 1);
    await settle();
    clock.advance(2000);
    await until("two claims", () => queue.claims.length === 2);
    await settle();
    clock.advance(2000);
    assert.equal((await claim)?.reason, "DEGRADED");
    assert.equal(queue.claims.length, 2);
    assert.equal(room.state.claiming, false);
  });

  test("a claim that came too late says so at once", async () => {
    const { queue, room } = await waiting();
    queue.onClaim = () => {
      throw refusal(Code.FailedPrecondition, "ACTIVATION_EXPIRED");
    };
    assert.equal((await room.claim())?.reason, "ACTIVATION_EXPIRED");
    assert.equal(queue.claims.length, 1);
  });
});

test("rule 4: SLOW_READER comes back after its RetryInfo", async () => {
  const all = await waiting();
  all.queue.stream.fail(refusal(Code.ResourceExhausted, "SLOW_READER", 2000));
  await comesBackAfter(all, 2000);
});

describe("rule 5: silence", () => {
  test("twice the heartbeat interval without a word abandons the connection", async () => {
    const all = await waiting();
    const silent = all.queue.stream;
    assert.equal(all.clock.nextMs, 30_000);
    all.clock.advance(29_999);
    await settle();
    assert.equal(all.room.state.phase, "live");
    all.clock.advance(1);
    await until("abandoned", () => silent.aborted);
    // It had lived for longer than the longest back-off: the first failure of a new row.
    await comesBackAfter(all, 500);
  });

  test("every message begins the silence anew", async () => {
    const { queue, clock, room } = await waiting();
    clock.advance(20_000);
    queue.stream.position(11, 6);
    await until("position 6", () => room.state.place?.position === 6);
    assert.equal(clock.nextMs, 30_000);
  });

  test("a server that never sends the first message is abandoned too", async () => {
    const all = setUp();
    all.room.join();
    await until("a stream is open", () => all.queue.streams.length === 1);
    assert.equal(all.clock.nextMs, 30_000);
    all.clock.advance(30_000);
    await comesBackAfter(all, 500);
  });
});

describe("rule 6: what an end means", () => {
  test("without status: watch again", async () => {
    const all = await waiting();
    all.queue.stream.cut();
    await comesBackAfter(all, 500);
  });

  test("OK without ended: watch again", async () => {
    const all = await waiting();
    all.queue.stream.end();
    await comesBackAfter(all, 500);
  });

  test("an unreachable server is tried with a growing full-jitter back-off of 0.5 to 10 s", async () => {
    const all = await waiting();
    const { queue, clock, room } = all;
    queue.unreachable = true;
    queue.stream.cut();
    clock.chance = 1;
    for (const delayMs of [1000, 2000, 4000, 8000, 10_000, 10_000]) {
      await until(`a wait of ${delayMs} ms`, () => clock.nextMs === delayMs);
      assert.equal(room.state.phase, "reconnecting");
      if (delayMs === 8000) clock.chance = 0.5;
      clock.advance(delayMs);
      if (delayMs === 8000) {
        await until("half of the range", () => clock.nextMs === 5250);
        clock.chance = 1;
        clock.advance(5250);
      }
    }
    clock.chance = 0;
    await until("the floor of the range", () => clock.nextMs === 500);
    queue.unreachable = false;
    clock.advance(500);
    await until("back", () => queue.streams.length === 2);
  });

  test("drain: after reconnect_after, exactly", async () => {
    const all = await waiting();
    const value = { reason: DrainReason.SHUTDOWN, reconnectAfter: { seconds: 3n, nanos: 250_000_000 } };
    all.queue.stream.send(11, { case: "drain", value });
    await comesBackAfter(all, 3250);
  });

  test("drain REPLACED: only if the user asks", async () => {
    const all = await waiting();
    all.queue.stream.send(11, { case: "drain", value: { reason: DrainReason.REPLACED } });
    await stops(all, "replaced");
    all.room.resume();
    await until("the next stream", () => all.queue.streams.length === 2);
    assert.equal(all.queue.stream.request.placeToken, "token-7");
    assert.equal(all.queue.joins.length, 1);
  });

  test("UNAVAILABLE: watch again, not before its RetryInfo", async () => {
    const all = await waiting();
    all.queue.stream.fail(refusal(Code.Unavailable, "DRAINING"));
    await comesBackAfter(all, 500);
    all.queue.stream.snapshot(11);
    await until("live", () => all.room.state.phase === "live");
    all.queue.stream.fail(refusal(Code.Unavailable, "REBUILDING", 4000));
    await comesBackAfter(all, 4000);
  });

  test("any status with RetryInfo: watch again", async () => {
    const all = await waiting();
    all.queue.stream.fail(refusal(Code.ResourceExhausted, "TOO_MANY_STREAMS", 1500));
    await comesBackAfter(all, 1500);
  });

  for (const [name, error] of [
    ["UNAUTHENTICATED", refusal(Code.Unauthenticated)],
    ["TOKEN_USER_MISMATCH", refusal(Code.PermissionDenied, "TOKEN_USER_MISMATCH")],
  ] as const) {
    test(`${name}: join again, without the token`, async () => {
      const { queue, storage, room } = setUp();
      storage.setItem("usher.place.r.alice", JSON.stringify({ token: "of-another-life" }));
      const again = setUp(storage, "alice", queue);
      queue.onWatch = (stream) => {
        if (stream.request.placeToken === "of-another-life") stream.fail(error);
      };
      again.room.resume();
      await until("joined and watching", () => queue.streams.length === 2);
      assert.equal(queue.joins.length, 1);
      assert.equal(queue.joins[0]?.placeToken, undefined);
      assert.equal(queue.stream.request.placeToken, "token-7");
      room.pause();
    });
  }

  test("a Join that does not help is not repeated without a pause", async () => {
    const { queue, clock, room } = setUp();
    queue.onWatch = (stream) => stream.fail(refusal(Code.Unauthenticated));
    room.join();
    await until("joined twice", () => queue.joins.length === 2);
    await settle();
    assert.equal(queue.joins.length, 2);
    clock.advance(500);
    await until("joined again", () => queue.joins.length === 3);
  });

  test("ended: stop, and forget the token", async () => {
    const all = await waiting();
    const value = { state: PlaceState.EXPIRED, reason: EndReason.ABSENT };
    all.queue.stream.send(11, { case: "ended", value });
    await stops(all, "ended");
    assert.equal(all.room.state.place?.state, PlaceState.EXPIRED);
    assert.equal(all.room.state.place?.endReason, EndReason.ABSENT);
    assert.equal(all.storage.entries.size, 0);
    all.room.join();
    await until("joined anew", () => all.queue.joins.length === 2);
    assert.equal(all.queue.joins[1]?.placeToken, undefined);
    await until("the old place is gone", () => all.room.state.place?.state === PlaceState.WAITING);
  });

  for (const code of [Code.FailedPrecondition, Code.NotFound, Code.Internal, Code.ResourceExhausted]) {
    test(`any other status, such as ${Code[code]}: stop`, async () => {
      const all = await waiting();
      all.queue.stream.fail(refusal(code, "ANY"));
      await stops(all, "refused");
      assert.equal(all.room.state.stopped?.refusal?.reason, "ANY");
    });
  }
});

describe("rule 7: tokens", () => {
  test("the token of a finished place: snapshot, ended, OK", async () => {
    const all = await waiting();
    all.queue.stream.end();
    await comesBackAfter(all, 500);
    all.queue.stream.snapshot(30, { state: PlaceState.COMPLETED });
    const value = { state: PlaceState.COMPLETED, reason: EndReason.COMPLETED };
    all.queue.stream.send(30, { case: "ended", value });
    all.queue.stream.end();
    await stops(all, "ended");
    assert.equal(all.room.state.place?.endReason, EndReason.COMPLETED);
  });

  test("a place_token in a snapshot replaces the one kept", async () => {
    const all = await waiting();
    all.queue.stream.snapshot(11, { number: 3n, position: 3n }, { placeToken: "token-3" });
    await until("the surviving place", () => all.room.state.place?.number === "3");
    assert.match([...all.storage.entries.values()][0] ?? "", /"token":"token-3"/);
    all.queue.stream.end();
    await comesBackAfter(all, 500);
    assert.equal(all.queue.stream.request.placeToken, "token-3");
  });

  test("a token kept from before is watched without a Join; another user's is not touched", async () => {
    const first = await waiting();
    first.room.pause();
    const again = setUp(first.storage);
    assert.equal(again.room.hasPlace, true);
    again.room.resume();
    await until("watching", () => again.queue.streams.length === 1);
    assert.equal(again.queue.joins.length, 0);
    const other = setUp(first.storage, "bob");
    assert.equal(other.room.hasPlace, false);
    other.room.resume();
    await until("watching", () => other.queue.streams.length === 1);
    assert.equal(other.queue.joins[0]?.placeToken, undefined);
  });
});

test("rule 8: before the opening the client counts down against as_of", async () => {
  const all = setUp();
  const { queue, clock, room } = all;
  // This machine's clock is an hour behind the server's.
  queue.nowMs = () => clock.now() + 3_600_000;
  queue.onJoin = () => ({ placeToken: "token-7", place: { lane: "default", number: 7n, state: PlaceState.SCHEDULED } });
  room.join();
  await until("a stream is open", () => queue.streams.length === 1);
  const opensAt = timestampFromMs(queue.nowMs() + 90_000);
  queue.stream.snapshot(2, { state: PlaceState.SCHEDULED, opensAt }, { roomState: RoomState.SCHEDULED });
  await until("scheduled", () => room.state.place?.opensAtMs !== undefined);
  assert.equal(room.state.place?.state, PlaceState.SCHEDULED);
  assert.equal((room.state.place?.opensAtMs ?? 0) - room.serverNowMs(), 90_000);
  queue.stream.send(3, { case: "roomChanged", value: { state: RoomState.OPEN } });
  queue.stream.position(3, 4);
  await until("in the line", () => room.state.place?.state === PlaceState.WAITING);
  assert.equal(room.state.room?.state, RoomState.OPEN);
  assert.equal(room.state.place?.position, 4);
});

describe("joining and leaving", () => {
  test("Join is repeated on UNAVAILABLE, and stops at a refusal", async () => {
    const { queue, clock, room } = setUp();
    queue.onJoin = () => {
      throw refusal(Code.Unavailable, "REBUILDING", 1000);
    };
    room.join();
    await until("one Join", () => queue.joins.length === 1 && clock.nextMs !== undefined);
    assert.equal(clock.nextMs, 1000);
    queue.onJoin = () => {
      throw refusal(Code.ResourceExhausted, "ROOM_FULL");
    };
    clock.advance(1000);
    await until("stopped", () => room.state.phase === "stopped");
    assert.equal(room.state.stopped?.refusal?.reason, "ROOM_FULL");
    assert.equal(queue.streams.length, 0);
  });

  test("a leave ends the stream and forgets the place", async () => {
    const all = await waiting();
    assert.equal(await all.room.leave(), undefined);
    assert.equal(all.queue.leaves[0]?.placeToken, "token-7");
    await stops(all, "ended");
    assert.equal(all.room.state.place?.state, PlaceState.LEFT);
    assert.equal(all.room.hasPlace, false);
    assert.equal(all.storage.entries.size, 0);
  });

  test("a pause keeps the place and ends the stream", async () => {
    const all = await waiting();
    all.room.pause();
    await until("the stream is gone", () => all.queue.stream.aborted);
    assert.equal(all.room.state.phase, "idle");
    assert.equal(all.room.hasPlace, true);
  });

  test("storage that refuses everything costs the memory, not the place", async () => {
    const refuse = () => {
      throw new Error("denied");
    };
    const storage = { ...memoryStorage(), getItem: refuse, setItem: refuse, removeItem: refuse };
    const all = await waiting(setUp(storage));
    assert.equal(await all.room.leave(), undefined);
  });
});

describe("access codes", () => {
  test("a code is shown with every join from then on, and with none before", async () => {
    const all = setUp();
    const { queue, room } = all;
    queue.onJoin = () => {
      throw refusal(Code.PermissionDenied, "ACCESS_CODE_INVALID");
    };
    room.join();
    await stops(all, "refused");
    assert.equal(room.state.stopped?.refusal?.reason, "ACCESS_CODE_INVALID");
    assert.equal(queue.joins[0]?.accessCode, undefined);
    room.join("wrong");
    await until("the second join", () => queue.joins.length === 2);
    await until("refused again", () => room.state.phase === "stopped");
    queue.onJoin = new FakeQueue().onJoin;
    room.join("open-sesame");
    await until("a stream is open", () => queue.streams.length === 1);
    // Whoever presses "Join again" has shown it already.
    room.join();
    await until("the fourth join", () => queue.joins.length === 4);
    assert.deepEqual(
      queue.joins.map((join) => join.accessCode),
      [undefined, "wrong", "open-sesame", "open-sesame"],
    );
  });
});
