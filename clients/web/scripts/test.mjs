// The unit tests, by node's own runner.
import { readdirSync } from "node:fs";
import { bundleAndRun } from "./bundle-run.mjs";

const tests = readdirSync("test").filter((name) => name.endsWith(".test.ts"));
process.exit(
  await bundleAndRun(
    tests.map((name) => `test/${name}`),
    ["--test"],
    [],
  ),
);
