// The list of concerts, a page of ten, and the dates of one of them.
import { check } from 'k6';
import { call, isOk, iterations, newUser, summary } from './lib.js';

export const options = iterations();

export default function () {
  const user = newUser();
  const list = call(user, 'CatalogService/ListConcerts', { pageSize: 10 });
  check(list, { 'concerts are listed': (answer) => isOk(answer) && answer.message.concerts.length > 0 });
  const dates = call(user, 'CatalogService/ListPerformances', { concertId: __ENV.CONCERT });
  check(dates, { 'dates are listed': (answer) => isOk(answer) && answer.message.performances.length > 0 });
}

export { summary as handleSummary };
