// Builds the page into dist/, or the directory given: the three files that the server's binary embeds. The same
// sources and the same package-lock.json give the same bytes.
import { copyFileSync, mkdirSync, statSync } from "node:fs";
import { build } from "esbuild";

const APP_BYTES_MAX = 200_000;

const LIBRARIES = "/* includes @connectrpc/connect, @connectrpc/connect-web and @bufbuild/protobuf: Apache-2.0 */";
const outdir = process.argv[2] ?? "dist";

mkdirSync(outdir, { recursive: true });
await build({
  entryPoints: { app: "src/page/main.ts" },
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  banner: { js: LIBRARIES },
  outdir,
  logLevel: "warning",
});
await build({ entryPoints: ["src/page/app.css"], minify: true, target: "es2022", outdir, logLevel: "warning" });
copyFileSync("src/page/index.html", `${outdir}/index.html`);
const bytes = statSync(`${outdir}/app.js`).size;
console.log(`app.js: ${bytes} bytes`);
if (bytes > APP_BYTES_MAX) {
  console.error(`app.js is larger than ${APP_BYTES_MAX} bytes`);
  process.exit(1);
}
