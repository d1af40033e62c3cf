// Rule 6 of the stream: how a stream ended, and what the client does then. Pure.

import { Code } from "@connectrpc/connect";
import { mayRepeat, type Refusal } from "./errors.js";
import { DrainReason } from "./gen/usher/v1/queue_service_pb.js";

/** How one stream came to its end. */
export type StreamEnd =
  /** `ended` was received. */
  | { kind: "ended" }
  /** `drain` was received. */
  | { kind: "drain"; reason: DrainReason; reconnectAfterMs: number }
  /** OK without `ended`. */
  | { kind: "ok" }
  /** Nothing was heard for twice the heartbeat interval. */
  | { kind: "silence" }
  /** A status, or a connection that broke without one. */
  | { kind: "error"; refusal: Refusal };

/** What follows. Without `afterMs` the back-off decides. */
export type Next =
  | { kind: "watch"; afterMs?: number; atLeastMs?: number }
  | { kind: "join" }
  | { kind: "stop"; why: "ended" | "replaced" | "refused" };

export function afterStream(end: StreamEnd): Next {
  switch (end.kind) {
    case "ended":
      return { kind: "stop", why: "ended" };
    case "drain":
      // Coming back by itself would push out the stream that took this one's turn.
      if (end.reason === DrainReason.REPLACED) return { kind: "stop", why: "replaced" };
      return { kind: "watch", afterMs: end.reconnectAfterMs };
    case "ok":
    case "silence":
      return { kind: "watch" };
    case "error":
      return afterError(end.refusal);
  }
}

function afterError(refusal: Refusal): Next {
  if (refusal.hasStatus) {
    if (refusal.code === Code.Unauthenticated || refusal.reason === "TOKEN_USER_MISMATCH") return { kind: "join" };
    if (!mayRepeat(refusal)) return { kind: "stop", why: "refused" };
  }
  return refusal.retryAfterMs === undefined ? { kind: "watch" } : { kind: "watch", atLeastMs: refusal.retryAfterMs };
}
