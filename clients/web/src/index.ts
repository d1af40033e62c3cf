// What another page imports.
export { type Clock, systemClock } from "./clock.js";
export { type Refusal, refusalOf } from "./errors.js";
export { EndReason, PlaceState } from "./gen/usher/v1/place_pb.js";
export { RoomState } from "./gen/usher/v1/room_pb.js";
export type { PlaceView, RoomView } from "./place-view.js";
export { WaitingRoom, type WaitingRoomOptions, type WaitingRoomState } from "./waiting-room.js";
