// A place, and a stream that tells its turn: nobody polls.
import { check } from 'k6';
import { call, isOk, iterations, join, newUser, summary, watch } from './lib.js';

export const options = iterations();

export default function () {
  const user = newUser();
  const placeToken = join(user);
  watch(user, placeToken, (turn) => {
    check(turn, { 'was told of its turn': (told) => told !== null && told.activationId !== '' });
    check(call(user, 'QueueService/Leave', { placeToken }), { 'has left': isOk });
  });
}

export { summary as handleSummary };
