// The browser test; its arguments are those of browser/journey.ts.
import { bundleAndRun } from "./bundle-run.mjs";

process.exit(await bundleAndRun(["browser/journey.ts"], [], process.argv.slice(2)));
