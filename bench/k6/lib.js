// What the scripts share: a connection per virtual user, users by name (development mode), and a summary that
// usher-bench reads. USHER_ADDR, USHER_PROTOSET and SUMMARY come from it; `usher-bench protoset FILE` writes the second.
import { check } from 'k6';
import grpc from 'k6/net/grpc';
import exec from 'k6/execution';

const TIMEOUT = '20s';
const client = new grpc.Client();
client.loadProtoset(__ENV.USHER_PROTOSET);
let connected = false;

// Each virtual user has a connection of its own, as people have.
function connect() {
  if (!connected) {
    client.connect(__ENV.USHER_ADDR, { plaintext: true, timeout: TIMEOUT });
    connected = true;
  }
}

// Every answer must be as it should: one failed check and the run fails.
export function optionsOf(load) {
  return { ...load, thresholds: { checks: ['rate==1'] } };
}

export function iterations() {
  const vus = Number(__ENV.VUS || 10);
  return optionsOf({
    scenarios: {
      all: { executor: 'per-vu-iterations', vus, iterations: Number(__ENV.ITERATIONS || 4), maxDuration: '5m' },
    },
  });
}

// Somebody who was never here: __ENV.RUN tells one run from the next.
export function newUser() {
  return `k6-${__ENV.RUN || 0}-${exec.vu.idInTest}-${exec.vu.iterationInInstance}`;
}

export function call(user, method, message, pass) {
  connect();
  const metadata = { 'x-user-id': user };
  if (pass) {
    metadata['x-usher-pass'] = pass;
  }
  return client.invoke(`usher.v1.${method}`, message, { metadata, timeout: TIMEOUT });
}

export function isOk(answer) {
  return answer && answer.status === grpc.StatusOK;
}

// A place; answers its token.
export function join(user) {
  const joined = call(user, 'QueueService/Join', { roomId: __ENV.ROOM });
  check(joined, { 'has a place': isOk });
  return joined.message.placeToken;
}

// Watches a place until its turn; then `done` gets what the stream said, or null.
export function watch(user, placeToken, done) {
  connect();
  const stream = new grpc.Stream(client, 'usher.v1.QueueService/Watch', { metadata: { 'x-user-id': user } });
  let turn = null;
  stream.on('data', (message) => {
    turn = message.activated || turn;
  });
  stream.on('error', (error) => {
    console.error(`Watch: ${error.code} ${error.message}`);
  });
  stream.on('end', () => done(turn));
  stream.write({ placeToken, endOnActivation: true });
  stream.end();
}

export function summary(data) {
  return { [__ENV.SUMMARY || 'k6-summary.json']: JSON.stringify(data.metrics) };
}
