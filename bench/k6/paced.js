// One look at a place per virtual user and second: the rate is that of the users, whoever makes the calls. They are
// counted for SECONDS, once all have their connections.
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { call, isOk, optionsOf, summary } from './lib.js';

const WARM_S = 3;
const SECONDS = Number(__ENV.SECONDS || 5);
const counted = new Counter('counted_calls');

export const options = optionsOf({ vus: Number(__ENV.VUS || 10), duration: `${WARM_S + SECONDS + 1}s` });

export default function () {
  const begun = Date.now();
  const seen = call(__ENV.USER, 'QueueService/GetPlace', { placeToken: __ENV.PLACE_TOKEN });
  check(seen, { 'sees the place': isOk });
  const at = (begun - exec.scenario.startTime) / 1000 - WARM_S;
  if (at >= 0 && at < SECONDS) {
    counted.add(1);
  }
  sleep(Math.max(0, 1 - (Date.now() - begun) / 1000));
}

export { summary as handleSummary };
