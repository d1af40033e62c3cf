// From the end of the line to a paid seat.
import { check } from 'k6';
import { call, isOk, iterations, join, newUser, summary, watch } from './lib.js';

export const options = iterations();

export default function () {
  const user = newUser();
  const placeToken = join(user);
  watch(user, placeToken, (turn) => {
    check(turn, { 'was told of its turn': (told) => told !== null });
    const claimed = call(user, 'QueueService/Claim', { placeToken });
    check(claimed, { 'has a pass': isOk });
    buy(user, claimed.message.pass);
  });
}

function buy(user, pass) {
  const dates = call(user, 'CatalogService/ListPerformances', { concertId: __ENV.CONCERT });
  check(dates, { 'dates are listed': isOk });
  const performanceId = dates.message.performances[0].id;
  const seats = call(user, 'CatalogService/GetSeatMap', { performanceId }, pass);
  check(seats, { 'seats are shown': isOk });
  const hold = { performanceId, bestAvailable: { count: 1 }, idempotencyKey: 'hold' };
  const held = call(user, 'ReservationService/HoldSeats', hold, pass);
  check(held, { 'a seat is held': isOk });
  const { id, total } = held.message.reservation;
  const money = { amount: total, sandbox: {}, idempotencyKey: 'money' };
  check(call(user, 'PaymentService/TopUpWallet', money), { 'has money': isOk });
  const payment = { reservationId: id, wallet: {}, idempotencyKey: 'pay' };
  const paid = call(user, 'PaymentService/PayReservation', payment);
  check(paid, {
    'it is paid': (answer) => isOk(answer) && answer.message.payment.state === 'PAYMENT_STATE_SUCCEEDED',
  });
}

export { summary as handleSummary };
