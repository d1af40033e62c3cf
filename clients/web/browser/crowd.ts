// People in front: each is a WaitingRoom of its own, who gives the turn back as soon as it comes.

import { createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { AdminService } from "../src/gen/usher/v1/admin_service_pb.js";
import { CatalogService } from "../src/gen/usher/v1/catalog_service_pb.js";
import { PlaceState } from "../src/gen/usher/v1/place_pb.js";
import { QueueService } from "../src/gen/usher/v1/queue_service_pb.js";
import { WaitingRoom } from "../src/waiting-room.js";

export function transportOf(url: string, user: string, role?: string): Transport {
  const asUser: Interceptor = (next) => (request) => {
    request.header.set("x-user-id", user);
    if (role) request.header.set("x-user-role", role);
    return next(request);
  };
  return createGrpcWebTransport({ baseUrl: url, interceptors: [asUser] });
}

export interface Target {
  concertName: string;
  performanceId: string;
  roomId: string;
}

/** The first performance that a room protects. */
export async function firstTarget(url: string): Promise<Target> {
  const catalog = createClient(CatalogService, transportOf(url, "looker"));
  const { concerts } = await catalog.listConcerts({ pageSize: 100 });
  for (const concert of concerts) {
    const { performances } = await catalog.listPerformances({ concertId: concert.id, pageSize: 100 });
    const performance = performances.find(({ roomId, soldOut }) => roomId !== "" && !soldOut);
    if (performance) return { concertName: concert.name, performanceId: performance.id, roomId: performance.roomId };
  }
  throw new Error("the demo catalog has no performance that a room protects");
}

/** Lets `rate` people a second in, so that there is a line to look at. */
export async function slowDown(url: string, roomId: string, rate: number): Promise<void> {
  const queue = createClient(QueueService, transportOf(url, "looker"));
  const admin = createClient(AdminService, transportOf(url, "operator", "admin"));
  const { room } = await queue.getRoom({ roomId });
  await admin.updateRoom({
    room: { id: roomId, policy: { rate } },
    updateMask: { paths: ["policy.rate"] },
    etag: room?.etag ?? "",
  });
}

export async function pause(url: string, roomId: string): Promise<void> {
  await createClient(AdminService, transportOf(url, "operator", "admin")).pauseRoom({ roomId });
}

export async function goOn(url: string, roomId: string): Promise<void> {
  await createClient(AdminService, transportOf(url, "operator", "admin")).resumeRoom({ roomId });
}

/** Puts `size` people in line and resolves when each has a position. The function returned sends them home. */
export async function crowd(url: string, roomId: string, size: number): Promise<() => void> {
  const rooms: WaitingRoom[] = [];
  const joined = Array.from({ length: size }, (_, index) => {
    return new Promise<void>((resolve, reject) => {
      const user = `crowd-${index}`;
      const room = new WaitingRoom({
        roomId,
        user,
        transport: transportOf(url, user),
        onChange: ({ phase, place, stopped }) => {
          if (place?.position !== undefined) resolve();
          if (stopped?.why === "refused") reject(new Error(`${user}: ${stopped.refusal?.reason}`));
          if (phase === "live" && (place?.state === PlaceState.ACTIVATED || place?.state === PlaceState.ACTIVE))
            void room.leave();
        },
      });
      rooms.push(room);
      room.join();
    });
  });
  await Promise.all(joined);
  return () => rooms.forEach((room) => room.pause());
}
