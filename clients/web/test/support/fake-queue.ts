// QueueService in this process, spoken to in real gRPC-Web frames through a fetch of its own. Every Watch becomes a
// FakeStream that the test writes to, ends or cuts.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createConnectRouter, type Transport } from "@connectrpc/connect";
import { createFetchHandler } from "@connectrpc/connect/protocol";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ErrorInfoSchema, RetryInfoSchema } from "../../src/gen/google/rpc/error_details_pb.js";
import { type PlaceSchema, PlaceState } from "../../src/gen/usher/v1/place_pb.js";
import {
  type ClaimRequest,
  type ClaimResponseSchema,
  type JoinRequest,
  type JoinResponseSchema,
  type LeaveRequest,
  QueueService,
  type WatchRequest,
  WatchResponseSchema,
} from "../../src/gen/usher/v1/queue_service_pb.js";
import { RoomState } from "../../src/gen/usher/v1/room_pb.js";

type Event = MessageInitShape<typeof WatchResponseSchema>["event"];

export class FakeStream {
  aborted = false;
  #queue: (Event | "end" | ConnectError)[] = [];
  #cursors: [bigint, bigint][] = [];
  #wake = () => {};
  #cut = () => {};

  constructor(
    readonly request: WatchRequest,
    readonly nowMs: () => number,
  ) {}

  /** Sends one message whose cursor is (epoch, revision). */
  send(revision: number, event: Event, epoch = 1): void {
    this.#cursors.push([BigInt(epoch), BigInt(revision)]);
    this.#push(event);
  }

  snapshot(revision: number, place: MessageInitShape<typeof PlaceSchema> = {}, more: object = {}, epoch = 1): void {
    this.send(
      revision,
      {
        case: "snapshot",
        value: {
          place: { roomId: "r", lane: "default", number: 7n, state: PlaceState.WAITING, position: 7n, ...place },
          roomState: RoomState.OPEN,
          heartbeatInterval: { seconds: 15n },
          ...more,
        },
      },
      epoch,
    );
  }

  position(revision: number, position: number, epoch = 1): void {
    this.send(revision, { case: "position", value: { position: BigInt(position), waitingTotal: 50n } }, epoch);
  }

  /** Ends with OK. */
  end(): void {
    this.#push("end");
  }

  fail(error: ConnectError): void {
    this.#push(error);
  }

  /** Breaks the connection: no status follows. */
  cut(): void {
    this.#cut();
  }

  onCut(cut: () => void): void {
    this.#cut = cut;
  }

  async *messages(signal: AbortSignal) {
    signal.addEventListener("abort", () => {
      this.aborted = true;
      this.#wake();
    });
    while (!this.aborted) {
      const next = this.#queue.shift();
      if (next === undefined) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
      } else if (next === "end") {
        return;
      } else if (next instanceof ConnectError) {
        throw next;
      } else {
        const [epoch, revision] = this.#cursors.shift() ?? [0n, 0n];
        yield create(WatchResponseSchema, {
          cursor: { epoch, revision },
          asOf: timestampFromMs(this.nowMs()),
          event: next,
        });
      }
    }
  }

  #push(item: Event | "end" | ConnectError): void {
    this.#queue.push(item);
    this.#wake();
  }
}

export class FakeQueue {
  joins: JoinRequest[] = [];
  claims: ClaimRequest[] = [];
  leaves: LeaveRequest[] = [];
  streams: FakeStream[] = [];
  /** While set, no connection can be opened. */
  unreachable = false;
  /** The server's clock. */
  nowMs: () => number = () => 0;
  onJoin: () => MessageInitShape<typeof JoinResponseSchema> = () => ({
    placeToken: "token-7",
    place: { roomId: "r", lane: "default", number: 7n, state: PlaceState.WAITING, cursor: { epoch: 1n, revision: 1n } },
  });
  onClaim: () => MessageInitShape<typeof ClaimResponseSchema> = () => ({ pass: "pass" });
  onWatch: (stream: FakeStream) => void = () => {};

  get stream(): FakeStream {
    const last = this.streams.at(-1);
    if (!last) throw new Error("no stream was opened");
    return last;
  }

  transport(): Transport {
    const router = createConnectRouter({ connect: false, grpc: false, grpcWeb: true });
    router.service(QueueService, {
      join: (request) => {
        this.joins.push(request);
        return this.onJoin();
      },
      claim: (request) => {
        this.claims.push(request);
        return this.onClaim();
      },
      leave: (request) => {
        this.leaves.push(request);
        return {};
      },
      watch: (request, context) => {
        const stream = new FakeStream(request, this.nowMs);
        this.streams.push(stream);
        this.onWatch(stream);
        return stream.messages(context.signal);
      },
    });
    const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, createFetchHandler(handler)]));
    return createGrpcWebTransport({
      baseUrl: "http://usher.test",
      fetch: async (url, init) => {
        if (this.unreachable) throw new TypeError("Failed to fetch");
        const request = new Request(url, init);
        const handler = handlers.get(new URL(request.url).pathname);
        if (!handler) return new Response(null, { status: 404 });
        const opened = this.streams.length;
        const response = await handler(request);
        const stream = this.streams[opened];
        return stream && response.body ? cuttable(response, response.body, stream) : response;
      },
    });
  }
}

export function refusal(code: Code, reason?: string, retryAfterMs?: number): ConnectError {
  const details = [];
  if (reason) details.push({ desc: ErrorInfoSchema, value: { reason, domain: "usher.v1" } });
  if (retryAfterMs !== undefined) {
    const retryDelay = { seconds: BigInt(Math.floor(retryAfterMs / 1000)), nanos: (retryAfterMs % 1000) * 1_000_000 };
    details.push({ desc: RetryInfoSchema, value: { retryDelay } });
  }
  return new ConnectError("refused", code, undefined, details);
}

function cuttable(response: Response, body: ReadableStream<Uint8Array>, stream: FakeStream): Response {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const cut = new AbortController();
  stream.onCut(() => cut.abort(new TypeError("network error")));
  body.pipeTo(writable, { signal: cut.signal }).catch(() => {});
  return new Response(readable, { status: response.status, headers: response.headers });
}
