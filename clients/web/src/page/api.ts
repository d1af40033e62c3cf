// The page's connection: clients with the user's name, and commands that are repeated with the same key.

import { type Client, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { backoffMs } from "../backoff.js";
import { mayRepeat, type Refusal, refusalOf } from "../errors.js";
import { CatalogService } from "../gen/usher/v1/catalog_service_pb.js";
import { CouponService } from "../gen/usher/v1/coupon_service_pb.js";
import { PaymentService } from "../gen/usher/v1/payment_service_pb.js";
import { QueueService } from "../gen/usher/v1/queue_service_pb.js";
import { ReservationService } from "../gen/usher/v1/reservation_service_pb.js";
import { sleep, systemClock } from "../clock.js";

const TRIES_MAX = 6;

export class Api {
  readonly transport: Transport;
  readonly queue: Client<typeof QueueService>;
  readonly catalog: Client<typeof CatalogService>;
  readonly reservations: Client<typeof ReservationService>;
  readonly payments: Client<typeof PaymentService>;
  readonly coupons: Client<typeof CouponService>;

  constructor(readonly user: string) {
    const asUser: Interceptor = (next) => (request) => {
      request.header.set("x-user-id", user);
      return next(request);
    };
    this.transport = createGrpcWebTransport({ baseUrl: location.origin, interceptors: [asUser] });
    this.queue = createClient(QueueService, this.transport);
    this.catalog = createClient(CatalogService, this.transport);
    this.reservations = createClient(ReservationService, this.transport);
    this.payments = createClient(PaymentService, this.transport);
    this.coupons = createClient(CouponService, this.transport);
  }
}

export type Answer<T> = { value: T; refusal?: undefined } | { value?: undefined; refusal: Refusal };

/** Calls until there is an answer that is final, or patience ends. The request must be safe to repeat. */
export async function ask<T>(call: () => Promise<T>, signal = new AbortController().signal): Promise<Answer<T>> {
  for (let failures = 1; ; failures++) {
    try {
      return { value: await call() };
    } catch (thrown) {
      const refusal = refusalOf(thrown);
      if (signal.aborted || failures === TRIES_MAX || !mayRepeat(refusal)) return { refusal };
      await sleep(systemClock, Math.max(refusal.retryAfterMs ?? 0, backoffMs(failures, Math.random())), signal);
    }
  }
}

/** A key that makes a command safe to repeat. */
export function newKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
