// A place, then a look at it again and again until the turn has come.
import { check, sleep } from 'k6';
import { call, isOk, iterations, join, newUser, summary } from './lib.js';

const PAUSE_S = Number(__ENV.PAUSE || 0.2);
const LOOKS_MAX = 300;

export const options = iterations();

export default function () {
  const user = newUser();
  const placeToken = join(user);
  let state = '';
  for (let look = 0; look < LOOKS_MAX && state !== 'PLACE_STATE_ACTIVATED'; look += 1) {
    sleep(PAUSE_S);
    const seen = call(user, 'QueueService/GetPlace', { placeToken });
    check(seen, { 'sees the place': isOk });
    state = seen.message.place.state;
  }
  check(state, { 'has its turn': (last) => last === 'PLACE_STATE_ACTIVATED' });
  check(call(user, 'QueueService/Leave', { placeToken }), { 'has left': isOk });
}

export { summary as handleSummary };
