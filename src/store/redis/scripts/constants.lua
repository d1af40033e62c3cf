-- Limits of the room machine; `steps.rs` holds them equal to the program's.
local TICK_MS = 100
local LOG_DELTAS_MAX = 512
local ROOM_STEP_MAX_MS = 1000
local GRANT_BATCH_MAX = 128
local HAND_OUT_AGAIN_MS = 1000
local LEASE_MS = 5000
local STEER_EVERY_MS = 1000
local RESERVE_MIN = 16
local RESERVE_MAX = 100000
local PAGE_BITS = 32768
local LANES_MAX = 16
-- Places that one tick makes absent, or ends.
local LAPSES_MAX = 128
-- Places of gone nodes that one tick passes over.
local LOOKS_MAX = 128
-- Places read at once while picking.
local LOOK_AHEAD = 64
-- Bytes of bitmaps that one tick looks at.
local SWEEP_BYTES_MAX = 4096
-- A room whose builder was silent for so long is built by another.
local BUILD_STALE_MS = 5000
