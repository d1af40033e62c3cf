// Full-jitter back-off of 0.5 to 10 s: any moment between the floor and a ceiling that doubles, so that those who
// were cut off together do not come back together.

export const BACKOFF_MIN_MS = 500;
export const BACKOFF_MAX_MS = 10_000;

/** The wait before the try after `failures` failed ones; `random` is in [0, 1). */
export function backoffMs(failures: number, random: number): number {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(Math.max(failures, 1), 10));
  return BACKOFF_MIN_MS + random * (ceiling - BACKOFF_MIN_MS);
}
