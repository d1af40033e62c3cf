// What an error says: its status, its reason, and whether the same request may be repeated.

import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";

export interface Refusal {
  /** Whether a server answered with a status, or the connection broke without one. */
  hasStatus: boolean;
  code: Code;
  /** The name of an ErrorReason without its prefix; empty where the server gave none. */
  reason: string;
  /** Present: repeat the same request after it. */
  retryAfterMs?: number;
  /** Fields that were not accepted; for SEAT_UNAVAILABLE the seats. */
  violations: { field: string; description: string }[];
  /** The server's text, in English. */
  message: string;
}

export function refusalOf(thrown: unknown): Refusal {
  const error = ConnectError.from(thrown);
  const retry = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  const refusal: Refusal = {
    // A status that a server sent brings its trailers along; one made up on this side has none.
    hasStatus: error.metadata.has("grpc-status") || error.metadata.has("grpc-status-details-bin"),
    code: error.code,
    reason: error.findDetails(ErrorInfoSchema)[0]?.reason ?? "",
    violations: error
      .findDetails(BadRequestSchema)
      .flatMap((detail) => detail.fieldViolations)
      .map(({ field, description }) => ({ field, description })),
    message: error.rawMessage,
  };
  if (retry) refusal.retryAfterMs = millis(retry);
  return refusal;
}

/** Whether an idempotent request may be repeated as it is. */
export function mayRepeat(refusal: Refusal): boolean {
  return !refusal.hasStatus || refusal.code === Code.Unavailable || refusal.retryAfterMs !== undefined;
}

export function millis(duration: Duration): number {
  return Math.max(0, durationMs(duration));
}
